// One board: its range, variables and annotations, its panels on Grafana's grid of 24 columns.

import { annotationQueries, fetchAnnotations } from "./annotations.js";
import { el } from "./dom.js";
import { interpolate } from "./interpolate.js";
import { Panel } from "./panel.js";
import { parseDuration, parseTime, setZone } from "./time.js";
import { Variables } from "./variables.js";

export class Board {
  // `state` is { from, to, refresh, theme, viewPanel }, kept in the address by `onChange`.
  constructor(definition, state, address, { links, onChange }) {
    this.definition = definition;
    this.state = state;
    this.links = links;
    this.onChange = onChange;
    this.variables = new Variables(definition.templating?.list ?? [], address);
    this.annotationQueries = annotationQueries(definition);
    this.annotations = [];
    this.annotationErrors = [];
    this.panels = new Map();
    setZone(state.timezone);
    this.updateRange();
  }

  updateRange() {
    const now = Date.now();
    this.range = { from: parseTime(this.state.from, now, false), to: parseTime(this.state.to, now, true) };
    if (this.range.from < this.range.to) return;
    this.range = { from: now - 36e5, to: now };
  }

  rangeOf(panel) {
    const span = parseDuration(panel.timeFrom?.replace(/^now-/, ""));
    const shift = parseDuration(panel.timeShift);
    const { to } = this.range;
    const range = Number.isFinite(span) ? { from: to - span, to } : this.range;
    return Number.isFinite(shift) ? { from: range.from - shift, to: range.to - shift } : range;
  }

  zoom(from, to) {
    this.change({ from: String(from), to: String(to) });
  }

  view(id) {
    this.change({ viewPanel: this.state.viewPanel ? "" : `panel-${id}` });
  }

  viewAddress(id) {
    const parameters = new URLSearchParams(this.links.timeAndVariables());
    parameters.set("viewPanel", `panel-${id}`);
    return `?${parameters}`;
  }

  change(changes) {
    Object.assign(this.state, changes);
    this.onChange("viewPanel" in changes ? "layout" : "range");
  }

  // Asks anew, and is done when every panel is: for everything, for what depends on a variable that
  // was chosen, or for the panels alone (`panels`). What is asked later wins.
  async refresh(changed) {
    this.turn = (this.turn ?? 0) + 1;
    const { turn } = this;
    document.documentElement.dataset.state = "loading";
    this.updateRange();
    if (changed !== "panels") {
      await this.variables.load(this.range, changed);
      if (turn !== this.turn) return;
      this.onChange("loaded");
    }
    await this.loadAnnotations();
    if (turn !== this.turn) return;
    await Promise.all(
      [...this.panels.values()].filter((one) => one.node.isConnected).map((one) => one.load()),
    );
    if (turn !== this.turn) return;
    this.onChange("drawn");
    document.documentElement.dataset.state = "ready";
  }

  async loadAnnotations() {
    const failed = [];
    const enabled = this.annotationQueries.filter((one) => one.enabled);
    const asked = enabled.map((one) =>
      fetchAnnotations(one, this.range, this.variables.lookup).catch((error) => {
        failed.push(`${one.name}: ${error.message}`);
        return [];
      }),
    );
    this.annotations = (await Promise.all(asked)).flat();
    if (failed.join() !== this.annotationErrors.join()) {
      this.annotationErrors = failed;
      this.onChange("loaded");
    }
  }

  // Puts the panels into `place`: all of them, or the one that is viewed alone.
  layOut(place) {
    this.panels.clear();
    const viewed = /^(?:panel-)?(\d+)$/.exec(this.state.viewPanel ?? "")?.[1];
    const all = (this.definition.panels ?? []).flatMap((one) => [one, ...(one.panels ?? [])]);
    const alone = viewed && all.find((one) => String(one.id) === viewed && one.type !== "row");
    place.classList.toggle("alone", Boolean(alone));
    if (alone)
      return place.replaceChildren(this.makePanel(alone), el("div", { class: "queries", id: "queries" }));
    return place.replaceChildren(
      ...splitRows(this.definition.panels ?? []).flatMap((row) => this.makeRow(row)),
    );
  }

  makeRow({ row, panels }) {
    const grid = el(
      "div",
      { class: "grid" },
      panels.map((one) => this.makePanel(one, row ? row.gridPos.y + 1 : 0, panels)),
    );
    if (!row) return [grid];
    const title = interpolate(row.title ?? "", this.variables.lookup, (value) => [value].flat().join(" + "));
    const isOpen = this.opened?.get(row.id) ?? !row.collapsed;
    const toggle = el(
      "button",
      {
        type: "button",
        class: "row-title",
        "aria-expanded": String(isOpen),
        onclick: () => {
          const open = toggle.getAttribute("aria-expanded") !== "true";
          toggle.setAttribute("aria-expanded", String(open));
          this.opened ??= new Map();
          this.opened.set(row.id, open);
          if (!open) return grid.remove();
          toggle.after(grid);
          for (const one of panels) this.panels.get(one.id)?.load();
          return undefined;
        },
      },
      el("span", { class: "caret", "aria-hidden": "true" }),
      title,
      isOpen
        ? null
        : el("span", { class: "count" }, ` (${panels.length} ${panels.length === 1 ? "panel" : "panels"})`),
    );
    return isOpen ? [toggle, grid] : [toggle];
  }

  makePanel(definition, top = 0, siblings = [definition]) {
    const panel = new Panel(definition, this);
    const { x = 0, y = 0, w = 24, h = 8 } = definition.gridPos ?? {};
    const first = Math.min(top, ...siblings.map((one) => one.gridPos?.y ?? 0));
    const { style } = panel.node;
    style.setProperty("grid-column", `${x + 1} / span ${w}`);
    style.setProperty("grid-row", `${y - first + 1} / span ${h}`);
    style.setProperty("--rows", h);
    this.panels.set(definition.id, panel);
    return panel.node;
  }
}

// A row that is open is followed by its panels; a collapsed one holds them.
function splitRows(panels) {
  const sorted = [...panels].sort((a, b) => a.gridPos.y - b.gridPos.y || a.gridPos.x - b.gridPos.x);
  const rows = [{ row: null, panels: [] }];
  for (const one of sorted) {
    if (one.type === "row") rows.push({ row: one, panels: [...(one.panels ?? [])] });
    else rows.at(-1).panels.push(one);
  }
  return rows.filter((one) => one.row || one.panels.length);
}
