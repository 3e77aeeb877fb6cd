// The frame of everything that is drawn over time: grid, axes, crosshair, zoom, annotations.

import { el, svg, textWidth } from "./dom.js";
import { widest } from "./scale.js";
import { formatTime, timeTicks } from "./time.js";

export const TOP = 14; // for a line of annotations above the plot
let numbers = 0;

// An SVG of the size of `box` with its plot area; `left` and `right` are scales of axes or null.
export function makeChart(box, range, { left, right, leftLabel, rightLabel, top = TOP }) {
  const { width, height } = box;
  const side = (scale, label) =>
    scale ? widest(scale.ticks.map((one) => one.label)) + 10 + (label ? 16 : 0) : 0;
  const plot = {
    left: Math.max(8, side(left, leftLabel)),
    right: width - Math.max(10, side(right, rightLabel)),
    top,
    bottom: height - 22,
  };
  const x = (moment) =>
    plot.left + ((moment - range.from) / (range.to - range.from)) * (plot.right - plot.left);
  const time = (pixel) =>
    range.from + ((pixel - plot.left) / (plot.right - plot.left)) * (range.to - range.from);
  numbers += 1;
  const clip = `plot-${numbers}`;
  const root = svg(
    "svg",
    { class: "chart", width, height, viewBox: `0 0 ${width} ${height}`, role: "img" },
    svg(
      "defs",
      {},
      svg(
        "clipPath",
        { id: clip },
        svg("rect", {
          x: plot.left,
          y: plot.top - 2,
          width: Math.max(0, plot.right - plot.left),
          height: Math.max(0, plot.bottom - plot.top + 4),
        }),
      ),
    ),
  );
  root.append(timeAxis(plot, range, x));
  if (left) root.append(valueAxis(left, plot, leftLabel, false));
  if (right) root.append(valueAxis(right, plot, rightLabel, true));
  const inside = svg("g", { "clip-path": `url(#${clip})` });
  root.append(inside);
  return { root, inside, plot, x, time, range };
}

function timeAxis(plot, range, x) {
  const most = Math.max(2, Math.floor((plot.right - plot.left) / 76));
  return svg(
    "g",
    { class: "axis" },
    timeTicks(range.from, range.to, most).map(({ at, label }) => {
      const half = textWidth(label, 11) / 2;
      const place = Math.min(Math.max(x(at), half), plot.right + 10 - half);
      return [
        svg("line", { class: "grid", x1: x(at), x2: x(at), y1: plot.top, y2: plot.bottom }),
        svg("text", { x: place, y: plot.bottom + 15, "text-anchor": "middle" }, label),
      ];
    }),
  );
}

function valueAxis(scale, plot, label, isRight) {
  const edge = isRight ? plot.right + 6 : plot.left - 6;
  const middle = (plot.top + plot.bottom) / 2;
  const far = isRight ? edge + widest(scale.ticks.map((one) => one.label)) + 14 : 11;
  return svg(
    "g",
    { class: "axis" },
    scale.ticks.map(({ value, label: text }) => [
      isRight
        ? null
        : svg("line", {
            class: "grid",
            x1: plot.left,
            x2: plot.right,
            y1: scale.y(value),
            y2: scale.y(value),
          }),
      svg("text", { x: edge, y: scale.y(value) + 4, "text-anchor": isRight ? "start" : "end" }, text),
    ]),
    label
      ? svg(
          "text",
          {
            class: "axis-label",
            transform: `translate(${far},${middle}) rotate(-90)`,
            "text-anchor": "middle",
          },
          label,
        )
      : null,
  );
}

// Vertical marks with their text, as far as it finds room.
export function drawAnnotations(chart, annotations) {
  const { plot, x } = chart;
  const shown = annotations
    .filter((one) => one.end >= chart.range.from && one.at <= chart.range.to)
    .sort((a, b) => a.at - b.at);
  shown.forEach((one, index) => {
    const at = Math.max(plot.left, x(one.at));
    const next = index + 1 < shown.length ? x(shown[index + 1].at) : plot.right;
    const told = `${one.title}${one.text && one.text !== one.title ? `: ${one.text}` : ""}`;
    const group = svg(
      "g",
      { class: "annotation", style: { color: one.color } },
      svg("title", {}, `${formatTime(one.at)} ${told} (${one.name})`),
      one.end > one.at
        ? svg("rect", {
            class: "region",
            x: at,
            y: plot.top,
            width: Math.max(1, Math.min(plot.right, x(one.end)) - at),
            height: plot.bottom - plot.top,
          })
        : null,
      svg("line", { x1: at, x2: at, y1: plot.top, y2: plot.bottom }),
      svg("path", { d: `M${at - 4},${plot.bottom + 6}h8l-4,-6z` }),
    );
    const text = fitted(told, next - at - 8);
    if (text) group.append(svg("text", { x: at + 4, y: plot.top - 1 }, text));
    chart.root.append(group);
  });
  chart.marks = shown.map((one) => ({
    from: x(one.at) - 5,
    to: x(one.end) + 5,
    row: { color: one.color, name: one.name, text: one.title || one.text },
  }));
}

