// Annotations from Prometheus queries: moments and spans with a text.

import { cssColor } from "./colors.js";
import { builtins, firstOf, forPromql, interpolate } from "./interpolate.js";
import { planStep, queryRange } from "./prometheus.js";

// The queries of a board that are drawn here.
export function annotationQueries(board) {
  return (board.annotations?.list ?? [])
    .filter((one) => (one.expr || one.target?.expr) && one.datasource?.uid !== "-- Grafana --")
    .map((one) => ({ ...one, enabled: one.enable !== false }));
}

// [{ at, end, title, text, name, color, filter }], times in milliseconds.
export async function fetchAnnotations(query, range, lookup) {
  const { step, scrape } = planStep(range, 1000, query.step || "60s");
  const expr = interpolate(
    query.expr ?? query.target.expr,
    firstOf(builtins(range, step, scrape), lookup),
    forPromql,
  );
  const found = await queryRange(expr, range, step);
  return found.result.flatMap((series) => {
    const fill = (format) =>
      (format ?? "").replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => series.metric[label] ?? "");
    const title = fill(query.titleFormat) || query.name;
    const tags = (query.tagKeys || "")
      .split(",")
      .map((key) => series.metric[key.trim()])
      .filter(Boolean);
    const text = [fill(query.textFormat), ...tags].filter(Boolean).join(" · ");
    const shared = {
      title,
      text,
      name: query.name,
      color: cssColor(query.iconColor ?? "red"),
      filter: query.filter,
    };
    const spans = query.useValueForTime ? moments(series.values) : regions(series.values, step);
    return spans.map((one) => ({ ...shared, ...one }));
  });
}

// Each value is a time of its own, in milliseconds.
function moments(points) {
  return [...new Set(points.map(([, text]) => Math.floor(Number(text))))]
    .filter((at) => at > 0)
    .map((at) => ({ at, end: at }));
}

// Neighbouring samples that are not zero are one span.
function regions(points, step) {
  const spans = [];
  for (const [seconds, text] of points) {
    const at = seconds * 1000;
    if (!Number(text)) continue;
    const last = spans.at(-1);
    if (last && at - last.end <= step * 1.5) last.end = at;
    else spans.push({ at, end: at });
  }
  return spans;
}

export function forPanel(annotations, id) {
  return annotations.filter(({ filter }) => {
    const ids = filter?.ids ?? [];
    return !ids.length || ids.includes(id) !== Boolean(filter.exclude);
  });
}
