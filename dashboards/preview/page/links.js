// Where links lead: variables and times filled in, boards that are here opened here.

import { el } from "./dom.js";
import { firstOf, interpolate } from "./interpolate.js";

const encode = (value) => encodeURIComponent(Array.isArray(value) ? value.join(",") : String(value));

export class Links {
  // `boards` are [{ uid, title, tags }]; `state()` gives { from, to, theme, variables } of now.
  constructor(boards, state) {
    this.boards = boards;
    this.state = state;
  }

  timeAndVariables({ time = true, variables = true } = {}) {
    const state = this.state();
    const parameters = new URLSearchParams();
    if (time) {
      parameters.set("from", state.from);
      parameters.set("to", state.to);
    }
    if (variables) state.variables.addTo(parameters);
    return parameters.toString();
  }

  // The address of a written link; `more` looks up names of a field or a row.
  resolve(written, more = () => undefined) {
    const asIs = (value) => ({ name: "", value, asIs: true });
    const own = (name) =>
      ({
        __url_time_range: () => asIs(this.timeAndVariables({ variables: false })),
        __all_variables: () => asIs(this.timeAndVariables({ time: false })),
      })[name]?.();
    const filled = interpolate(written, firstOf(own, more, this.state().variables.lookup), encode);
    return this.toLocal(filled);
  }

  // A board that is shown here is opened here, whatever Grafana the link names.
  toLocal(address) {
    let url;
    try {
      url = new URL(address, location.origin);
    } catch {
      return "#";
    }
    if (!["http:", "https:", "mailto:"].includes(url.protocol)) return "#";
    const uid = /\/d\/([^/]+)/.exec(url.pathname)?.[1];
    if (!uid || !this.boards.some((one) => one.uid === decodeURIComponent(uid))) return url.href;
    url.searchParams.set("theme", this.state().theme);
    return `/d/${uid}${url.search}`;
  }

  anchor(link, more, title) {
    const told = interpolate(
      title ?? link.title ?? "",
      firstOf(more ?? (() => undefined), this.state().variables.lookup),
      (value) => String(value),
    );
    let written = link.url ?? "";
    const extra = this.timeAndVariables({
      time: link.keepTime ?? false,
      variables: link.includeVars ?? false,
    });
    if (extra) written += (written.includes("?") ? "&" : "?") + extra;
    const isNew = link.targetBlank;
    return el(
      "a",
      {
        href: this.resolve(written, more),
        target: isNew ? "_blank" : undefined,
        rel: isNew ? "noreferrer" : undefined,
        title: link.tooltip || told,
      },
      told || link.url,
    );
  }

  // The links of a board's head: single ones, and the boards of some tags.
  ofBoard(links, ownUid) {
    return (links ?? []).flatMap((link) => {
      if (link.type !== "dashboards") return [this.anchor(link)];
      const tags = link.tags ?? [];
      return this.boards
        .filter((one) => one.uid !== ownUid && tags.every((tag) => one.tags.includes(tag)))
        .map((one) =>
          this.anchor({ ...link, url: `/d/${encodeURIComponent(one.uid)}` }, undefined, one.title),
        );
    });
  }
}

// What `${__data.fields.name}` and its like are in one row of a frame.
export function rowLookup(frame, row, field) {
  return (name, path = "") => {
    const found = (value) => ({ name, value: value ?? "" });
    if (name === "__value") return found(path === "text" ? field?.title : field?.values[row]);
    if (name === "__series" || (name === "__field" && !path.startsWith("labels.")))
      return found(field?.title);
    if (name === "__field") return found(field?.labels?.[path.slice("labels.".length).replace(/^"|"$/g, "")]);
    if (name !== "__data") return undefined;
    const wanted = path.replace(/^fields\[?\.?/, "").replace(/^"|"?\]?$/g, "");
    const other =
      frame.fields.find((one) => one.title === wanted || one.name === wanted) ?? frame.fields[Number(wanted)];
    return found(other?.values[row]);
  };
}
