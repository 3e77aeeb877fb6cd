// The legend of a chart: a list or a table, with calculations; a click shows one series alone.

import { el } from "./dom.js";
import { display } from "./fields.js";
import { calcName, hasNoUnit, reduceValues } from "./reduce.js";

// `entries` are fields with title and color; `chosen` the title that is shown alone, or null.
export function makeLegend(entries, options, { chosen, onChoose }) {
  if (!options || options.showLegend === false || options.displayMode === "hidden") return null;
  const shown = entries.filter((one) => !one.config.custom?.hideFrom?.legend);
  const calcs = options.calcs ?? [];
  const place = options.placement === "right" ? "right" : "bottom";
  const make = options.displayMode === "table" ? table : list;
  return el(
    "div",
    { class: `legend ${place} ${options.displayMode}` },
    make(shown, calcs, { chosen, onChoose }),
  );
}

function told(field, calc) {
  const config = hasNoUnit(calc) ? { ...field.config, unit: "none" } : field.config;
  return display(reduceValues(field.values, calc), config, field.color).all;
}

function name(field, { chosen, onChoose }) {
  const dimmed = chosen !== null && chosen !== field.title;
  return el(
    "button",
    {
      type: "button",
      class: dimmed ? "series dimmed" : "series",
      "aria-pressed": String(chosen === field.title),
      title: `Show ${field.title} alone`,
      onclick: () => onChoose(chosen === field.title ? null : field.title),
    },
    el("span", { class: `swatch line ${field.dash ? "dashed" : ""}`, style: { color: field.color } }),
    field.title,
  );
}

function list(fields, calcs, choice) {
  return el(
    "ul",
    {},
    fields.map((one) =>
      el(
        "li",
        {},
        name(one, choice),
        calcs.map((calc) => el("span", { class: "calc" }, `${calcName(calc)}: ${told(one, calc)}`)),
      ),
    ),
  );
}

function table(fields, calcs, choice) {
  return el(
    "table",
    {},
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col" }, "Name"),
        calcs.map((calc) => el("th", { scope: "col" }, calcName(calc))),
      ),
    ),
    el(
      "tbody",
      {},
      fields.map((one) =>
        el(
          "tr",
          {},
          el("td", {}, name(one, choice)),
          calcs.map((calc) => el("td", {}, told(one, calc))),
        ),
      ),
    ),
  );
}