export function fitted(text, room, size = 10) {
  if (textWidth(text, size) <= room) return text;
  let short = text;
  while (short.length > 3 && textWidth(`${short}…`, size) > room) short = short.slice(0, -1);
  return short.length > 3 ? `${short}…` : "";
}

const bubble = () =>
  document.getElementById("tooltip") ?? document.body.appendChild(el("div", { id: "tooltip", hidden: true }));

function showTooltip(event, title, rows) {
  const box = bubble();
  box.replaceChildren(
    el("div", { class: "tip-title" }, title),
    ...rows.map(({ color, name, text, strong }) =>
      el(
        "div",
        { class: strong ? "tip-row strong" : "tip-row" },
        el("span", { class: "swatch", style: { background: color } }),
        el("span", { class: "tip-name" }, name),
        el("span", { class: "tip-value" }, text),
      ),
    ),
  );
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const left =
    event.clientX + 16 + width > innerWidth ? Math.max(4, event.clientX - width - 16) : event.clientX + 16;
  const top = Math.max(4, Math.min(event.clientY + 12, innerHeight - height - 4));
  box.style.setProperty("left", `${left}px`);
  box.style.setProperty("top", `${top}px`);
}

const hideTooltip = () => {
  bubble().hidden = true;
};

// A crosshair that all charts of the page share, a tooltip from `rowsAt(moment, y)`, and a zoom by
// dragging, told to `onZoom(from, to)`.
export function addHover(chart, { rowsAt, onZoom }) {
  const { root, plot, time, x } = chart;
  const line = svg("line", { class: "crosshair", y1: plot.top, y2: plot.bottom, visibility: "hidden" });
  const zone = svg("rect", {
    class: "zoom",
    y: plot.top,
    height: Math.max(0, plot.bottom - plot.top),
    visibility: "hidden",
  });
  root.append(zone, line);
  let began = null;
  const place = (event) =>
    Math.min(plot.right, Math.max(plot.left, event.clientX - root.getBoundingClientRect().left));
  const cross = (moment) => {
    const at = moment === null ? -1 : x(moment);
    line.setAttribute("visibility", at >= plot.left && at <= plot.right ? "visible" : "hidden");
    line.setAttribute("x1", at);
    line.setAttribute("x2", at);
  };
  root.crosshair = cross;
  const tellAll = (moment) =>
    document.querySelectorAll("svg.chart").forEach((one) => one.crosshair?.(moment));
  root.addEventListener("pointermove", (event) => {
    const at = place(event);
    tellAll(time(at));
    if (began !== null) {
      zone.setAttribute("visibility", "visible");
      zone.setAttribute("x", Math.min(began, at));
      zone.setAttribute("width", Math.abs(at - began));
    }
    const found = rowsAt(time(at), event.clientY - root.getBoundingClientRect().top);
    const marks = (chart.marks ?? []).filter((one) => one.from <= at && at <= one.to).map((one) => one.row);
    const rows = [...(found?.rows ?? []), ...marks];
    if (rows.length) showTooltip(event, found?.title ?? formatTime(time(at)), rows);
    else hideTooltip();
  });
  root.addEventListener("pointerleave", () => {
    tellAll(null);
    hideTooltip();
    began = null;
    zone.setAttribute("visibility", "hidden");
  });
  root.addEventListener("pointerdown", (event) => {
    began = place(event);
  });
  root.addEventListener("pointerup", (event) => {
    const [from, to] = [began, place(event)].sort((a, b) => a - b);
    began = null;
    zone.setAttribute("visibility", "hidden");
    if (to - from > 5) onZoom(Math.round(time(from)), Math.round(time(to)));
  });
}
