// Colours: Grafana's names, our palette for what has none, and what is legible upon what.

// Okabe and Ito's, in the order in which neighbours differ most; the eighth is a grey, since black
// is not seen on dark.
export const PALETTE = [
  "#56B4E9",
  "#E69F00",
  "#009E73",
  "#CC79A7",
  "#D55E00",
  "#0072B2",
  "#F0E442",
  "#999999",
];

const HUES = {
  green: ["#37872D", "#56A64B", "#73BF69", "#96D98D", "#C8F2C2"],
  yellow: ["#E0B400", "#F2CC0C", "#FADE2A", "#FFEE52", "#FFF899"],
  red: ["#C4162A", "#E02F44", "#F2495C", "#FF7383", "#FFA6B0"],
  blue: ["#1F60C4", "#3274D9", "#5794F2", "#8AB8FF", "#C0D8FF"],
  orange: ["#FA6400", "#FF780A", "#FF9830", "#FFB357", "#FFCB7D"],
  purple: ["#8F3BB8", "#A352CC", "#B877D9", "#CA95E5", "#DEB6F2"],
};
const SHADES = ["dark-", "semi-dark-", "", "light-", "super-light-"];
const PLAIN = {
  text: "var(--text)",
  transparent: "transparent",
  black: "#000000",
  white: "#FFFFFF",
  gray: "#808080",
  grey: "#808080",
};

// A colour for CSS from what a board writes; grey for what is none.
export function cssColor(written) {
  const name = String(written ?? "");
  if (Object.hasOwn(PLAIN, name)) return PLAIN[name];
  for (const [hue, shades] of Object.entries(HUES)) {
    const index = SHADES.findIndex((shade) => name === shade + hue);
    if (index >= 0) return shades[index];
  }
  return CSS.supports("color", name) ? name : "#808080";
}

export const paletteColor = (index) => PALETTE[index % PALETTE.length];

// A second round through the palette is told from the first by its dashes.
export const paletteDash = (index) => [undefined, "8 4", "2 3"][Math.floor(index / PALETTE.length) % 3];

function channels(color) {
  const hex = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})/i.exec(color);
  return hex ? hex.slice(1).map((one) => parseInt(one, 16)) : [128, 128, 128];
}

function luminance(color) {
  const [r, g, b] = channels(color).map((one) => {
    const part = one / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function textOn(background) {
  if (background === "var(--text)") return "var(--panel)";
  if (!background.startsWith("#")) return "var(--text)";
  return luminance(background) > 0.179 ? "#111217" : "#FFFFFF";
}

function mix(a, b, share) {
  const [from, to] = [channels(a), channels(b)];
  const mixed = from.map((one, index) => Math.round(one + (to[index] - one) * share));
  return `#${mixed.map((one) => one.toString(16).padStart(2, "0")).join("")}`;
}

// Scales that are told apart by lightness, in print and by eyes that see no red.
const RAMPS = {
  Viridis: ["#440154", "#3B528B", "#21918C", "#5EC962", "#FDE725"],
  Cividis: ["#00224E", "#434E6C", "#7D7C78", "#BCAF6F", "#FEE838"],
  Blues: ["#F7FBFF", "#C6DBEF", "#6BAED6", "#2171B5", "#08306B"],
  Oranges: ["#FFF5EB", "#FDD0A2", "#FD8D3C", "#D94801", "#7F2704"],
  Greys: ["#FFFFFF", "#D9D9D9", "#969696", "#525252", "#000000"],
  GrYlRd: ["#73BF69", "#B6CE4D", "#FADE2A", "#F69343", "#F2495C"],
  RdYlGr: ["#F2495C", "#F69343", "#FADE2A", "#B6CE4D", "#73BF69"],
  Turbo: ["#30123B", "#28BBEC", "#A2FC3C", "#FB8022", "#7A0403"],
};

export function rampColor(scheme, share, reverse = false) {
  const ramp = RAMPS[scheme] ?? RAMPS.Viridis;
  const clamped = Math.min(1, Math.max(0, Number.isFinite(share) ? share : 0));
  const at = (reverse ? 1 - clamped : clamped) * (ramp.length - 1);
  const index = Math.min(ramp.length - 2, Math.floor(at));
  return mix(ramp[index], ramp[index + 1], at - index);
}
