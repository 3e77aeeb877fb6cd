// One value for each field or row: what the panels stat, gauge and bar gauge show.

import { reduceValues, hasNoUnit } from "./reduce.js";
import { display } from "./fields.js";
import { timeField, frameLength } from "./frames.js";
import { toRegex } from "./transform.js";

// [{ title, value, shown, field, times }], with `shown` as of fields.display.
export function panelValues({ panel, frames }) {
  const {
    calcs = ["lastNotNull"],
    fields: pattern = "",
    values: everyRow = false,
    limit = 25,
  } = panel.options?.reduceOptions ?? {};
  const chosen = (field) => {
    if (pattern) return toRegex(pattern).test(field.title);
    return field.type === "number";
  };
  const found = frames.flatMap((frame) =>
    frame.fields
      .filter(chosen)
      .filter((one) => !one.config.custom?.hideFrom?.viz)
      .flatMap((field) => {
        if (everyRow)
          return [...Array(Math.min(limit, frameLength(frame))).keys()].map((row) =>
            makeValue(field, field.values[row], rowTitle(frame, field, row), frame),
          );
        return calcs
          .slice(0, 1)
          .map((calc) => makeValue(field, reduceValues(field.values, calc), field.title, frame, calc));
      }),
  );
  return found;
}

function makeValue(field, value, title, frame, calc) {
  const config = hasNoUnit(calc) ? { ...field.config, unit: "none" } : field.config;
  return {
    field,
    value,
    title,
    config,
    times: timeField(frame)?.values ?? [],
    shown: display(value, config, field.color, bounds(config, field.values)),
  };
}

function rowTitle(frame, field, row) {
  const texts = frame.fields
    .filter((other) => other !== field && other.type === "string")
    .map((other) => other.values[row]);
  return texts.filter(Boolean).join(" ") || field.title;
}

export function bounds(config, values) {
  const numbers = values.filter((value) => typeof value === "number" && Number.isFinite(value));
  const percent = { percent: [0, 100], percentunit: [0, 1] }[config.unit] ?? [];
  const min = config.min ?? percent[0] ?? Math.min(0, ...numbers);
  const max = config.max ?? percent[1] ?? Math.max(...numbers, min + 1e-9);
  return { min, max: max > min ? max : min + 1 };
}
