// The panel `table`: fields as columns, cells by their kind, sorted by a click on a head.

import { textOn } from "./colors.js";
import { el } from "./dom.js";
import { display } from "./fields.js";
import { frameLength } from "./frames.js";
import { rowLookup } from "./links.js";
import { formatTime } from "./time.js";
import { compare } from "./transform.js";
import { bounds } from "./values.js";

export function draw(context) {
  const { panel, body, frames } = context;
  const frame = frames[Math.min(panel.options?.frameIndex ?? 0, frames.length - 1)];
  const columns = frame.fields.filter((one) => !isHidden(one.config.custom));
  const length = frameLength(frame);
  const [first] = panel.options?.sortBy ?? [];
  const state = {
    by: columns.find((one) => first && one.title === first.displayName),
    desc: Boolean(first?.desc),
  };
  const rows = el("tbody", {});
  const fill = () => {
    const order = [...Array(length).keys()];
    if (state.by)
      order.sort((a, b) => compare(state.by.values[a], state.by.values[b]) * (state.desc ? -1 : 1));
    rows.replaceChildren(
      ...order.map((row) =>
        el(
          "tr",
          {},
          columns.map((column) => cell(context, frame, column, row)),
        ),
      ),
    );
    heads.forEach((head, index) =>
      head.setAttribute(
        "aria-sort",
        columns[index] !== state.by ? "none" : state.desc ? "descending" : "ascending",
      ),
    );
  };
  const heads = columns.map((column) =>
    el(
      "th",
      {
        scope: "col",
        class: column.type,
        style: {
          "min-width": pixels(column.config.custom?.minWidth),
          width: pixels(column.config.custom?.width),
        },
      },
      el(
        "button",
        {
          type: "button",
          onclick: () => {
            state.desc = state.by === column && !state.desc;
            state.by = column;
            fill();
          },
        },
        column.title,
      ),
    ),
  );
  fill();
  const head = panel.options?.showHeader === false ? null : el("thead", {}, el("tr", {}, heads));
  body.replaceChildren(
    el(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": panel.title || "Table" },
      el("table", { class: "data" }, head, rows),
    ),
  );
  return { drawn: length };
}

const pixels = (count) => (count ? `${count}px` : undefined);
const isHidden = (custom) => Boolean(custom?.hidden || custom?.hideFrom?.viz);

function cell(context, frame, column, row) {
  const value = column.values[row];
  const { config } = column;
  const custom = config.custom ?? {};
  const options = custom.cellOptions ?? { type: custom.displayMode };
  const limits = column.type === "number" ? bounds(config, column.values) : undefined;
  const isTime = column.type === "time";
  const shown = isTime
    ? { all: value === null ? "" : formatTime(value) }
    : display(value, config, column.color, limits);
  const [link] = config.links ?? [];
  const content = link
    ? el(
        "a",
        {
          href: context.links.resolve(link.url, rowLookup(frame, row, column)),
          title: link.title,
          target: link.targetBlank ? "_blank" : undefined,
          rel: "noreferrer",
        },
        shown.all,
      )
    : shown.all;
  const style = {};
  if (options.type === "color-text") style.color = shown.color;
  if (options.type === "color-background")
    Object.assign(style, { background: shown.color, color: textOn(shown.color ?? "") });
  if (
    config.color?.mode === "fixed" &&
    options.type !== "color-background" &&
    config.color.fixedColor &&
    options.type === "color-text"
  )
    style.color = shown.color;
  const align =
    custom.align && custom.align !== "auto"
      ? custom.align
      : column.type === "number" && !shown.mapped
        ? "right"
        : "left";
  style["text-align"] = align;
  if (options.type !== "gauge") return el("td", { class: column.type, style, title: shown.all }, content);
  const share =
    typeof value === "number"
      ? Math.min(1, Math.max(0, (value - limits.min) / (limits.max - limits.min)))
      : 0;
  return el(
    "td",
    { class: "number cell-gauge", style },
    el(
      "div",
      { class: "bar-track" },
      el("div", { class: "bar-fill", style: { color: shown.color, width: `${share * 100}%` } }),
    ),
    el("span", {}, content),
  );
}
