// The panel `gauge`: a value on an arc between its least and its most, with the thresholds outside.

import { el, svg, textWidth } from "./dom.js";
import { thresholdSteps } from "./fields.js";
import { tileLayout } from "./stat.js";
import { formatValue } from "./units.js";
import { bounds, panelValues } from "./values.js";

const SWEEP = (Math.PI * 5) / 4;

export function draw(context) {
  const { panel, body } = context;
  const options = panel.options ?? {};
  const values = panelValues(context);
  const holder = el("div", { class: "tiles" });
  body.replaceChildren(holder);
  const { columns, width, height } = tileLayout(values.length, body, "");
  holder.style.setProperty("grid-template-columns", `repeat(${columns}, minmax(0, 1fr))`);
  holder.append(...values.map((one) => dial(one, options, { width, height, named: values.length > 1 })));
  return { drawn: values.filter((one) => one.value !== null).length, shown: values.length };
}

function arc([cx, cy], radius, from, to) {
  // From the lower left over the top to the lower right.
  const point = (share) => {
    const angle = -Math.PI / 2 + (share - 0.5) * SWEEP;
    return [cx + radius * Math.cos(angle), cy + radius * Math.sin(angle)];
  };
  const [x1, y1] = point(from);
  const [x2, y2] = point(to);
  return `M${x1},${y1}A${radius},${radius} 0 ${(to - from) * SWEEP > Math.PI ? 1 : 0} 1 ${x2},${y2}`;
}

function dial(one, options, { width, height, named }) {
  const limits = bounds(one.config, one.field.values);
  const share = (value) => Math.min(1, Math.max(0, (value - limits.min) / (limits.max - limits.min)));
  const tall = height - (named ? 20 : 0);
  const outer = Math.max(20, Math.min(width / 2 - 8, (tall - 16) / 1.4));
  const center = [width / 2, (tall - 14 - outer * 1.4) / 2 + outer];
  const thick = outer * 0.22;
  const radius = outer - thick / 2 - 8;
  const root = svg(
    "svg",
    { width, height: tall, role: "img", "aria-label": `${one.title}: ${one.shown.all}` },
    svg("path", { class: "track", d: arc(center, radius, 0, 1), "stroke-width": thick }),
  );
  const reached = one.value === null ? 0 : share(one.value);
  if (reached > 0)
    root.append(
      svg("path", {
        d: arc(center, radius, 0, reached),
        stroke: one.shown.color,
        "stroke-width": thick,
        fill: "none",
      }),
    );
  const steps = thresholdSteps(one.config, limits);
  if (options.showThresholdMarkers !== false) {
    steps.forEach(({ color, value }, index) => {
      const [from, to] = [
        share(Math.max(value, limits.min)),
        share(Math.min(steps[index + 1]?.value ?? limits.max, limits.max)),
      ];
      if (to > from)
        root.append(
          svg("path", {
            d: arc(center, outer - 3, from, to),
            stroke: color,
            "stroke-width": 5,
            fill: "none",
          }),
        );
    });
  }
  const size = Math.max(
    12,
    Math.min(40, ((radius * 1.25) / Math.max(1, textWidth(one.shown.all, 100, 500))) * 100),
  );
  root.append(
    svg(
      "text",
      {
        class: "dial-value",
        x: center[0],
        y: center[1] + size * 0.3,
        "text-anchor": "middle",
        "font-size": size,
        fill: one.shown.color,
      },
      one.shown.all,
    ),
  );
  const ends = [
    [limits.min, center[0] - radius * 0.75, "middle"],
    [limits.max, center[0] + radius * 0.75, "middle"],
  ];
  for (const [value, x, anchor] of ends) {
    root.append(
      svg(
        "text",
        { class: "dial-end", x, y: center[1] + outer * 0.38 + 13, "text-anchor": anchor },
        formatValue(value, one.config.unit, one.config.decimals),
      ),
    );
  }
  return el(
    "div",
    { class: "tile dial", title: one.title },
    root,
    named ? el("div", { class: "tile-name" }, one.title) : null,
  );
}
