// How a field is shown: its defaults and overrides, name, text, colour.

import { cssColor, PALETTE, paletteColor, rampColor } from "./colors.js";
import { interpolate } from "./interpolate.js";
import { toRegex } from "./transform.js";
import { formatParts } from "./units.js";

// Gives each field its `config`, `title` and `color`, in place.
export function resolveFields(frames, fieldConfig) {
  const { defaults = {}, overrides = [] } = fieldConfig ?? {};
  let index = 0;
  for (const frame of frames) {
    for (const field of frame.fields) {
      field.config = structuredClone(defaults);
      field.title = nameOf(field);
      for (const { matcher, properties } of overrides) {
        if (matches(matcher, field, frame))
          properties.forEach((one) => setProperty(field.config, one.id, one.value));
      }
      if (field.type === "time") delete field.config.unit;
      if (field.config.displayName) field.title = fillName(field.config.displayName, field);
      if (field.type === "number") {
        field.index = index;
        index += 1;
      }
      field.color = fieldColor(field);
    }
  }
  const numbers = frames.flatMap((frame) => frame.fields.filter((one) => one.type === "number"));
  spreadByName(numbers.filter((one) => one.config.color?.mode === "palette-classic-by-name"));
  return frames;
}

function nameOf(field) {
  if (field.dsName) return field.dsName;
  const labels = Object.entries(field.labels ?? {});
  if (field.name !== "Value" || !labels.length) return field.name;
  return labels.length === 1
    ? labels[0][1]
    : `{${labels.map(([key, value]) => `${key}="${value}"`).join(", ")}}`;
}

function fillName(written, field) {
  return interpolate(
    written,
    (name, path) => {
      if (name === "__series") return { name, value: field.dsName ?? field.title };
      if (name !== "__field") return undefined;
      if (path === "name" || path === "displayName") return { name, value: field.dsName ?? field.name };
      if (path === "labels")
        return {
          name,
          value: Object.entries(field.labels)
            .map((one) => one.join("="))
            .join(", "),
        };
      const label = /^labels\.(?:"(.+)"|(.+))$/.exec(path ?? "");
      return label ? { name, value: field.labels[label[1] ?? label[2]] ?? "" } : undefined;
    },
    (value) => String(value),
  );
}

function matches({ id, options }, field, frame) {
  if (id === "byName") return options === field.title || options === field.name;
  if (id === "byRegexp") return toRegex(options).test(field.title);
  if (id === "byFrameRefID") return options === frame.refId && field.type !== "time";
  if (id === "byType") return options === field.type;
  return false;
}

function setProperty(config, path, value) {
  const steps = path.split(".");
  let at = config;
  for (const step of steps.slice(0, -1)) {
    at[step] ??= {};
    at = at[step];
  }
  at[steps.at(-1)] = value;
}

function fieldColor(field) {
  const { mode, fixedColor } = field.config.color ?? {};
  if (mode === "fixed" || mode === "shades") return cssColor(fixedColor);
  return paletteColor(field.index ?? 0);
}

// By name: a series keeps its colour when others come and go, unless two would share one.
function spreadByName(fields) {
  const taken = new Set();
  for (const field of fields) {
    const wished =
      [...field.title].reduce((hash, letter) => (Math.imul(hash, 31) + letter.codePointAt(0)) >>> 0, 7) %
      PALETTE.length;
    const free =
      [...PALETTE.keys()].map((step) => (wished + step) % PALETTE.length).find((one) => !taken.has(one)) ??
      wished;
    taken.add(free);
    field.color = paletteColor(free);
  }
}

// Whether a board gave no colour, so that ours is taken.
export const usesPalette = (config) => !["fixed", "shades", "thresholds"].includes(config.color?.mode);

export function thresholdSteps(config, bounds) {
  const { mode, steps = [] } = config.thresholds ?? {};
  const { min, max } = bounds ?? { min: config.min ?? 0, max: config.max ?? 100 };
  return steps
    .map(({ color, value }) => {
      const bare = value === null || value === undefined ? -Infinity : Number(value);
      return {
        color: cssColor(color),
        value: mode === "percentage" && bare > -Infinity ? min + (bare / 100) * (max - min) : bare,
      };
    })
    .sort((a, b) => a.value - b.value);
}

// The colour of one value, and what a mapping says of it.
export function display(value, config, color, bounds) {
  const mapped = findMapping(value, config.mappings);
  const parts = formatParts(value, config.unit, config.decimals);
  if (mapped?.text) Object.assign(parts, { prefix: "", text: mapped.text, suffix: "" });
  const bare = value === null || value === undefined || Number.isNaN(value);
  if (bare && !mapped?.text)
    Object.assign(parts, {
      prefix: "",
      text: config.noValue ?? (Number.isNaN(value) ? "NaN" : "–"),
      suffix: "",
    });
  const mappedColor = mapped?.color && cssColor(mapped.color);
  return {
    ...parts,
    all: `${parts.prefix}${parts.text}${parts.suffix}`,
    mapped: Boolean(mapped?.text),
    color: mappedColor || valueColor(value, config, color, bounds),
  };
}

function valueColor(value, config, color, bounds) {
  const mode = config.color?.mode ?? "thresholds";
  if (mode.startsWith("continuous-")) {
    const { min = 0, max = 100 } = bounds ?? config;
    return rampColor(mode.slice("continuous-".length), (value - min) / (max - min || 1));
  }
  if (mode !== "thresholds") return color ?? cssColor(config.color?.fixedColor);
  const steps = thresholdSteps(config, bounds);
  const reached = typeof value === "number" ? steps.filter((one) => value >= one.value).at(-1) : undefined;
  return (reached ?? steps[0])?.color ?? "var(--text)";
}

function findMapping(value, mappings) {
  for (const { type, options } of mappings ?? []) {
    if (type === "value" && Object.hasOwn(options, String(value))) return options[String(value)];
    if (
      type === "range" &&
      typeof value === "number" &&
      value >= (options.from ?? -Infinity) &&
      value <= (options.to ?? Infinity)
    )
      return options.result;
    if (type === "regex" && typeof value === "string") {
      const found = toRegex(options.pattern).exec(value);
      if (found)
        return {
          ...options.result,
          text: options.result.text?.replace(/\$(\d)/g, (_, group) => found[group] ?? ""),
        };
    }
    if (type === "special" && isSpecial(options.match, value)) return options.result;
  }
  return undefined;
}

function isSpecial(match, value) {
  const isNull = value === null || value === undefined;
  const isNaN = Number.isNaN(value);
  return (
    {
      null: isNull,
      nan: isNaN,
      "null+nan": isNull || isNaN,
      true: value === true,
      false: value === false,
      empty: value === "",
    }[match] ?? false
  );
}
