// From values to pixels: the range of an axis, its ticks, and the widths of their labels.

import { textWidth } from "./dom.js";
import { formatValue, isBinary, secondsOf } from "./units.js";

const finite = (value) => typeof value === "number" && Number.isFinite(value);

// Of what an axis shows: data, then what the fields ask for; never empty.
export function valueRange(fields, stacked) {
  let [low, high] = [Infinity, -Infinity];
  for (const one of fields) {
    for (const value of stacked?.get(one) ?? one.values) {
      if (!finite(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  const custom = fields.map((one) => one.config.custom ?? {});
  const softMin = Math.min(...custom.map((one) => one.axisSoftMin).filter(finite));
  const softMax = Math.max(...custom.map((one) => one.axisSoftMax).filter(finite));
  if (low > high) [low, high] = [finite(softMin) ? softMin : 0, finite(softMax) ? softMax : 1];
  const padding = low === high ? Math.abs(low) || 1 : (high - low) * 0.1;
  const [dataLow, dataHigh] = [low, high];
  low = low >= 0 && low - padding < 0 ? 0 : low - padding;
  high = high <= 0 && high + padding > 0 ? 0 : high + padding;
  if (finite(softMin)) low = softMin <= dataLow ? softMin : low;
  if (finite(softMax)) high = softMax >= dataHigh ? softMax : high;
  const hard = (key, choose) => choose(...fields.map((one) => one.config[key]).filter(finite));
  const [min, max] = [hard("min", Math.min), hard("max", Math.max)];
  if (finite(min)) low = min;
  if (finite(max)) high = max;
  return { low, high: low < high ? high : low + 1 };
}

const WEEK = 604800;
const SPANS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800,
];
const WEEKS = [1, 2, 4, 8, 13, 26, 52].map((count) => count * WEEK);

function niceStep(rough, unit) {
  const seconds = secondsOf(unit);
  if (seconds && rough * seconds >= 1) {
    const found = [...SPANS, ...WEEKS].find((one) => one >= rough * seconds * 0.999);
    if (found) return found / seconds;
  }
  if (isBinary(unit) && rough > 1) return 2 ** Math.ceil(Math.log2(rough) - 1e-9);
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5, 10].find((one) => one * power >= rough * 0.999) ?? 10;
  return factor * power;
}

// `y(value)` in pixels from `top` down to `bottom`, and the ticks [{ value, label }].
export function makeScale({ low, high }, [top, bottom], { unit, decimals, log }) {
  if (log && high > 0) return logScale({ low, high }, [top, bottom], { unit, decimals, log });
  const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - top);
  const most = Math.max(2, Math.floor((bottom - top) / 32));
  const step = niceStep((high - low) / most, unit);
  const ticks = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) {
    const value = Number((index * step).toPrecision(12));
    ticks.push({ value, label: formatValue(value, unit, decimals) });
  }
  return { y, ticks: spread(ticks, unit, step), low, high };
}

// Where rounding makes neighbours read the same, they get the places that tell them apart.
function spread(ticks, unit, step) {
  if (new Set(ticks.map((one) => one.label)).size === ticks.length) return ticks;
  const places = Math.min(10, Math.max(0, Math.ceil(-Math.log10(step * (unit === "percentunit" ? 100 : 1)))));
  return ticks.map((one) => ({ ...one, label: formatValue(one.value, unit, places) }));
}

function logScale({ low, high }, [top, bottom], { unit, decimals, log }) {
  const floor = low > 0 ? low : high / 1e4;
  const [from, to] = [Math.log(floor), Math.log(high)];
  const y = (value) => bottom - ((Math.log(Math.max(value, floor)) - from) / (to - from)) * (bottom - top);
  const all = [];
  for (let power = Math.ceil(Math.log(floor) / Math.log(log)); log ** power <= high; power += 1) {
    all.push({ value: log ** power, label: formatValue(log ** power, unit, decimals) });
  }
  const every = Math.max(1, Math.ceil(all.length / Math.max(2, (bottom - top) / 28)));
  return { y, ticks: all.filter((_, index) => index % every === 0), low: floor, high };
}

export const widest = (labels) => Math.ceil(Math.max(0, ...labels.map((one) => textWidth(one, 11))));
