// The panel `bargauge`: each value a bar between the least and the most.

import { el } from "./dom.js";
import { bounds, panelValues } from "./values.js";

export function draw(context) {
  const { panel, body } = context;
  const options = panel.options ?? {};
  const values = panelValues(context);
  const isVertical =
    options.orientation === "vertical" ||
    (options.orientation === "auto" && body.clientWidth > body.clientHeight * 3);
  const all = values.flatMap((one) => one.field.values);
  body.replaceChildren(
    el(
      "div",
      { class: `bars ${isVertical ? "vertical" : "horizontal"}` },
      values.map((one) => bar(one, bounds(one.config, all), isVertical, options)),
    ),
  );
  return { drawn: values.filter((one) => one.value !== null).length, shown: values.length };
}

function bar(one, limits, isVertical, options) {
  const share =
    one.value === null ? 0 : Math.min(1, Math.max(0, (one.value - limits.min) / (limits.max - limits.min)));
  const size = `${(share * 100).toFixed(2)}%`;
  const fill = el("div", {
    class: `bar-fill ${options.displayMode ?? "gradient"}`,
    style: { color: one.shown.color, [isVertical ? "height" : "width"]: size },
  });
  return el(
    "div",
    {
      class: "bar",
      role: "meter",
      "aria-label": one.title,
      "aria-valuetext": one.shown.all,
      "aria-valuenow": one.value ?? 0,
      "aria-valuemin": limits.min,
      "aria-valuemax": limits.max,
    },
    el("span", { class: "bar-name", title: one.title }, one.title),
    el("div", { class: options.showUnfilled === false ? "bar-track bare" : "bar-track" }, fill),
    options.valueMode === "hidden"
      ? null
      : el(
          "span",
          {
            class: "bar-value",
            style: { color: options.valueMode === "text" ? "var(--text)" : one.shown.color },
          },
          one.shown.all,
        ),
  );
}
