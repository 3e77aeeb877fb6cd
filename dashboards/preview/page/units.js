// Numbers as Grafana's units write them. A unit that is not known here stands behind the number.

import { formatTime, fromNow } from "./time.js";

const THOUSANDS = ["", " K", " Mil", " Bil", " Tri", " Quadr"];
const IEC = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const SI_BYTES = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const SI = ["", "k", "M", "G", "T", "P"];
const SPANS = [
  ["years", 31536000],
  ["weeks", 604800],
  ["days", 86400],
  ["hours", 3600],
  ["mins", 60],
  ["s", 1],
  ["ms", 1e-3],
  ["µs", 1e-6],
  ["ns", 1e-9],
];
const SECONDS = { ns: 1e-9, µs: 1e-6, us: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600, d: 86400 };
const RATES = {
  cps: "c/s",
  ops: "ops/s",
  reqps: "req/s",
  rps: "rd/s",
  wps: "wr/s",
  iops: "io/s",
  eps: "evt/s",
  mps: "msg/s",
  recps: "rec/s",
  rowsps: "rows/s",
  pps: "p/s",
  cpm: "c/min",
  opm: "ops/min",
  reqpm: "req/min",
  rpm: "rd/min",
  wpm: "wr/min",
};
const TRUTHS = { bool: ["True", "False"], bool_yes_no: ["Yes", "No"], bool_on_off: ["On", "Off"] };

function autoDecimals(value) {
  if (!value || Number.isInteger(value)) return 0;
  const digits = Math.floor(Math.log10(Math.abs(value)));
  return Math.min(12, Math.max(0, 2 - digits));
}

function fixed(value, decimals) {
  const places = decimals ?? autoDecimals(value);
  const text = value.toFixed(Math.min(20, Math.max(0, places)));
  // Without a wish for places, zeros at the end say nothing.
  const short = decimals === undefined && text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  return /^-0(\.0*)?$/.test(short) ? short.slice(1) : short;
}

function scaled(value, factor, names, decimals, space) {
  let index = 0;
  let rest = value;
  while (Math.abs(rest) >= factor && index < names.length - 1) {
    rest /= factor;
    index += 1;
  }
  const name = names[index];
  return { text: fixed(rest, decimals), suffix: name && space ? ` ${name}` : name };
}

function span(seconds, decimals) {
  if (!seconds) return { text: fixed(0, decimals), suffix: " s" };
  const size = Math.abs(seconds);
  const [name, unit] = SPANS.find(([, one]) => size >= one * 0.9999999) ?? SPANS.at(-1);
  const text = fixed(seconds / unit, decimals);
  return { text, suffix: ` ${text === "1" ? name.replace(/(?<=..)s$/, "") : name}` };
}

// `1 day 3 hours 2 mins`: the largest and, by `decimals`, that many more.
function longSpan(seconds, decimals) {
  const told = [];
  let rest = Math.abs(seconds);
  for (const [name, unit] of SPANS.slice(0, 6)) {
    const count = Math.floor(rest / unit);
    if (!count) continue;
    rest -= count * unit;
    const word = name === "s" ? "second" : name === "mins" ? "minute" : name.slice(0, -1);
    told.push(`${count} ${word}${count === 1 ? "" : "s"}`);
  }
  if (!told.length) return { text: "0 s", suffix: "" };
  return { text: `${seconds < 0 ? "-" : ""}${told.slice(0, 1 + (decimals ?? 1)).join(", ")}`, suffix: "" };
}

