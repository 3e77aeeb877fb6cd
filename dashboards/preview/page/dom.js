// Elements from data. Text is always set as text: what a label, a board or an alert says is never
// read as HTML.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") setStyle(node, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined));
  return node;
}

// By the object model, since the page's policy allows no style attributes.
function setStyle(node, style) {
  for (const [name, value] of Object.entries(style)) {
    if (value !== undefined && value !== null) node.style.setProperty(name, String(value));
  }
}

let canvas;

export function textWidth(text, size = 12, weight = 400) {
  canvas ??= document.createElement("canvas").getContext("2d");
  canvas.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
  return canvas.measureText(text).width;
}

// What opens a text on a pointer and on the keyboard, and reads it to who sees neither.
export function hint(sign, text, kind = "") {
  return el(
    "span",
    { class: `hint ${kind}`, tabindex: 0, role: "note", "aria-label": text },
    el("span", { class: "sign", "aria-hidden": "true" }, sign),
    el("span", { class: "bubble", "aria-hidden": "true" }, text),
  );
}

// The size of a box without its padding.
export function roomIn(box) {
  const { paddingLeft, paddingRight, paddingTop, paddingBottom } = getComputedStyle(box);
  return {
    width: box.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight),
    height: box.clientHeight - parseFloat(paddingTop) - parseFloat(paddingBottom),
  };
}
