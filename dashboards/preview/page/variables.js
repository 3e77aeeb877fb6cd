// A board's variables: their options from the Prometheus, their values from the address.

import { ALL, firstOf, forPromql, interpolate, namesIn, builtins } from "./interpolate.js";
import { labelValues, queryInstant } from "./prometheus.js";

const ASKING = /^\s*label_values\((?:([\s\S]+),)?\s*([\w:]+)\s*\)\s*$/;
const RESULT = /^\s*query_result\(([\s\S]+)\)\s*$/;

export class Variables {
  constructor(definitions, address) {
    this.all = definitions.map((one) => makeVariable(one, address.getAll(`var-${one.name}`)));
    this.lookup = (name) => describe(this.all.find((one) => one.name === name));
  }

  // Asks for the options of each, those first that others depend on. `changed` names one whose
  // value a person chose: only what depends on it is asked again, and may change its value.
  async load(range, changed) {
    const stale = new Set(changed ? [changed] : []);
    for (const variable of inOrder(this.all)) {
      if (changed && !variable.dependsOn.some((name) => stale.has(name))) continue;
      await this.loadOne(variable, range);
      const keepsGiven = !changed && variable.fromAddress;
      if (!keepsGiven && settle(variable)) stale.add(variable.name);
    }
  }

  async loadOne(variable, range) {
    if (variable.type !== "query") return;
    variable.error = "";
    try {
      const lookup = firstOf(builtins(range), this.lookup);
      const query = interpolate(variable.query, lookup, forPromql);
      variable.options = arrange(await fetchOptions(query, range), variable);
    } catch (error) {
      variable.options = [];
      variable.error = error.message;
    }
  }

  // Of what is in the address, so that links keep it.
  addTo(parameters) {
    for (const variable of this.all) {
      if (variable.type === "constant") continue;
      for (const value of variable.values) parameters.append(`var-${variable.name}`, value);
    }
  }
}

function makeVariable(definition, given) {
  const variable = {
    name: definition.name,
    type: definition.type,
    label: definition.label || definition.name,
    hide: Number(definition.hide ?? 0),
    multi: Boolean(definition.multi),
    includeAll: Boolean(definition.includeAll),
    allValue: definition.allValue || "",
    description: definition.description || "",
    sort: Number(definition.sort ?? 0),
    regex: definition.regex || "",
    query: queryText(definition),
    error: "",
    options: [],
    refreshes: Number(definition.refresh ?? 1) === 2,
  };
  variable.dependsOn = namesIn(variable.query).filter((name) => name !== variable.name);
  variable.options = fixedOptions(definition);
  variable.fromAddress = given.length > 0;
  variable.values = (given.length ? given : savedValues(definition)).map((one) =>
    one === "All" && variable.includeAll ? ALL : one,
  );
  if (["textbox", "constant"].includes(variable.type) && !given.length) {
    variable.values = [savedValues(definition)[0] ?? queryText(definition)];
  }
  if (variable.type === "constant") variable.values = [queryText(definition)];
  return variable;
}

function queryText(definition) {
  const query = definition.query;
  return typeof query === "object" && query !== null
    ? (query.query ?? "")
    : String(query ?? definition.definition ?? "");
}

function savedValues(definition) {
  const value = definition.current?.value;
  return (Array.isArray(value) ? value : [value])
    .filter((one) => one !== undefined && one !== null && one !== "")
    .map(String);
}

function fixedOptions(definition) {
  if (definition.type === "datasource")
    return [{ text: "Prometheus", value: savedValues(definition)[0] ?? "prometheus" }];
  if (definition.type === "custom") {
    return [...queryText(definition).matchAll(/((?:\\,|[^,])+)/g)].map(([written]) => {
      const [, text, value] = /^\s*(.+?)\s:\s(.+?)\s*$/.exec(written) ?? [
        null,
        written.trim(),
        written.trim(),
      ];
      return { text, value: value.replace(/\\,/g, ",") };
    });
  }
  if (definition.type === "interval") {
    return queryText(definition)
      .split(",")
      .map((one) => ({ text: one.trim(), value: one.trim() }));
  }
  return [];
}

async function fetchOptions(query, range) {
  const asking = ASKING.exec(query);
  if (asking) return labelValues(asking[2], asking[1]?.trim(), range);
  const result = RESULT.exec(query);
  if (!result) throw new Error(`this preview does not know how to ask ${query}`);
  const found = await queryInstant(result[1], range);
  return found.result.map(({ metric, value }) => {
    const { __name__: name = "", ...labels } = metric;
    const inside = Object.entries(labels)
      .map(([key, one]) => `${key}="${one}"`)
      .join(",");
    return `${name}{${inside}} ${value[1]} ${value[0] * 1000}`;
  });
}

function arrange(values, variable) {
  let options = values.filter((one) => one !== "").map((one) => ({ text: one, value: one }));
  if (variable.regex) options = options.map((one) => matched(one, variable.regex)).filter(Boolean);
  const unique = [...new Map(options.map((one) => [one.value, one])).values()];
  if (!variable.sort) return unique;
  const compare =
    variable.sort === 3 || variable.sort === 4
      ? (a, b) => (parseFloat(a.text.match(/\d+/)) || 0) - (parseFloat(b.text.match(/\d+/)) || 0)
      : (a, b) => a.text.localeCompare(b.text, undefined, { numeric: variable.sort > 6 });
  unique.sort(compare);
  return variable.sort % 2 ? unique : unique.reverse();
}

function matched(option, written) {
  const found = /^\/([\s\S]*)\/([a-z]*)$/.exec(written);
  const match = new RegExp(found ? found[1] : written, found ? found[2].replace("g", "") : "").exec(
    option.text,
  );
  if (!match) return null;
  const value = match.groups?.value ?? match[1] ?? match[0];
  return { value, text: match.groups?.text ?? (match.groups?.value ? value : (match[1] ?? match[0])) };
}

// Each after those that it names; what names itself in a ring comes last.
function inOrder(variables) {
  const left = [...variables];
  const done = [];
  while (left.length) {
    const index = Math.max(
      0,
      left.findIndex((one) => !one.dependsOn.some((name) => left.some((other) => other.name === name))),
    );
    done.push(...left.splice(index, 1));
  }
  return done;
}

// Gives a value that is among the options; says whether it changed.
function settle(variable) {
  if (["textbox", "constant"].includes(variable.type)) return false;
  const before = variable.values.join("\n");
  const known = new Set(variable.options.map((one) => one.value));
  if (variable.includeAll) known.add(ALL);
  const kept = variable.values.filter((one) => known.has(one));
  const first = variable.includeAll ? ALL : variable.options[0]?.value;
  variable.values = kept.length ? kept : first === undefined ? [] : [first];
  return variable.values.join("\n") !== before;
}

function describe(variable) {
  if (!variable) return undefined;
  const { name, multi, includeAll, values } = variable;
  const texts = values.map((one) => variable.options.find((option) => option.value === one)?.text ?? one);
  const shared = { name, multi, includeAll, given: values };
  if (values.includes(ALL)) {
    const each = variable.options.map((one) => one.value);
    return variable.allValue
      ? { ...shared, value: variable.allValue, asIs: true, text: "All" }
      : { ...shared, value: each, text: "All" };
  }
  return { ...shared, value: multi ? values : (values[0] ?? ""), text: texts.join(" + ") };
}
