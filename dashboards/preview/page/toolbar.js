// The head of the page: board, time range, refresh, theme; and the bar of variables and annotations.

import { el, hint } from "./dom.js";
import { ALL } from "./interpolate.js";
import { formatTime, QUICK_RANGES, REFRESHES } from "./time.js";

export function makeToolbar(board, boards, { onRange, onRefresh, onTheme, onInterval }) {
  const { state, definition } = board;
  const others = el(
    "select",
    {
      "aria-label": "Board",
      onchange: (event) => {
        location.href = board.links.toLocal(
          `/d/${encodeURIComponent(event.target.value)}?${board.links.timeAndVariables()}`,
        );
      },
    },
    boards.map((one) => el("option", { value: one.uid, selected: one.uid === definition.uid }, one.title)),
  );
  return [
    state.viewPanel
      ? el("button", { type: "button", onclick: () => board.view() }, "← Back to the board")
      : null,
    el("h1", {}, others),
    definition.description ? hint("i", definition.description) : null,
    el("span", { class: "space" }),
    rangePicker(board, onRange),
    el(
      "button",
      { type: "button", title: "Ask again now", "aria-label": "Refresh", onclick: onRefresh },
      "⟳",
    ),
    el(
      "select",
      {
        "aria-label": "Refresh every",
        title: "Refresh every",
        onchange: (event) => onInterval(event.target.value),
      },
      [...new Set([...REFRESHES, state.refresh])].map((one) =>
        el("option", { value: one, selected: one === state.refresh }, one || "Off"),
      ),
    ),
    el(
      "button",
      {
        type: "button",
        id: "theme",
        "aria-label": "Dark or light",
        title: "Dark or light",
        onclick: onTheme,
      },
      state.theme === "dark" ? "☾" : "☀",
    ),
  ].filter(Boolean);
}

function rangePicker(board, onRange) {
  const { from, to } = board.state;
  const quick = QUICK_RANGES.find(([start]) => start === from && to === "now");
  const told = quick ? quick[1] : `${formatTime(board.range.from)} to ${formatTime(board.range.to)}`;
  const inputs = [
    el("input", { name: "from", value: from, "aria-label": "From" }),
    el("input", { name: "to", value: to, "aria-label": "To" }),
  ];
  const apply = () => onRange(inputs[0].value.trim(), inputs[1].value.trim());
  return el(
    "details",
    { class: "menu", id: "range" },
    el("summary", { title: `${formatTime(board.range.from)} to ${formatTime(board.range.to)}` }, `◷ ${told}`),
    el(
      "div",
      { class: "sheet" },
      el(
        "div",
        { class: "absolute" },
        inputs,
        el("button", { type: "button", onclick: apply }, "Apply"),
        el("p", { class: "note" }, "now-3h, now-1d/d, milliseconds, or 2026-01-31T12:00:00Z"),
      ),
      el(
        "div",
        { class: "quick" },
        QUICK_RANGES.map(([start, label]) =>
          el("button", { type: "button", "data-from": start, onclick: () => onRange(start, "now") }, label),
        ),
      ),
    ),
  );
}

export function makeControls(board, { onVariable, onAnnotation }) {
  const shown = board.variables.all.filter((one) => one.hide !== 2 && one.type !== "constant");
  const controls = shown.map((one) =>
    el(
      "div",
      { class: "control", "data-variable": one.name },
      one.hide === 1
        ? null
        : el("span", { class: "label" }, one.label, one.description ? hint("i", one.description) : null),
      choice(one, (values) => onVariable(one, values)),
      one.error ? hint("⚠", one.error, "warning") : null,
    ),
  );
  const toggles = board.annotationQueries
    .filter((one) => !one.hide)
    .map((one) =>
      el(
        "label",
        { class: "control toggle" },
        el("input", {
          type: "checkbox",
          checked: one.enabled,
          onchange: (event) => onAnnotation(one, event.target.checked),
        }),
        el("span", { class: "label" }, one.name),
      ),
    );
  const failed = board.annotationErrors.length
    ? [hint("⚠ annotations", board.annotationErrors.join("\n"), "warning")]
    : [];
  const links = board.links.ofBoard(board.definition.links, board.definition.uid);
  return [
    ...controls,
    ...toggles,
    ...failed,
    el("span", { class: "space" }),
    ...links.map((one) => {
      one.classList.add("board-link");
      return one;
    }),
  ];
}

function choice(variable, onChange) {
  if (variable.type === "textbox") {
    return el("input", {
      value: variable.values[0] ?? "",
      "aria-label": variable.label,
      onchange: (event) => onChange([event.target.value]),
    });
  }
  const options = [...(variable.includeAll ? [{ text: "All", value: ALL }] : []), ...variable.options];
  for (const one of variable.values) {
    if (!options.some((option) => option.value === one)) options.push({ text: one, value: one });
  }
  if (!variable.multi) {
    return el(
      "select",
      {
        "aria-label": variable.label,
        disabled: variable.type === "datasource",
        onchange: (event) => onChange([event.target.value]),
      },
      options.length
        ? options.map((one) =>
            el("option", { value: one.value, selected: variable.values.includes(one.value) }, one.text),
          )
        : el("option", { value: "" }, "None"),
    );
  }
  const told =
    variable.values.map((one) => options.find((option) => option.value === one)?.text ?? one).join(" + ") ||
    "None";
  return el(
    "details",
    { class: "menu" },
    el("summary", { "aria-label": variable.label }, told),
    el(
      "div",
      { class: "sheet" },
      options.map((one) =>
        el(
          "label",
          {},
          el("input", {
            type: "checkbox",
            value: one.value,
            checked: variable.values.includes(one.value),
            onchange: (event) => onChange(chosen(variable, one.value, event.target.checked)),
          }),
          one.text,
        ),
      ),
    ),
  );
}

// All and single values exclude each other; nothing chosen is all, where there is one.
function chosen(variable, value, isOn) {
  if (value === ALL) return isOn ? [ALL] : [];
  const others = variable.values.filter((one) => one !== value && one !== ALL);
  const values = isOn ? [...others, value] : others;
  return values.length || !variable.includeAll ? values : [ALL];
}
