// Answers of Prometheus as frames: { refId, fields }, a field being { name, type, values, labels }.
// Transformations change frames; panels draw from them.

// `target` has refId, legend (interpolated), expr, format; `several`: whether the panel asks more than once.
export function makeFrames(answer, target, several) {
  if (target.format === "heatmap") return heatmapFrames(answer, target);
  if (target.format === "table") return [tableFrame(answer, target, several)];
  return seriesFrames(answer, target);
}

function seriesFrames(answer, target) {
  return answer.result.map((one) => {
    const { times, values } = pointsOf(one, answer);
    const { __name__: metric, ...labels } = one.metric;
    const value = { name: "Value", type: "number", values, labels, metric };
    return {
      refId: target.refId,
      fields: [
        { name: "Time", type: "time", values: times, labels: {} },
        { ...value, dsName: legendName(target, one.metric, answer.result) },
      ],
    };
  });
}

// At each step a value; null where there is none, so that a gap is seen as one.
function pointsOf(one, answer) {
  if (!one.values) return { times: [one.value[0] * 1000], values: [Number(one.value[1])] };
  const { start, end, step } = answer;
  const times = [];
  const values = [];
  const known = new Map(one.values.map(([at, text]) => [Math.round(at * 1000), Number(text)]));
  for (let at = start; at <= end; at += step) {
    times.push(at);
    const value = known.get(at);
    values.push(value === undefined || Number.isNaN(value) ? null : value);
  }
  return { times, values };
}

function legendName(target, metric, all) {
  const written = target.legend;
  if (written && written !== "__auto") {
    return written.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => metric[label] ?? "");
  }
  if (written === "__auto") {
    const names = [...new Set(all.flatMap((one) => Object.keys(one.metric)))].filter(
      (name) => new Set(all.map((one) => one.metric[name])).size > 1,
    );
    if (names.length === 1) return metric[names[0]] ?? "";
    if (all.length === 1 && !Object.keys(metric).length) return target.expr;
  }
  return fullName(metric) || target.expr;
}

function fullName(metric) {
  const { __name__: name = "", ...labels } = metric;
  const inside = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  return inside.length ? `${name}{${inside.join(", ")}}` : name;
}

function tableFrame(answer, target, several) {
  const names = [...new Set(answer.result.flatMap((one) => Object.keys(one.metric)))].sort();
  const rows = answer.result.flatMap((one) =>
    (one.values ?? [one.value]).map(([at, text]) => ({ metric: one.metric, at, text })),
  );
  return {
    refId: target.refId,
    fields: [
      { name: "Time", type: "time", labels: {}, values: rows.map((row) => row.at * 1000) },
      ...names.map((name) => ({
        name,
        type: "string",
        labels: {},
        values: rows.map((row) => row.metric[name] ?? ""),
      })),
      {
        name: several ? `Value #${target.refId}` : "Value",
        type: "number",
        labels: {},
        values: rows.map((row) => Number(row.text)),
      },
    ],
  };
}

// Buckets by their upper edges; what is cumulative in Prometheus is what each bucket alone holds here.
function heatmapFrames(answer, target) {
  const edge = (one) =>
    one.metric.le === undefined ? NaN : Number(one.metric.le.replace("+Inf", "Infinity"));
  const buckets = answer.result.filter((one) => !Number.isNaN(edge(one))).sort((a, b) => edge(a) - edge(b));
  if (!buckets.length) return [];
  let below = [];
  let times = [];
  const fields = buckets.map((one) => {
    const found = pointsOf(one, answer);
    times = found.times;
    const alone = found.values.map((value, index) =>
      value === null ? null : Math.max(0, value - (below[index] ?? 0)),
    );
    below = found.values;
    return {
      name: one.metric.le,
      type: "number",
      values: alone,
      labels: { le: one.metric.le },
      edge: edge(one),
      dsName: one.metric.le,
    };
  });
  return [
    {
      refId: target.refId,
      isHeatmap: true,
      fields: [{ name: "Time", type: "time", values: times, labels: {} }, ...fields],
    },
  ];
}

export const timeField = (frame) => frame.fields.find((one) => one.type === "time");
export const frameLength = (frame) => frame.fields[0]?.values.length ?? 0;
