// Times as Grafana's URLs write them, durations as PromQL writes them, and the ticks of a time axis.

const UNITS = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5, M: 2592e6, y: 31536e6 };

export const QUICK_RANGES = [
  ["now-5m", "Last 5 minutes"],
  ["now-15m", "Last 15 minutes"],
  ["now-30m", "Last 30 minutes"],
  ["now-1h", "Last 1 hour"],
  ["now-3h", "Last 3 hours"],
  ["now-6h", "Last 6 hours"],
  ["now-12h", "Last 12 hours"],
  ["now-24h", "Last 24 hours"],
  ["now-2d", "Last 2 days"],
  ["now-7d", "Last 7 days"],
  ["now-30d", "Last 30 days"],
];
export const REFRESHES = ["", "5s", "10s", "30s", "1m", "5m", "15m", "30m", "1h"];

// Milliseconds of `15s`, `1m30s`, `>10s`; NaN for anything else.
export function parseDuration(text) {
  const written = String(text ?? "")
    .replace(/^>/, "")
    .trim();
  if (!/^(\d+(?:\.\d+)?(ms|[smhdwMy]))+$/.test(written)) return NaN;
  let total = 0;
  for (const [, count, unit] of written.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdwMy])/g)) {
    total += Number(count) * UNITS[unit];
  }
  return total;
}

export function formatDuration(ms) {
  return ms % 1000 ? `${Math.round(ms)}ms` : `${ms / 1000}s`;
}

// Milliseconds since 1970 of `now-3h`, `now-1d/d`, a number of them, or an ISO time; NaN otherwise.
export function parseTime(text, now, isEnd) {
  const written = String(text ?? "").trim();
  if (/^\d+$/.test(written)) return Number(written);
  const found = /^now(?:([+-])(\d+(?:ms|[smhdwMy])))?(?:\/([smhdwMy]))?$/.exec(written);
  if (!found) return Date.parse(written);
  const [, sign, span, floor] = found;
  const moment = now + (span ? parseDuration(span) * (sign === "-" ? -1 : 1) : 0);
  return floor ? roundTo(moment, floor, isEnd) : moment;
}

function roundTo(moment, unit, isEnd) {
  const at = new Date(moment);
  if (unit === "y") at.setMonth(0, 1);
  if (unit === "M") at.setDate(1);
  if (unit === "w") at.setDate(at.getDate() - ((at.getDay() + 6) % 7));
  if ("yMwd".includes(unit)) at.setHours(0, 0, 0, 0);
  if (unit === "h") at.setMinutes(0, 0, 0);
  if (unit === "m") at.setSeconds(0, 0);
  at.setMilliseconds(0);
  if (!isEnd) return at.getTime();
  if (unit === "y") return at.setFullYear(at.getFullYear() + 1) - 1;
  if (unit === "M") return at.setMonth(at.getMonth() + 1) - 1;
  return at.getTime() + UNITS[unit] - 1;
}

let zone;

// Of a board: `utc`, `browser`, the name of a zone, or empty.
export function setZone(name) {
  zone = name === "utc" ? "UTC" : name && name !== "browser" ? name : undefined;
}

function parts(moment) {
  const format = new Intl.DateTimeFormat("en-GB", {
    timeZone: zone,
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
  });
  return Object.fromEntries(format.formatToParts(moment).map((one) => [one.type, one.value]));
}

export function formatTime(moment) {
  if (!Number.isFinite(moment)) return "–";
  const at = parts(moment);
  return `${at.year}-${at.month}-${at.day} ${at.hour}:${at.minute}:${at.second}`;
}

function tickLabel(moment, step) {
  const at = parts(moment);
  if (step < 6e4) return `${at.hour}:${at.minute}:${at.second}`;
  if (step < 864e5 && !(at.hour === "00" && at.minute === "00")) return `${at.hour}:${at.minute}`;
  return `${at.month}/${at.day}`;
}

const STEPS = [
  1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800,
  1209600, 2592000,
].map((seconds) => seconds * 1000);

// [{ at, label }] for an axis that has room for `most` labels.
export function timeTicks(from, to, most) {
  const step = STEPS.find((one) => (to - from) / one <= most) ?? STEPS.at(-1);
  const offset = zoneOffset(from);
  const ticks = [];
  for (let at = Math.ceil((from + offset) / step) * step - offset; at <= to; at += step) {
    ticks.push({ at, label: tickLabel(at, step) });
  }
  return ticks;
}

function zoneOffset(moment) {
  const at = parts(moment);
  const local = Date.UTC(at.year, at.month - 1, at.day, at.hour, at.minute, at.second);
  return local - Math.floor(moment / 1000) * 1000;
}

// `3 min ago`, `in 2 hours`; one unit, rounded down.
export function fromNow(moment, now) {
  const apart = Math.abs(now - moment);
  const [name, unit] = [
    ["y", "year"],
    ["d", "day"],
    ["h", "hour"],
    ["m", "minute"],
    ["s", "second"],
  ].find(([key]) => apart >= UNITS[key]) ?? ["s", "second"];
  const count = Math.floor(apart / UNITS[name]);
  if (!count) return "just now";
  const told = `${count} ${unit}${count === 1 ? "" : "s"}`;
  return moment <= now ? `${told} ago` : `in ${told}`;
}
