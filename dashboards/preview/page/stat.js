// The panel `stat`: a large value for each series, with its colour, its name and its course.

import { textOn } from "./colors.js";
import { el, roomIn, svg, textWidth } from "./dom.js";
import { panelValues } from "./values.js";

export function draw(context) {
  const { panel, body } = context;
  const options = panel.options ?? {};
  const values = panelValues(context);
  const holder = el("div", { class: "tiles" });
  body.replaceChildren(holder);
  const { columns, width, height } = tileLayout(values.length, body, options.orientation);
  holder.style.setProperty("grid-template-columns", `repeat(${columns}, minmax(0, 1fr))`);
  const several = values.length > 1;
  // All of one size, so that a longer text does not make its neighbour look more important.
  const size =
    options.text?.valueSize ??
    Math.min(...values.map((one) => fit(one.shown, width - 20, roomFor(one, options, height, several))));
  holder.append(...values.map((one) => tile(one, options, { width, height, several, size })));
  return { drawn: values.filter((one) => one.value !== null).length, shown: values.length };
}

export function tileLayout(count, body, orientation) {
  const { width, height } = roomIn(body);
  const sizeOf = (columns) => ({
    columns,
    width: width / columns - 4,
    height: height / Math.ceil(count / columns) - 4,
  });
  if (orientation === "vertical") return sizeOf(1);
  if (orientation === "horizontal") return sizeOf(Math.max(1, Math.min(count, Math.floor(width / 90))));
  // The arrangement in which a text of a usual length is largest.
  const all = [...Array(Math.max(1, count)).keys()].map((index) => sizeOf(index + 1));
  const legible = (one) => Math.min(one.width / 1.6, one.height);
  return all.reduce((best, one) => (legible(one) > legible(best) ? one : best));
}

const isNamed = ({ textMode = "auto" }, several) =>
  textMode === "name" || textMode === "value_and_name" || (textMode === "auto" && several);

function graphHeight(one, { graphMode = "area" }, height) {
  const isCourse = one.field.values.filter((value) => typeof value === "number").length > 1;
  return graphMode === "area" && isCourse && height > 60 ? Math.min(height * 0.35, 60) : 0;
}

function roomFor(one, options, height, several) {
  return (height - graphHeight(one, options, height)) * (isNamed(options, several) ? 0.55 : 0.8);
}

function tile(one, options, { width, height, several, size }) {
  const { colorMode = "value", textMode = "auto", text = {} } = options;
  const { shown } = one;
  const filled = colorMode.startsWith("background");
  const color = filled ? textOn(shown.color) : colorMode === "value" ? shown.color : "var(--text)";
  const named = isNamed(options, several);
  const graph = graphHeight(one, options, height);
  const nameSize = text.titleSize ?? Math.max(11, Math.min(16, size * 0.5));
  const node = el("div", {
    class: `tile ${filled ? "filled" : ""}`,
    title: one.title,
    style: {
      background: filled ? shown.color : undefined,
      color,
      "padding-bottom": graph ? `${graph}px` : undefined,
    },
  });
  if (graph) node.append(sparkline(one, width, graph, filled ? textOn(shown.color) : shown.color));
  if (named)
    node.append(el("div", { class: "tile-name", style: { "font-size": `${nameSize}px` } }, one.title));
  if (textMode !== "name" && textMode !== "none") {
    node.append(
      el(
        "div",
        { class: "tile-value", style: { "font-size": `${size}px` } },
        shown.prefix,
        shown.text,
        shown.suffix ? el("span", { class: "unit" }, shown.suffix) : null,
      ),
    );
  }
  return node;
}

// The largest size at which the value fits its room; a long text wraps rather than vanish.
function fit(shown, width, height) {
  const wide = textWidth(shown.prefix + shown.text, 100, 500) + textWidth(shown.suffix, 60, 500);
  const single = Math.min((width / Math.max(1, wide)) * 100, height, 64);
  return Math.max(shown.text.includes(" ") && height > 30 ? 14 : 11, Math.floor(single));
}

function sparkline(one, width, height, color) {
  const { values } = one.field;
  const numbers = values.filter((value) => typeof value === "number" && Number.isFinite(value));
  const [low, high] = [one.config.min ?? Math.min(...numbers), one.config.max ?? Math.max(...numbers)];
  const y = (value) => (high > low ? height - 2 - ((value - low) / (high - low)) * (height - 6) : height / 2);
  const step = width / Math.max(1, values.length - 1);
  let path = "";
  let open = false;
  let start = 0;
  let area = "";
  values.forEach((value, index) => {
    if (typeof value !== "number" || !Number.isFinite(value)) {
      if (open) area += `L${(index - 1) * step},${height}L${start},${height}Z`;
      open = false;
      return;
    }
    const point = `${index * step},${y(value)}`;
    path += `${open ? "L" : "M"}${point}`;
    area += `${open ? "L" : "M"}${point}`;
    if (!open) start = index * step;
    open = true;
  });
  if (open) area += `L${width},${height}L${start},${height}Z`;
  return svg(
    "svg",
    {
      class: "spark",
      width: "100%",
      height,
      viewBox: `0 0 ${width} ${height}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    },
    svg("path", { d: area, fill: color, "fill-opacity": 0.18 }),
    svg("path", { d: path, stroke: color, class: "line", "stroke-width": 1.5 }),
  );
}
