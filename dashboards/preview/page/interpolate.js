// What a variable becomes where a board names it: in PromQL, in a title, in a link.

import { formatDuration } from "./time.js";

const NAMED = /\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:}]+))?(?::([^}]+))?\}/g;
const META = /[\\^$*+?.()|[\]{}'"]/g;

export const ALL = "$__all";

// The inside of a double-quoted string of PromQL.
const quoteInside = (text) => text.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n");
// A text as a regular expression of RE2 that finds it alone.
export const escapeRegex = (text) => text.replace(META, "\\$&");

const list = (value) => (Array.isArray(value) ? value : [value]).map(String);
const group = (values) => (values.length === 1 ? values[0] : `(${values.join("|")})`);

// As Grafana's Prometheus data source does it: what can be several values or all is used with `=~`,
// so it is a regular expression, within a string; what is always one value is used with `=`.
export function forPromql(value, variable) {
  if (variable.name.startsWith("__")) return String(value);
  if (!variable.multi && !variable.includeAll) return quoteInside(list(value).join(","));
  return group(list(value).map((one) => quoteInside(escapeRegex(one))));
}

const FORMATS = {
  raw: (value) => list(value).join(","),
  csv: (value) => list(value).join(","),
  pipe: (value) => list(value).join("|"),
  regex: (value) => group(list(value).map((one) => one.replace(/[\\^$*+?.()|[\]{}/]/g, "\\$&"))),
  glob: (value) => (list(value).length === 1 ? list(value)[0] : `{${list(value).join(",")}}`),
  json: (value) => JSON.stringify(value),
  doublequote: (value) =>
    list(value)
      .map((one) => `"${one.replace(/"/g, '\\"')}"`)
      .join(","),
  singlequote: (value) =>
    list(value)
      .map((one) => `'${one.replace(/'/g, "\\'")}'`)
      .join(","),
  percentencode: (value) => encodeURIComponent(FORMATS.glob(value)),
  queryparam: (value, variable) =>
    list(variable.given ?? value)
      .map((one) => `var-${encodeURIComponent(variable.name)}=${encodeURIComponent(one)}`)
      .join("&"),
  text: (value, variable) => variable.text ?? list(value).join(" + "),
  date: (value, variable, argument) => formatDate(Number(value), argument),
};

function formatDate(moment, argument) {
  if (argument === "seconds") return String(Math.floor(moment / 1000));
  return new Date(moment).toISOString();
}

// `lookup` gives { name, value, multi, includeAll, asIs, text, given } of a name, or undefined: then
// what is written stays. `byDefault` formats where no format is written.
export function interpolate(text, lookup, byDefault = FORMATS.glob) {
  return String(text ?? "").replace(NAMED, (written, plain, bracketed, oldFormat, name, field, format) => {
    const variable = lookup(plain ?? bracketed ?? name, field);
    if (!variable) return written;
    const [kind, ...rest] = (format ?? oldFormat ?? "").split(":");
    const known = Object.hasOwn(FORMATS, kind) ? FORMATS[kind] : byDefault;
    // What stands for all as the board's author wrote it is PromQL already.
    if (variable.asIs && !["text", "queryparam", "percentencode"].includes(kind)) return variable.value;
    return known(variable.value, variable, rest.join(":"));
  });
}

// The names that a text uses.
export const namesIn = (text) =>
  [...String(text ?? "").matchAll(NAMED)].map((one) => one[1] ?? one[2] ?? one[4]);

// What Grafana itself provides: of a range { from, to } in milliseconds and, in a query, its step
// and the interval of scrapes.
export function builtins(range, step, scrape) {
  const seconds = Math.round((range.to - range.from) / 1000);
  const found = {
    __from: range.from,
    __to: range.to,
    __range: `${seconds}s`,
    __range_s: seconds,
    __range_ms: range.to - range.from,
  };
  if (step) {
    const rate = Math.max(step + scrape, 4 * scrape);
    Object.assign(found, {
      __interval: formatDuration(step),
      __interval_ms: step,
      __rate_interval: formatDuration(rate),
      __rate_interval_ms: rate,
    });
  }
  return (name) => (Object.hasOwn(found, name) ? { name, value: String(found[name]) } : undefined);
}

export const firstOf =
  (...lookups) =>
  (name, field) => {
    for (const lookup of lookups) {
      const found = lookup(name, field);
      if (found) return found;
    }
    return undefined;
  };
