// As much Markdown as boards write: headings, lists, code, emphasis, links. HTML stays text.

import { el } from "./dom.js";

const INLINE =
  /(`[^`]+`)|(\*\*[^*]+\*\*)|(\*[^*\s][^*]*\*|_[^_\s][^_]*_(?![a-zA-Z0-9]))|\[([^\]]+)\]\(([^)\s]+)\)/g;

function inline(text, toLocal) {
  const parts = [];
  let last = 0;
  for (const found of text.matchAll(INLINE)) {
    parts.push(text.slice(last, found.index));
    const [all, code, strong, em, label, href] = found;
    if (code) parts.push(el("code", {}, code.slice(1, -1)));
    else if (strong) parts.push(el("strong", {}, ...inline(strong.slice(2, -2), toLocal)));
    else if (em) parts.push(el("em", {}, em.slice(1, -1)));
    else parts.push(el("a", { href: toLocal(href) }, label));
    last = found.index + all.length;
  }
  parts.push(text.slice(last));
  return parts.filter((one) => one !== "");
}

function tableOf(lines, toLocal) {
  const cells = (line) =>
    line
      .replace(/^\s*\|?|\|?\s*$/g, "")
      .split("|")
      .map((one) => inline(one.trim(), toLocal));
  return el(
    "table",
    {},
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        cells(lines[0]).map((one) => el("th", {}, one)),
      ),
    ),
    el(
      "tbody",
      {},
      lines.slice(2).map((line) =>
        el(
          "tr",
          {},
          cells(line).map((one) => el("td", {}, one)),
        ),
      ),
    ),
  );
}

export function renderMarkdown(text, toLocal = (href) => href) {
  const root = el("div", {});
  const lines = text.replace(/\r/g, "").split("\n");
  const take = (test) => {
    const taken = [];
    while (lines.length && test(lines[0])) taken.push(lines.shift());
    return taken;
  };
  const starts = /^\s*$|^#{1,6}\s|^\s*[-*]\s|^\s*\d+\.\s|^```|^\s*\|/;
  while (lines.length) {
    const line = lines[0];
    if (!line.trim()) lines.shift();
    else if (line.startsWith("```")) {
      lines.shift();
      root.append(el("pre", {}, take((one) => !one.startsWith("```")).join("\n")));
      lines.shift();
    } else if (/^#{1,6}\s/.test(line)) {
      const level = line.match(/^#+/)[0].length;
      root.append(el(`h${Math.min(6, level + 2)}`, {}, inline(lines.shift().slice(level).trim(), toLocal)));
    } else if (/^\s*[-*]\s/.test(line))
      root.append(
        el(
          "ul",
          {},
          items(
            take((one) => /^\s*[-*]\s/.test(one)),
            toLocal,
          ),
        ),
      );
    else if (/^\s*\d+\.\s/.test(line))
      root.append(
        el(
          "ol",
          {},
          items(
            take((one) => /^\s*\d+\.\s/.test(one)),
            toLocal,
          ),
        ),
      );
    else if (/^\s*\|/.test(line)) {
      const taken = take((one) => /^\s*\|/.test(one));
      root.append(taken.length > 2 ? tableOf(taken, toLocal) : el("p", {}, inline(taken.join(" "), toLocal)));
    } else root.append(el("p", {}, inline(take((one) => !starts.test(one)).join(" "), toLocal)));
  }
  return root;
}

const items = (lines, toLocal) =>
  lines.map((one) => el("li", {}, inline(one.replace(/^\s*(?:[-*]|\d+\.)\s/, ""), toLocal)));
