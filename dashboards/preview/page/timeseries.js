// The panel `timeseries`: lines, bars or points over time, with thresholds, gaps and two axes.

import { addHover, drawAnnotations, makeChart, TOP } from "./axes.js";
import { paletteDash } from "./colors.js";
import { el, svg, textWidth } from "./dom.js";
import { display, thresholdSteps, usesPalette } from "./fields.js";
import { timeField } from "./frames.js";
import { makeLegend } from "./legend.js";
import { drawField } from "./lines.js";
import { makeScale, valueRange } from "./scale.js";
import { formatTime } from "./time.js";
import { reduceValues } from "./reduce.js";

export function draw(context) {
  const { panel, body, frames } = context;
  const fields = frames.flatMap((frame) => {
    const times = timeField(frame)?.values;
    return times
      ? frame.fields.filter((one) => one.type === "number").map((one) => Object.assign(one, { times }))
      : [];
  });
  fields.forEach(prepare);
  const visible = fields.filter(
    (one) => !one.config.custom?.hideFrom?.viz && (context.chosen === null || context.chosen === one.title),
  );
  const legend = makeLegend(fields, panel.options?.legend, context);
  const room = el("div", { class: "room" });
  body.replaceChildren(
    el(
      "div",
      { class: `split ${panel.options?.legend?.placement === "right" ? "right" : "bottom"}` },
      room,
      legend,
    ),
  );
  const chart = drawChart(context, visible, { width: room.clientWidth, height: room.clientHeight });
  room.append(chart.root);
  return { drawn: visible.filter((one) => one.values.some((value) => value !== null)).length };
}

function prepare(field) {
  const custom = field.config.custom ?? {};
  if (field.config.color?.mode === "thresholds")
    field.color = display(reduceValues(field.values, "lastNotNull"), field.config).color;
  field.dash =
    { dash: (custom.lineStyle?.dash ?? [10, 10]).join(" "), dot: "1 5" }[custom.lineStyle?.fill] ??
    (usesPalette(field.config) ? paletteDash(field.index) : undefined);
  if (custom.transform === "negative-Y")
    field.values = field.values.map((one) => (one === null ? null : -one));
}

function drawChart(context, fields, box) {
  const axes = splitAxes(fields);
  const stacked = stack(fields);
  const ends = [TOP, box.height - 22];
  const scaleOf = (some) => {
    if (!some.length) return null;
    const { config } = some[0];
    const { type, log } = config.custom?.scaleDistribution ?? {};
    return makeScale(valueRange(some, stacked), ends, {
      unit: config.unit,
      decimals: config.decimals,
      log: type === "log" ? (log ?? 10) : 0,
    });
  };
  const [left, right] = [scaleOf(axes.left), scaleOf(axes.right)];
  const hidden = (some) =>
    some.length > 0 && some.every((one) => one.config.custom?.axisPlacement === "hidden");
  const chart = makeChart(box, context.range, {
    left: hidden(axes.left) ? null : left,
    right,
    leftLabel: axes.left[0]?.config.custom?.axisLabel,
    rightLabel: axes.right[0]?.config.custom?.axisLabel,
  });
  const scales = new Map([...axes.left.map((one) => [one, left]), ...axes.right.map((one) => [one, right])]);
  if (left ?? right) drawThresholds(chart, (axes.left[0] ?? axes.right[0]).config, left ?? right);
  for (const one of fields) drawField(chart, one, scales.get(one), stacked.get(one));
  drawAnnotations(chart, context.annotations);
  addHover(chart, { rowsAt: rowsAt(context, fields), onZoom: context.onZoom });
  chart.root.setAttribute("aria-label", describe(context.panel.title, fields));
  return chart;
}

