// One series over time: a line with its gaps, bars, or points.

import { svg } from "./dom.js";

// `scale` is of its axis; `stacked` its values upon those below it, or undefined.
export function drawField({ inside, x, plot }, field, scale, stacked) {
  const custom = field.config.custom ?? {};
  const values = stacked ?? field.values;
  const width = custom.lineWidth ?? 1;
  const group = svg("g", { class: "series", "data-name": field.title }, svg("title", {}, field.title));
  if (custom.drawStyle === "bars") {
    const room = field.times.length > 1 ? x(field.times[1]) - x(field.times[0]) : 12;
    const base = Math.min(plot.bottom, Math.max(plot.top, scale.y(Math.max(0, scale.low))));
    values.forEach((value, index) => {
      if (value === null) return;
      const at = scale.y(value);
      group.append(
        svg("rect", {
          x: x(field.times[index]) - room * 0.4,
          width: Math.max(1, room * 0.8),
          y: Math.min(at, base),
          height: Math.max(1, Math.abs(base - at)),
          fill: field.color,
          "fill-opacity": Math.max(0.15, (custom.fillOpacity ?? 0) / 100),
          stroke: room > 4 ? field.color : undefined,
        }),
      );
    });
  } else {
    const runs = splitRuns(field.times, values, custom.spanNulls).map((run) =>
      run.map(([at, value]) => [x(at), scale.y(value)]),
    );
    const base = Math.min(
      plot.bottom,
      Math.max(plot.top, scale.y(Math.min(scale.high, Math.max(0, scale.low)))),
    );
    if (custom.drawStyle !== "points")
      runs.forEach((run) => drawRun(group, run, { custom, field, width, base }));
    const lone = custom.showPoints !== "never" || custom.drawStyle === "points";
    for (const run of runs) {
      // A single sample between two gaps has no line, and would not be seen.
      const dots =
        custom.showPoints === "always" || custom.drawStyle === "points"
          ? run
          : lone && run.length === 1
            ? run
            : [];
      dots.forEach(([cx, cy]) =>
        group.append(svg("circle", { cx, cy, r: (custom.pointSize ?? 5) / 2, fill: field.color })),
      );
    }
  }
  inside.append(group);
}

function splitRuns(times, values, spanNulls) {
  const most = typeof spanNulls === "number" ? spanNulls : spanNulls ? Infinity : 0;
  const runs = [];
  let last = -Infinity;
  let broken = true;
  values.forEach((value, index) => {
    if (value === null || value === undefined || !Number.isFinite(value)) broken = true;
    else {
      if (!runs.length || (broken && times[index] - last > most)) runs.push([]);
      runs.at(-1).push([times[index], value]);
      last = times[index];
      broken = false;
    }
  });
  return runs;
}

function drawRun(group, run, { custom, field, width, base }) {
  const stepped = { stepAfter: (a, b) => `H${b[0]}V${b[1]}`, stepBefore: (a, b) => `V${b[1]}H${b[0]}` }[
    custom.lineInterpolation
  ];
  const line = run
    .map((one, index) =>
      index ? (stepped ? stepped(run[index - 1], one) : `L${one[0]},${one[1]}`) : `M${one[0]},${one[1]}`,
    )
    .join("");
  if (custom.fillOpacity && run.length > 1) {
    group.append(
      svg("path", {
        d: `${line}V${base}H${run[0][0]}Z`,
        fill: field.color,
        "fill-opacity": custom.fillOpacity / 100,
        class: "fill",
      }),
    );
  }
  group.append(
    svg("path", {
      class: "line",
      d: line,
      stroke: field.color,
      "stroke-width": width,
      "stroke-dasharray": field.dash,
    }),
  );
}
