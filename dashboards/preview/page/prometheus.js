// Questions to the Prometheus behind our own server, and the steps in which they are asked.

import { parseDuration } from "./time.js";

const MOST_POINTS = 11000;
const SCRAPE = 15000; // of a data source that tells none, as Grafana assumes
const NICE = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 15000, 20000, 30000, 60000, 120000, 300000,
  600000, 900000, 1200000, 1800000, 3600000, 7200000, 10800000, 21600000, 43200000, 86400000, 604800000,
  2592000000, 31536000000,
];

class QueryError extends Error {}

async function ask(path, parameters, signal) {
  let response;
  try {
    const form = parameters && new URLSearchParams(parameters);
    response = await fetch(`/api/v1/${path}`, form ? { method: "POST", body: form, signal } : { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new QueryError("the preview itself does not answer; is it still running?");
  }
  const found = await response.json().catch(() => null);
  if (found?.status !== "success") throw new QueryError(found?.error ?? `status ${response.status}`);
  return { data: found.data, notes: [...(found.warnings ?? []), ...(found.infos ?? [])] };
}

const seconds = (ms) => (ms / 1000).toFixed(3);

export async function queryRange(query, range, step, signal) {
  const start = Math.floor(range.from / step) * step;
  const end = Math.floor(range.to / step) * step;
  const asked = { query, start: seconds(start), end: seconds(end), step: String(step / 1000) };
  const { data, notes } = await ask("query_range", asked, signal);
  return { result: data.result, type: data.resultType, notes, start, end, step };
}

export async function queryInstant(query, range, signal) {
  const { data, notes } = await ask("query", { query, time: seconds(range.to) }, signal);
  const bare = data.resultType === "scalar" || data.resultType === "string";
  const result = bare ? [{ metric: {}, value: data.result }] : data.result;
  return { result, type: bare ? "vector" : data.resultType, notes };
}

export async function labelValues(label, matcher, range) {
  const parameters = new URLSearchParams({ start: seconds(range.from), end: seconds(range.to) });
  if (matcher) parameters.set("match[]", matcher);
  return (await ask(`label/${encodeURIComponent(label)}/values?${parameters}`)).data;
}

export async function alerts(signal) {
  return (await ask("alerts", undefined, signal)).data.alerts;
}

// The step of a query and the interval of scrapes that it assumes, in milliseconds.
export function planStep(range, most, interval) {
  const wished = parseDuration(interval);
  const least = Number.isFinite(wished) && wished > 0 ? wished : SCRAPE;
  const span = range.to - range.from;
  const points = Math.max(1, Math.min(most, MOST_POINTS));
  const step = Math.max(least, roundStep(span / points));
  const safe = span / step > MOST_POINTS - 1 ? Math.ceil(span / (MOST_POINTS - 1) / 1000) * 1000 : step;
  return { step: safe, scrape: least };
}

function roundStep(wished) {
  const index = NICE.findIndex((one) => one >= wished);
  if (index < 0) return NICE.at(-1);
  if (index === 0) return NICE[0];
  return wished < (NICE[index - 1] + NICE[index]) / 2 ? NICE[index - 1] : NICE[index];
}
