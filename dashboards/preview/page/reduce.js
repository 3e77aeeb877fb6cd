// One number of many: the calculations of legends, stats and gauges, by Grafana's ids.

const numbers = (values) => values.filter((one) => typeof one === "number" && Number.isFinite(one));
const sum = (values) => values.reduce((total, one) => total + one, 0);
const some = (values, decide) => (values.length ? decide(values) : null);

const CALCS = {
  lastNotNull: (values) => {
    for (let index = values.length - 1; index >= 0; index -= 1) {
      const one = values[index];
      if (one !== null && one !== undefined && !Number.isNaN(one)) return one;
    }
    return null;
  },
  last: (values) => values.at(-1) ?? null,
  firstNotNull: (values) =>
    values.find((one) => one !== null && one !== undefined && !Number.isNaN(one)) ?? null,
  first: (values) => values[0] ?? null,
  min: (values) => some(numbers(values), (found) => found.reduce((a, b) => Math.min(a, b))),
  max: (values) => some(numbers(values), (found) => found.reduce((a, b) => Math.max(a, b))),
  mean: (values) => some(numbers(values), (found) => sum(found) / found.length),
  median: (values) =>
    some(
      numbers(values).sort((a, b) => a - b),
      (found) => found[Math.floor(found.length / 2)],
    ),
  sum: (values) => some(numbers(values), sum),
  count: (values) => values.length,
  range: (values) => some(numbers(values), () => CALCS.max(values) - CALCS.min(values)),
  diff: (values) => some(numbers(values), (found) => found.at(-1) - found[0]),
  delta: (values) =>
    some(numbers(values), (found) =>
      found.reduce(
        (total, one, index) => (index ? total + (one >= found[index - 1] ? one - found[index - 1] : one) : 0),
        0,
      ),
    ),
  changeCount: (values) => values.filter((one, index) => index && one !== values[index - 1]).length,
  allIsNull: (values) => values.every((one) => one === null),
};
const NAMES = {
  lastNotNull: "Last *",
  last: "Last",
  firstNotNull: "First *",
  first: "First",
  min: "Min",
  max: "Max",
  mean: "Mean",
  median: "Median",
  sum: "Total",
  count: "Count",
  range: "Range",
  diff: "Difference",
  delta: "Delta",
  changeCount: "Changes",
  allIsNull: "All nulls",
};

// Of an unknown calculation, the last value.
export function reduceValues(values, calc) {
  const percentile = /^p(\d{1,2})$/.exec(calc ?? "");
  if (percentile) {
    const sorted = numbers(values).sort((a, b) => a - b);
    return some(
      sorted,
      () => sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percentile[1]) / 100))],
    );
  }
  return (Object.hasOwn(CALCS, calc) ? CALCS[calc] : CALCS.lastNotNull)(values);
}

export const calcName = (calc) => NAMES[calc] ?? calc;
// Whether the result counts something and has not the unit of the values.
export const hasNoUnit = (calc) => ["count", "changeCount", "allIsNull"].includes(calc);
