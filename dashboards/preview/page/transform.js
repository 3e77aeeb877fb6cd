// Grafana's transformations of frames, as far as boards here use them; each takes frames and its
// options and gives new frames. One that is not known changes nothing and is told on the panel.

import { calcName, reduceValues } from "./reduce.js";
import { frameLength, timeField } from "./frames.js";

const nameOf = (field) => field.dsName || field.name;
const named = (field, name) => ({ ...field, name, dsName: undefined });

// A pattern as Grafana writes it: `/…/` or the expression alone.
export function toRegex(written) {
  const found = /^\/([\s\S]*)\/([gimsuy]*)$/.exec(written ?? "");
  try {
    return found ? new RegExp(found[1], found[2].replace("g", "")) : new RegExp(written ?? "");
  } catch {
    return /(?!)/;
  }
}

const KNOWN = {
  merge(frames) {
    const names = [...new Set(frames.flatMap((frame) => frame.fields.map((one) => one.name)))];
    if (!frames.length) return frames;
    const rows = [];
    for (const frame of frames) {
      for (let index = 0; index < frameLength(frame); index += 1) {
        const row = Object.fromEntries(frame.fields.map((one) => [one.name, one.values[index]]));
        // Rows that agree in all that both have are one.
        const same = rows.find(
          (other) =>
            Object.keys(row).every((key) => !(key in other) || other[key] === row[key]) &&
            Object.keys(row).some((key) => key in other),
        );
        if (same) Object.assign(same, row);
        else rows.push(row);
      }
    }
    const model = (name) => frames.flatMap((frame) => frame.fields).find((one) => one.name === name);
    return [
      {
        refId: frames[0].refId,
        fields: names.map((name) => ({ ...model(name), values: rows.map((row) => row[name] ?? null) })),
      },
    ];
  },

  organize(frames, { excludeByName = {}, indexByName = {}, renameByName = {}, includeByName = {} }) {
    const included = Object.keys(includeByName).filter((name) => includeByName[name]);
    return frames.map((frame) => {
      const kept = frame.fields.filter(
        (one) => !excludeByName[nameOf(one)] && (!included.length || included.includes(nameOf(one))),
      );
      const place = (field) => indexByName[nameOf(field)] ?? Number.MAX_SAFE_INTEGER;
      const sorted = kept
        .map((field, index) => ({ field, index }))
        .sort((a, b) => place(a.field) - place(b.field) || a.index - b.index)
        .map((one) => one.field);
      return {
        ...frame,
        fields: sorted.map((one) =>
          renameByName[nameOf(one)] ? named(one, renameByName[nameOf(one)]) : one,
        ),
      };
    });
  },

  labelsToFields(frames, { mode, keepLabels, valueLabel }) {
    if (mode === "rows") {
      return frames.flatMap((frame) =>
        frame.fields
          .filter((one) => one.type !== "time")
          .map((field) => {
            const pairs = Object.entries(field.labels).filter(
              ([key]) => !keepLabels || keepLabels.includes(key),
            );
            return {
              refId: frame.refId,
              fields: [
                text(
                  "label",
                  pairs.map(([key]) => key),
                ),
                text(
                  "value",
                  pairs.map(([, value]) => value),
                ),
              ],
            };
          }),
      );
    }
    const wide = frames.map((frame) => ({
      ...frame,
      fields: frame.fields.flatMap((field) => {
        if (field.type === "time") return [field];
        const kept = Object.entries(field.labels).filter(
          ([key]) => key !== valueLabel && (!keepLabels || keepLabels.includes(key)),
        );
        const value = {
          ...field,
          labels: {},
          name: field.labels[valueLabel] ?? field.metric ?? field.name,
          dsName: undefined,
        };
        return [
          ...kept.map(([key, one]) =>
            text(
              key,
              field.values.map(() => one),
            ),
          ),
          value,
        ];
      }),
    }));
    return KNOWN.merge(wide);
  },

  filterFieldsByName(frames, { include, exclude }) {
    const matches = (rule, field) =>
      (rule?.names ?? []).includes(nameOf(field)) ||
      (rule?.pattern && toRegex(rule.pattern).test(nameOf(field)));
    const asked = include?.names?.length || include?.pattern;
    return frames
      .map((frame) => ({
        ...frame,
        fields: frame.fields.filter((one) => (!asked || matches(include, one)) && !matches(exclude, one)),
      }))
      .filter((frame) => frame.fields.length);
  },

  filterByRefId(frames, { include }) {
    return include ? frames.filter((frame) => toRegex(include).test(frame.refId)) : frames;
  },

  renameByRegex(frames, { regex, renamePattern }) {
    return frames.map((frame) => ({
      ...frame,
      fields: frame.fields.map((one) =>
        toRegex(regex).test(nameOf(one))
          ? named(one, nameOf(one).replace(toRegex(regex), renamePattern))
          : one,
      ),
    }));
  },

  sortBy(frames, { sort = [] }) {
    return frames.map((frame) => {
      const by = sort
        .map((one) => ({
          ...one,
          field: frame.fields.find((field) => nameOf(field) === one.field || field.name === one.field),
        }))
        .filter((one) => one.field);
      return by.length
        ? pick(
            frame,
            [...Array(frameLength(frame)).keys()].sort((a, b) =>
              by.reduce(
                (order, { field, desc }) =>
                  order || compare(field.values[a], field.values[b]) * (desc ? -1 : 1),
                0,
              ),
            ),
          )
        : frame;
    });
  },

  limit(frames, { limitField = 10 }) {
    return frames.map((frame) =>
      pick(frame, [...Array(Math.min(frameLength(frame), Number(limitField))).keys()]),
    );
  },

  reduce(frames, { reducers = ["lastNotNull"], mode, labelsToFields }) {
    if (mode === "reduceFields") {
      return frames.map((frame) => ({
        ...frame,
        fields: frame.fields
          .filter((one) => one.type === "number")
          .flatMap((one) => reducers.map((calc) => ({ ...one, values: [reduceValues(one.values, calc)] }))),
      }));
    }
    const fields = frames.flatMap((frame) => frame.fields.filter((one) => one.type !== "time"));
    const labels = labelsToFields ? [...new Set(fields.flatMap((one) => Object.keys(one.labels)))] : [];
    return [
      {
        refId: frames[0]?.refId,
        fields: [
          text(
            "Field",
            fields.map((one) => (labelsToFields && !one.dsName ? (one.metric ?? one.name) : nameOf(one))),
          ),
          ...labels.map((label) =>
            text(
              label,
              fields.map((one) => one.labels[label] ?? ""),
            ),
          ),
          ...reducers.map((calc) => ({
            name: calcName(calc),
            type: "number",
            labels: {},
            values: fields.map((one) => reduceValues(one.values, calc)),
          })),
        ],
      },
    ];
  },

  joinByField(frames, { byField }) {
    const keyOf = (frame) =>
      frame.fields.find((one) => nameOf(one) === byField) ?? (byField ? undefined : timeField(frame));
    const joined = frames.filter(keyOf);
    if (!joined.length) return frames;
    const keys = [...new Set(joined.flatMap((frame) => keyOf(frame).values))].sort(compare);
    const others = joined.flatMap((frame) => {
      const at = new Map(keyOf(frame).values.map((key, index) => [key, index]));
      return frame.fields
        .filter((one) => one !== keyOf(frame))
        .map((one) => ({
          ...one,
          values: keys.map((key) => (at.has(key) ? one.values[at.get(key)] : null)),
        }));
    });
    return [{ refId: joined[0].refId, fields: [{ ...keyOf(joined[0]), values: keys }, ...others] }];
  },
};
KNOWN.seriesToColumns = KNOWN.joinByField;

const text = (name, values) => ({ name, type: "string", labels: {}, values });
const pick = (frame, indexes) => ({
  ...frame,
  fields: frame.fields.map((one) => ({ ...one, values: indexes.map((index) => one.values[index]) })),
});

export function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (a === null || a === undefined) return b === null || b === undefined ? 0 : -1;
  return b === null || b === undefined ? 1 : String(a).localeCompare(String(b), undefined, { numeric: true });
}

export function applyTransformations(frames, transformations) {
  const notes = [];
  let found = frames;
  for (const { id, options, disabled } of transformations ?? []) {
    if (disabled) continue;
    if (Object.hasOwn(KNOWN, id)) found = KNOWN[id](found, options ?? {});
    else notes.push(`this preview does not know the transformation ${id}`);
  }
  return { frames: found, notes };
}
