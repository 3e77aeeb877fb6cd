// One panel: its frame, its queries, and what came of them, in words and in `data-state`.

import { forPanel } from "./annotations.js";
import { el, hint } from "./dom.js";
import { resolveFields } from "./fields.js";
import { makeFrames } from "./frames.js";
import { builtins, firstOf, forPromql, interpolate } from "./interpolate.js";
import { renderMarkdown } from "./markdown.js";
import { planStep, queryInstant, queryRange } from "./prometheus.js";
import { applyTransformations } from "./transform.js";
import * as alertlist from "./alertlist.js";
import * as bargauge from "./bargauge.js";
import * as gauge from "./gauge.js";
import * as heatmap from "./heatmap.js";
import * as stat from "./stat.js";
import * as statetimeline from "./statetimeline.js";
import * as table from "./table.js";
import * as timeseries from "./timeseries.js";

const TYPES = {
  timeseries,
  stat,
  gauge,
  bargauge,
  table,
  heatmap,
  "state-timeline": statetimeline,
  alertlist,
};

export class Panel {
  // `board` gives range, variables, annotations, links, zoom(from, to) and view(id).
  constructor(panel, board) {
    this.panel = panel;
    this.board = board;
    this.chosen = null;
    this.queries = [];
    this.body = el("div", { class: "panel-body" });
    this.heading = el("h3", {});
    this.signs = el("span", { class: "signs" });
    this.node = el(
      "section",
      {
        class: `panel ${panel.transparent ? "transparent" : ""}`,
        "data-panel-id": panel.id,
        "data-type": panel.type,
        "data-state": "loading",
      },
      el("header", {}, this.heading, this.signs),
      this.body,
    );
    // Drawn by pixels, so it is drawn again at another size.
    new ResizeObserver(() => this.redraw()).observe(this.body);
  }

  // Asks and draws; never fails: what went wrong is what the panel shows.
  async load() {
    this.cancel?.abort();
    this.cancel = new AbortController();
    const { signal } = this.cancel;
    this.describe([]);
    try {
      if (this.panel.type === "text") return this.drawText();
      if (!Object.hasOwn(TYPES, this.panel.type))
        throw new Error(`this preview does not draw panels of type ${this.panel.type}`);
      const found =
        this.panel.type === "alertlist"
          ? await alertlist.fetchData(this.panel, this.board, signal)
          : await this.ask(signal);
      if (signal.aborted) return undefined;
      this.data = found;
      this.describe(found.notes ?? []);
      return this.redraw();
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return undefined;
      return this.fail(error);
    }
  }

  async ask(signal) {
    const { panel, board } = this;
    const range = board.rangeOf(panel);
    const targets = (panel.targets ?? []).filter((one) => one.expr && !one.hide);
    const most = panel.maxDataPoints || Math.max(100, this.body.clientWidth || 600);
    this.queries = [];
    const asked = targets.map(async (target) => {
      const { step, scrape } = planStep(range, most, this.fill(target.interval || panel.interval || ""));
      const lookup = firstOf(builtins(range, step, scrape), board.variables.lookup);
      const expr = interpolate(target.expr, lookup, forPromql);
      const isInstant = target.instant && !target.range;
      this.queries.push({ refId: target.refId, expr, step: isInstant ? 0 : step });
      const answer = isInstant
        ? await queryInstant(expr, range, signal)
        : await queryRange(expr, range, step, signal);
      const legend = interpolate(target.legendFormat ?? "", lookup, String);
      return {
        answer,
        frames: makeFrames(
          answer,
          { refId: target.refId, expr, legend, format: target.format ?? "time_series" },
          targets.length > 1,
        ),
      };
    });
    const answers = await Promise.all(asked);
    const frames = answers
      .flatMap((one) => one.frames)
      .filter((frame) => frame.fields.some((field) => field.values.length));
    const changed = applyTransformations(frames, panel.transformations);
    const notes = [...answers.flatMap((one) => one.answer.notes), ...changed.notes];
    return { frames: resolveFields(changed.frames, panel.fieldConfig), notes: [...new Set(notes)], range };
  }

  redraw() {
    if (!this.data || !this.body.clientWidth) return;
    const { panel, board } = this;
    const context = {
      panel,
      body: this.body,
      ...structuredCloneOf(this.data),
      lookup: board.variables.lookup,
      links: board.links,
      annotations: forPanel(board.annotations, panel.id),
      chosen: this.chosen,
      onZoom: (from, to) => board.zoom(from, to),
      onChoose: (title) => {
        this.chosen = title;
        this.redraw();
      },
    };
    try {
      const isEmpty = panel.type !== "alertlist" && !context.frames.length;
      const { drawn, shown } = isEmpty ? this.drawNothing() : TYPES[panel.type].draw(context);
      this.settle(drawn ? "ready" : "empty", drawn);
      if (!drawn && !shown && !isEmpty) this.drawNothing();
    } catch (error) {
      this.fail(error);
      console.error(error);
    }
  }

  drawNothing() {
    const told = this.panel.fieldConfig?.defaults?.noValue || "No data";
    this.body.replaceChildren(el("p", { class: "nothing" }, told));
    return { drawn: 0, shown: 1 };
  }

  drawText() {
    const { mode = "markdown", content = "" } = this.panel.options ?? {};
    const text = interpolate(content, this.board.variables.lookup, (value) => [value].flat().join(", "));
    const node =
      mode === "markdown"
        ? renderMarkdown(text, (href) => this.board.links.toLocal(href))
        : el("pre", {}, text);
    this.body.replaceChildren(el("div", { class: "prose" }, node));
    this.settle("ready", 1);
  }

  fail(error) {
    this.data = undefined;
    this.body.replaceChildren(
      el(
        "div",
        { class: "failure", role: "alert" },
        el("strong", {}, "⚠ Query failed"),
        el("p", {}, error.message),
      ),
    );
    this.settle("error", 0);
  }

  settle(state, drawn) {
    this.node.dataset.state = state;
    this.node.dataset.drawn = drawn;
  }

  fill(text) {
    return interpolate(text, this.board.variables.lookup, (value) => [value].flat().join(" + "));
  }

  describe(notes) {
    const { panel, board } = this;
    const title = this.fill(panel.title ?? "");
    this.heading.replaceChildren(
      el(
        "a",
        {
          href: board.viewAddress(panel.id),
          title: "View alone",
          onclick: (event) => {
            event.preventDefault();
            board.view(panel.id);
          },
        },
        title || "\u00a0",
      ),
    );
    this.node.setAttribute("aria-label", title || panel.type);
    this.signs.replaceChildren(
      ...[
        panel.description ? hint("i", this.fill(panel.description)) : null,
        notes.length ? hint("⚠", notes.join("\n"), "warning") : null,
        ...(panel.links ?? []).map((link) =>
          el(
            "span",
            { class: panel.gridPos?.w < 6 ? "panel-link short" : "panel-link" },
            board.links.anchor(link),
          ),
        ),
      ].filter(Boolean),
    );
  }
}

// Drawing prepares fields in place, and a panel is drawn more than once from the same answer.
function structuredCloneOf({ frames, ...rest }) {
  return {
    ...rest,
    frames: frames?.map((frame) => ({ ...frame, fields: frame.fields.map((field) => ({ ...field })) })),
  };
}
