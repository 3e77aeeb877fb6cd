// The panel `state-timeline`: for each series, which state it was in, and how long.

import { addHover, drawAnnotations, fitted, makeChart } from "./axes.js";
import { textOn } from "./colors.js";
import { el, svg, textWidth } from "./dom.js";
import { display } from "./fields.js";
import { timeField } from "./frames.js";
import { formatTime, parseDuration } from "./time.js";
import { formatValue } from "./units.js";

export function draw(context) {
  const { panel, body, frames } = context;
  const options = panel.options ?? {};
  const rows = frames.flatMap((frame) =>
    frame.fields
      .filter((one) => one.type !== "time" && timeField(frame))
      .map((field) => ({
        field,
        spans: spansOf(field, timeField(frame).values, context.range.to, options.mergeValues !== false),
      })),
  );
  const room = el("div", { class: "room" });
  const legend = options.legend?.showLegend === false ? null : stateLegend(rows);
  body.replaceChildren(el("div", { class: "split bottom" }, room, legend));
  const box = { width: room.clientWidth, height: room.clientHeight };
  const nameWidth = Math.min(
    box.width * 0.35,
    Math.max(0, ...rows.map((one) => textWidth(one.field.title, 11))) + 2,
  );
  const chart = makeChart(box, context.range, {
    left: { ticks: [{ label: "M".repeat(Math.ceil(nameWidth / 9.5)) }], y: () => -20 },
    top: context.annotations.length ? 18 : 8,
  });
  chart.root.querySelectorAll(".axis")[1].remove();
  const { plot } = chart;
  const tall = (plot.bottom - plot.top) / Math.max(1, rows.length);
  rows.forEach((row, index) =>
    drawRow(chart, row, {
      top: plot.top + index * tall,
      tall,
      rowHeight: options.rowHeight ?? 0.9,
      showValue: options.showValue ?? "auto",
    }),
  );
  drawAnnotations(chart, context.annotations);
  addHover(chart, {
    onZoom: context.onZoom,
    rowsAt: (moment, y) => {
      const row = rows[Math.floor((y - plot.top) / tall)];
      const span = row?.spans.find((one) => one.from <= moment && moment < one.to);
      if (!span) return null;
      const lasted = formatValue((span.to - span.from) / 1000, "dtdurations");
      return {
        title: row.field.title,
        rows: [
          { color: span.shown.color, name: `${formatTime(span.from)} · ${lasted}`, text: span.shown.all },
        ],
      };
    },
  });
  chart.root.setAttribute(
    "aria-label",
    `${panel.title}: ${rows.map((one) => `${one.field.title} ${one.spans.at(-1)?.shown.all ?? "no data"}`).join("; ")}`,
  );
  room.append(chart.root);
  return { drawn: rows.filter((one) => one.spans.length).length };
}

// A state lasts until the next sample; what is missing leaves a gap.
function spansOf(field, times, end, merges) {
  const most = field.config.custom?.spanNulls;
  const bridges = most === true ? Infinity : typeof most === "number" ? most : parseDuration(most) || 0;
  const spans = [];
  field.values.forEach((value, index) => {
    if (value === null || value === undefined) return;
    const last = spans.at(-1);
    const to = times[index + 1] ?? end;
    const touches = last && times[index] - last.to <= bridges;
    if (touches) last.to = times[index];
    const shown = display(value, field.config, field.color);
    if (touches && merges && last.shown.all === shown.all && last.shown.color === shown.color) last.to = to;
    else spans.push({ from: times[index], to, shown });
  });
  return spans;
}

function drawRow({ root, inside, plot, x, range }, { field, spans }, { top, tall, rowHeight, showValue }) {
  const high = Math.max(4, tall * rowHeight);
  const at = top + (tall - high) / 2;
  root.append(
    svg(
      "text",
      { class: "row-name", x: plot.left - 6, y: top + tall / 2 + 4, "text-anchor": "end" },
      svg("title", {}, field.title),
      fitted(field.title, plot.left - 10, 11) || field.title.slice(0, 3),
    ),
  );
  const group = svg("g", { class: "series", "data-name": field.title });
  for (const { from, to, shown } of spans) {
    const [start, end] = [x(Math.max(from, range.from)), x(Math.min(to, range.to))];
    if (end <= start) continue;
    group.append(
      svg(
        "rect",
        {
          class: "state",
          x: start,
          y: at,
          width: Math.max(1, end - start - 0.5),
          height: high,
          fill: shown.color,
        },
        svg("title", {}, shown.all),
      ),
    );
    const text = showValue === "never" || high < 12 ? "" : fitted(shown.all, end - start - 8, 11);
    if (text && (showValue === "always" || text === shown.all))
      group.append(
        svg("text", { x: start + 5, y: at + high / 2 + 4, style: { fill: textOn(shown.color) } }, text),
      );
  }
  inside.append(group);
}

function stateLegend(rows) {
  const states = new Map(
    rows.flatMap((one) => one.spans.map(({ shown }) => [`${shown.all} ${shown.color}`, shown])),
  );
  return el(
    "div",
    { class: "legend bottom list" },
    el(
      "ul",
      {},
      [...states.values()]
        .slice(0, 20)
        .map((shown) =>
          el("li", {}, el("span", { class: "swatch", style: { background: shown.color } }), shown.all),
        ),
    ),
  );
}
