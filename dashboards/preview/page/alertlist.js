// The panel `alertlist`: the alerts that the Prometheus itself knows.

import { el } from "./dom.js";
import { escapeRegex, interpolate } from "./interpolate.js";
import { alerts } from "./prometheus.js";
import { toRegex } from "./transform.js";
import { fromNow } from "./time.js";

const MATCHER = /(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"/g;

export async function fetchData(panel, board, signal) {
  const options = panel.options ?? {};
  const filter = options.alertInstanceLabelFilter ?? "";
  const lookup = board.variables.lookup;
  const matchers = [
    ...interpolate(filter, lookup, (value, variable) =>
      [value]
        .flat()
        .map((one) => (variable.multi || variable.includeAll ? escapeRegex(one) : one))
        .join("|")
        .replace(/["\\]/g, "\\$&"),
    ).matchAll(MATCHER),
  ];
  const states = options.stateFilter ?? { firing: true, pending: true };
  const found = (await alerts(signal))
    .filter((one) => states[one.state])
    .filter(
      (one) =>
        !options.alertName ||
        one.labels.alertname
          .toLowerCase()
          .includes(interpolate(options.alertName, lookup, String).toLowerCase()),
    )
    .filter((one) =>
      matchers.every(([, label, operator, value]) =>
        matches(one.labels[label] ?? "", operator, value.replace(/\\(.)/g, "$1")),
      ),
    );
  found.sort(
    (a, b) =>
      a.state.localeCompare(b.state) ||
      severity(a) - severity(b) ||
      Date.parse(b.activeAt) - Date.parse(a.activeAt),
  );
  return { alerts: found.slice(0, options.maxItems ?? 20), more: found.length, range: board.range };
}

function matches(found, operator, value) {
  const isSame = operator.includes("~") ? toRegex(`/^(?:${value})$/`).test(found) : found === value;
  return operator.startsWith("!") ? !isSame : isSame;
}

const severity = (alert) => ["critical", "warning", "info"].indexOf(alert.labels.severity ?? "info");

export function draw({ panel, body, alerts: found, more, links }) {
  if (!found.length) {
    body.replaceChildren(el("p", { class: "nothing" }, panel.fieldConfig?.defaults?.noValue || "No alerts"));
    return { drawn: 0, shown: 1 };
  }
  const rest = more - found.length;
  body.replaceChildren(
    el(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": panel.title || "Alerts" },
      el(
        "ul",
        { class: "alerts" },
        found.map((one) => item(one, links)),
        rest ? el("li", { class: "note" }, `and ${rest} more`) : null,
      ),
    ),
  );
  return { drawn: found.length };
}

function item({ labels, annotations = {}, state, activeAt }, links) {
  const { alertname, severity: level, ...others } = labels;
  const told = Object.entries(others)
    .map(([key, value]) => `${key}=${value}`)
    .join(" ");
  const places = [
    ["runbook_url", "Runbook"],
    ["dashboard_url", "Board"],
  ].filter(([key]) => annotations[key]);
  return el(
    "li",
    { class: `alert ${state} ${level ?? ""}` },
    el(
      "div",
      {},
      el(
        "span",
        { class: "badge" },
        state === "firing" ? "● Firing" : state === "pending" ? "◌ Pending" : state,
      ),
      el("strong", {}, alertname),
      level ? el("span", { class: "level" }, level) : null,
      el("span", { class: "since" }, `since ${fromNow(Date.parse(activeAt), Date.now())}`),
    ),
    annotations.summary ? el("p", {}, annotations.summary) : null,
    el(
      "p",
      { class: "note" },
      told,
      places.map(([key, text]) => [" ", el("a", { href: links.toLocal(annotations[key]) }, `${text} ↗`)]),
    ),
  );
}
