// The page: reads the address, shows the board that it names, and keeps the address in step.

import { Board } from "./board.js";
import { el } from "./dom.js";
import { Links } from "./links.js";
import { parseDuration } from "./time.js";
import { makeControls, makeToolbar } from "./toolbar.js";

const place = (id) => document.getElementById(id);

async function fetchJson(path) {
  const response = await fetch(path);
  const found = await response.json();
  if (!response.ok) throw new Error(found.error ?? `status ${response.status}`);
  return found;
}

function readState(address, definition) {
  return {
    from: address.get("from") || definition.time?.from || "now-1h",
    to: address.get("to") || definition.time?.to || "now",
    refresh: address.get("refresh") ?? (definition.refresh || ""),
    theme: address.get("theme") === "light" ? "light" : "dark",
    viewPanel: address.get("viewPanel") ?? "",
    timezone: address.get("timezone") ?? definition.timezone ?? "",
  };
}

class Page {
  constructor(definition, boards) {
    const address = new URLSearchParams(location.search);
    this.boards = boards;
    this.zone = address.get("timezone");
    this.state = readState(address, definition);
    this.links = new Links(boards, () => ({ ...this.state, variables: this.board.variables }));
    this.board = new Board(definition, this.state, address, {
      links: this.links,
      onChange: (what) => this.onChange(what),
    });
    document.title = `${definition.title} – preview`;
    this.setTheme(this.state.theme);
    this.layOut();
    this.board.refresh();
    this.setInterval(this.state.refresh);
  }

  layOut() {
    this.drawHead();
    this.board.layOut(place("board"));
  }

  drawHead() {
    place("toolbar").replaceChildren(
      ...makeToolbar(this.board, this.boards, {
        onRange: (from, to) => this.board.change({ from, to }),
        onRefresh: () => this.board.refresh(),
        onTheme: () => {
          this.setTheme(this.state.theme === "dark" ? "light" : "dark");
          this.writeAddress();
          this.drawHead();
        },
        onInterval: (interval) => {
          this.setInterval(interval);
          this.writeAddress();
        },
      }),
    );
    const open = document.activeElement?.closest?.("#controls [data-variable]")?.dataset.variable;
    place("controls").replaceChildren(
      ...makeControls(this.board, {
        onVariable: (variable, values) => {
          variable.values = values;
          variable.fromAddress = true;
          this.writeAddress();
          this.board.refresh(variable.name);
        },
        onAnnotation: (query, enabled) => {
          query.enabled = enabled;
          this.board.refresh("panels");
        },
      }),
    );
    // A list of several values stays open while they are chosen.
    place("controls")
      .querySelector(`[data-variable="${CSS.escape(open ?? "")}"] details`)
      ?.setAttribute("open", "");
  }

  onChange(what) {
    if (what === "layout" || what === "range") this.writeAddress();
    if (what === "layout") this.layOut();
    if (what === "layout" || what === "range") this.board.refresh();
    if (what === "loaded") this.drawHead();
    if (what === "drawn") this.showQueries();
  }

  // Below a panel that is viewed alone stands what it asked.
  showQueries() {
    const [panel] = this.state.viewPanel ? this.board.panels.values() : [];
    place("queries")?.replaceChildren(
      ...(panel?.queries ?? []).map((one) =>
        el(
          "div",
          {},
          el(
            "h4",
            {},
            `Query ${one.refId}, ${one.step ? `a value each ${one.step / 1000} s` : "one value now"}`,
          ),
          el("pre", {}, one.expr),
        ),
      ),
    );
  }

  setTheme(theme) {
    this.state.theme = theme;
    document.documentElement.dataset.theme = theme;
  }

  setInterval(interval) {
    this.state.refresh = interval;
    clearInterval(this.timer);
    const every = parseDuration(interval);
    if (every >= 1000)
      this.timer = setInterval(() => {
        if (!document.hidden) this.board.refresh("panels");
      }, every);
  }

  writeAddress() {
    const parameters = new URLSearchParams({ from: this.state.from, to: this.state.to });
    this.board.variables.addTo(parameters);
    if (this.state.refresh) parameters.set("refresh", this.state.refresh);
    if (this.state.viewPanel) parameters.set("viewPanel", this.state.viewPanel);
    if (this.zone !== null) parameters.set("timezone", this.zone);
    parameters.set("theme", this.state.theme);
    history.replaceState(null, "", `${location.pathname}?${parameters}`);
  }
}

async function start() {
  const uid = decodeURIComponent(location.pathname.split("/")[2] ?? "");
  try {
    const [definition, boards] = await Promise.all([
      fetchJson(`/api/boards/${encodeURIComponent(uid)}`),
      fetchJson("/api/boards"),
    ]);
    globalThis.preview = new Page({ ...definition, uid }, boards);
  } catch (error) {
    place("board").replaceChildren(
      el(
        "div",
        { class: "failure", role: "alert" },
        el("strong", {}, "⚠ No board"),
        el("p", {}, error.message),
      ),
    );
    document.documentElement.dataset.state = "error";
  }
}

document.addEventListener("click", (event) => {
  for (const one of document.querySelectorAll("details.menu[open]"))
    if (!one.contains(event.target)) one.removeAttribute("open");
});
start();
