// The panel `heatmap`: how many fell into each bucket of a histogram, over time.

import { addHover, drawAnnotations, makeChart, TOP } from "./axes.js";
import { cssColor, rampColor } from "./colors.js";
import { el, svg } from "./dom.js";
import { timeField } from "./frames.js";
import { formatTime } from "./time.js";
import { formatValue } from "./units.js";

export function draw(context) {
  const { panel, body, frames } = context;
  const options = panel.options ?? {};
  const [frame] = frames;
  const times = timeField(frame)?.values ?? [];
  const buckets = frame.fields.filter((one) => one.type === "number");
  const counts = buckets
    .flatMap((one) => one.values)
    .filter((one) => one > (options.filterValues?.le ?? 1e-9));
  const most = Math.max(0, ...counts);
  const room = el("div", { class: "room" });
  const scale = el("div", { class: "legend bottom ramp" });
  body.replaceChildren(
    el("div", { class: "split bottom" }, room, options.legend?.show === false ? null : scale),
  );
  const box = { width: room.clientWidth, height: room.clientHeight };
  const ends = [TOP, box.height - 22];
  const tall = (ends[1] - ends[0]) / Math.max(1, buckets.length);
  const unit = options.yAxis?.unit ?? panel.fieldConfig?.defaults?.unit;
  const name = (one) =>
    one.edge === Infinity
      ? "+Inf"
      : Number.isFinite(one.edge)
        ? formatValue(one.edge, unit, options.yAxis?.decimals)
        : one.title;
  const every = Math.max(1, Math.ceil(18 / tall));
  // Each label stands at the upper edge of its bucket.
  const ticks = buckets
    .map((one, index) => ({ value: index + 1, label: name(one) }))
    .filter((_, index) => index % every === 0);
  const y = (row) => ends[1] - row * tall;
  const chart = makeChart(box, context.range, { left: { ticks, y } });
  const step = times.length > 1 ? times[1] - times[0] : context.range.to - context.range.from;
  const color = painter(options.color ?? {}, most);
  let cells = 0;
  buckets.forEach((bucket, row) =>
    bucket.values.forEach((value, index) => {
      if (!(value > (options.filterValues?.le ?? 1e-9))) return;
      cells += 1;
      // A sample of a rate stands for the step before it.
      const [left, right] = [chart.x(times[index] - step), chart.x(times[index])];
      chart.inside.append(
        svg("rect", {
          class: "cell",
          x: left,
          y: y(row + 1),
          width: Math.max(1, right - left + 0.3),
          height: Math.max(1, tall - 0.5),
          ...color(value),
        }),
      );
    }),
  );
  drawAnnotations(chart, context.annotations);
  addHover(chart, {
    onZoom: context.onZoom,
    rowsAt: (moment, at) => {
      const row = Math.floor((ends[1] - at) / tall);
      const index = times.findIndex((one) => one >= moment);
      const value = buckets[row]?.values[index];
      if (value === undefined || value === null) return null;
      const from = row ? name(buckets[row - 1]) : "0";
      return {
        title: formatTime(times[index]),
        rows: [
          {
            ...swatch(color(value)),
            name: `${from} to ${name(buckets[row])}`,
            text: formatValue(value, options.cellValues?.unit, options.cellValues?.decimals ?? 3),
          },
        ],
      };
    },
  });
  chart.root.setAttribute(
    "aria-label",
    `${panel.title}: ${buckets.length} buckets, at most ${formatValue(most, "short")}`,
  );
  room.append(chart.root);
  const parts = [...Array(24).keys()].map((index) =>
    el("span", { style: { background: swatch(color((most * (index + 0.5)) / 24)).color } }),
  );
  scale.append(
    "0",
    el("div", { class: "ramp-bar", "aria-hidden": "true" }, parts),
    formatValue(most, options.cellValues?.unit ?? "short"),
  );
  return { drawn: cells };
}

const swatch = (paint) => ({ color: paint.fill });

function painter({ mode, scheme, fill, exponent = 0.5, reverse }, most) {
  const share = (value) => (most ? value / most : 0);
  if (mode === "opacity")
    return (value) => ({
      fill: cssColor(fill ?? "dark-orange"),
      "fill-opacity": 0.1 + 0.9 * share(value) ** exponent,
    });
  return (value) => ({ fill: rampColor(scheme ?? "Viridis", share(value) ** (exponent || 0.5), reverse) });
}