// Those of the first unit stand at the left, others at the right, unless the board says where.
function splitAxes(fields) {
  const first = fields.find((one) => one.config.custom?.axisPlacement !== "right")?.config.unit;
  const isRight = (one) => {
    const placement = one.config.custom?.axisPlacement;
    return (
      placement === "right" || (placement !== "left" && placement !== "hidden" && one.config.unit !== first)
    );
  };
  return { left: fields.filter((one) => !isRight(one)), right: fields.filter(isRight) };
}

function stack(fields) {
  const sums = new Map();
  const stacked = new Map();
  for (const one of fields) {
    const { mode, group = "" } = one.config.custom?.stacking ?? {};
    if (mode !== "normal") continue;
    const below = sums.get(group) ?? [];
    const above = one.values.map((value, index) => (value === null ? null : value + (below[index] ?? 0)));
    sums.set(
      group,
      above.map((value, index) => value ?? below[index] ?? 0),
    );
    stacked.set(one, above);
  }
  return stacked;
}

function drawThresholds(chart, config, scale) {
  const mode = config.custom?.thresholdsStyle?.mode ?? "off";
  if (mode === "off") return;
  const { plot, inside } = chart;
  const steps = thresholdSteps(config, { min: scale.low, max: scale.high });
  const clamp = (value) =>
    Math.min(plot.bottom, Math.max(plot.top, scale.y(Math.min(scale.high, Math.max(scale.low, value)))));
  const labels = [];
  steps.forEach(({ color, value }, index) => {
    const end = steps[index + 1]?.value ?? Infinity;
    if (mode.includes("area")) {
      const [top, bottom] = [clamp(end), clamp(value)];
      inside.append(
        svg("rect", {
          class: "threshold-area",
          x: plot.left,
          width: plot.right - plot.left,
          y: top,
          height: Math.max(0, bottom - top),
          fill: color,
        }),
      );
    }
    if (!/line|dashed/.test(mode) || value === -Infinity || value < scale.low || value > scale.high) return;
    const text = display(value, { ...config, mappings: [] }).all;
    const at = scale.y(value);
    inside.append(
      svg("line", {
        class: "threshold",
        x1: plot.left,
        x2: plot.right,
        y1: at,
        y2: at,
        stroke: color,
        "stroke-dasharray": mode.includes("dashed") ? "10 6" : undefined,
      }),
    );
    const y = at - plot.top < 16 ? at + 12 : at - 4;
    // Beside one that stands at the same height.
    const right = Math.min(
      plot.right - 4,
      ...labels.filter((one) => Math.abs(one.y - y) < 12).map((one) => one.left - 8),
    );
    const label = `limit ${text}`;
    labels.push({ y, left: right - textWidth(label, 10) });
    inside.append(svg("text", { class: "threshold-text", x: right, y, "text-anchor": "end" }, label));
  });
}

function rowsAt({ panel }, fields) {
  const { mode = "single", sort = "none" } = panel.options?.tooltip ?? {};
  if (mode === "none") return () => null;
  return (moment) => {
    const times = fields[0]?.times ?? [];
    if (!times.length) return null;
    const nearest = times.reduce(
      (best, at) => (Math.abs(at - moment) < Math.abs(best - moment) ? at : best),
      times[0],
    );
    const rows = fields
      .filter((one) => !one.config.custom?.hideFrom?.tooltip)
      .flatMap((one) => {
        const value = one.values[one.times.indexOf(nearest)];
        return value === null || value === undefined
          ? []
          : [{ value, name: one.title, color: one.color, text: display(value, one.config, one.color).all }];
      });
    if (sort !== "none") rows.sort((a, b) => (sort === "asc" ? a.value - b.value : b.value - a.value));
    return { title: formatTime(nearest), rows };
  };
}

function describe(title, fields) {
  const last = fields
    .slice(0, 8)
    .map(
      (one) => `${one.title} ${display(reduceValues(one.values, "lastNotNull"), one.config, one.color).all}`,
    );
  return `${title || "Time series"}: ${last.join("; ") || "no data"}`;
}