function clock(seconds) {
  const whole = Math.round(Math.abs(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return { text: [h, m, s].map((one) => String(one).padStart(2, "0")).join(":"), suffix: "" };
}

const KNOWN = {
  none: (v, d) => ({ text: fixed(v, d), suffix: "" }),
  string: (v) => ({ text: String(v), suffix: "" }),
  locale: (v, d) => ({ text: Number(fixed(v, d)).toLocaleString("en-US"), suffix: "" }),
  short: (v, d) => scaled(v, 1000, THOUSANDS, d),
  sishort: (v, d) => scaled(v, 1000, SI, d, true),
  percent: (v, d) => ({ text: fixed(v, d), suffix: "%" }),
  percentunit: (v, d) => ({ text: fixed(v * 100, d), suffix: "%" }),
  bytes: (v, d) => scaled(v, 1024, IEC, d, true),
  decbytes: (v, d) => scaled(v, 1000, SI_BYTES, d, true),
  bits: (v, d) =>
    scaled(
      v,
      1024,
      IEC.map((one) => one.replace("B", "b")),
      d,
      true,
    ),
  decbits: (v, d) =>
    scaled(
      v,
      1000,
      SI_BYTES.map((one) => one.replace("B", "b")),
      d,
      true,
    ),
  binBps: (v, d) =>
    scaled(
      v,
      1024,
      IEC.map((one) => `${one}/s`),
      d,
      true,
    ),
  Bps: (v, d) =>
    scaled(
      v,
      1000,
      SI_BYTES.map((one) => `${one}/s`),
      d,
      true,
    ),
  bps: (v, d) =>
    scaled(
      v,
      1000,
      SI_BYTES.map((one) => `${one.replace("B", "b")}/s`),
      d,
      true,
    ),
  kbytes: (v, d) => scaled(v * 1024, 1024, IEC, d, true),
  mbytes: (v, d) => scaled(v * 1024 ** 2, 1024, IEC, d, true),
  dtdurations: (v, d) => longSpan(v, d),
  dtdurationms: (v, d) => longSpan(v / 1000, d),
  dthms: (v) => clock(v),
  dtdhms: (v) => longSpan(v, 3),
  clocks: (v) => longSpan(v, 3),
  hex: (v) => ({ text: Math.round(v).toString(16).toUpperCase(), suffix: "" }),
  sci: (v, d) => ({ text: v.toExponential(d ?? 2), suffix: "" }),
  dateTimeFromNow: (v) => ({ text: fromNow(v, Date.now()), suffix: "" }),
};

// { text, prefix, suffix } of a number; `decimals` as the field asks, or undefined.
export function formatParts(value, unit, decimals) {
  if (value === null || value === undefined || value === "") return { text: "", prefix: "", suffix: "" };
  if (typeof value !== "number") return { text: String(value), prefix: "", suffix: "" };
  if (Number.isNaN(value)) return { text: "NaN", prefix: "", suffix: "" };
  const places = Number.isInteger(decimals) ? decimals : undefined;
  if (!Number.isFinite(value) && !(unit in TRUTHS)) {
    return { text: value > 0 ? "+Inf" : "-Inf", prefix: "", suffix: "" };
  }
  return { prefix: "", ...formatKnown(value, unit || "none", places) };
}

function formatKnown(value, unit, places) {
  if (Object.hasOwn(KNOWN, unit)) return KNOWN[unit](value, places);
  if (Object.hasOwn(SECONDS, unit)) return span(value * SECONDS[unit], places);
  if (Object.hasOwn(TRUTHS, unit)) return { text: TRUTHS[unit][value ? 0 : 1], suffix: "" };
  if (Object.hasOwn(RATES, unit)) {
    const found = scaled(value, 1000, THOUSANDS, places);
    return { text: found.text, suffix: `${found.suffix} ${RATES[unit]}` };
  }
  if (unit.startsWith("dateTime") || unit.startsWith("time:")) {
    return { text: formatTime(value), suffix: "" };
  }
  const [kind, rest] = [unit.split(":")[0], unit.slice(unit.indexOf(":") + 1)];
  if (unit.startsWith("prefix:")) return { text: fixed(value, places), prefix: rest, suffix: "" };
  if (["count", "si"].includes(kind) && rest !== unit) {
    const found = scaled(value, 1000, kind === "si" ? SI : THOUSANDS, places);
    return { text: found.text, suffix: ` ${found.suffix.trim()}${kind === "si" ? "" : " "}${rest}` };
  }
  return { text: fixed(value, places), suffix: ` ${unit.startsWith("suffix:") ? rest : unit}` };
}

export function formatValue(value, unit, decimals) {
  const { prefix, text, suffix } = formatParts(value, unit, decimals);
  return `${prefix}${text}${suffix}`;
}

export const isBinary = (unit) => ["bytes", "binBps", "bits", "kbytes", "mbytes"].includes(unit);
export const secondsOf = (unit) => SECONDS[unit];
