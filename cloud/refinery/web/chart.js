// Curves as SVG, drawn for the width that they get, so that their text has the page's size.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 180;
const EDGE = { left: 52, right: 12, top: 10, bottom: 24 };
const MOST_MARKS = 60;

function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text !== undefined) element.textContent = text;
  return element;
}

/** A figure with few digits. */
export function digits(value) {
  if (!Number.isFinite(value)) return "no number";
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 1e6) ? value.toExponential(2) : value.toFixed(size < 100 ? 4 : 1);
}

/**
 * A figure of one curve. `points` are `{ x, y, discarded }`; those that are no number are left out, and those of models
 * that were discarded stand apart from the line.
 */
export function curve({ kind, title, unit, points, width }) {
  const figure = document.createElement("figure");
  figure.className = kind;
  const caption = document.createElement("figcaption");
  const strong = document.createElement("strong");
  const shown = points.filter((point) => Number.isFinite(point.y));
  const kept = shown.filter((point) => !point.discarded);
  const last = kept.at(-1) ?? shown.at(-1);
  strong.textContent = last ? digits(last.y) : "";
  caption.append(title, " ", strong, last ? ` at ${unit} ${last.x}` : "");
  figure.append(caption);
  if (!last) {
    caption.append("no figures yet");
    return figure;
  }
  const first = kept[0] ?? last;
  const label = `${title}: from ${digits(first.y)} at ${unit} ${first.x} to ${digits(last.y)} at ${unit} ${last.x}`;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label });
  const span = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  let [left, right] = span(shown.map((point) => point.x));
  let [low, high] = span(shown.map((point) => point.y));
  if (left === right) [left, right] = [left - 1, right + 1];
  // A flat curve lies in the middle.
  const margin = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  // What is never negative is not drawn as if it could be.
  [low, high] = [low < 0 ? low - margin : Math.max(0, low - margin), high + margin];
  const x = (value) => EDGE.left + ((value - left) / (right - left)) * (width - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  for (const part of [0, 0.5, 1]) {
    const value = low + (high - low) * part;
    svg.append(shape("line", { class: "axis", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }));
    const text = Math.abs(value) < 100 ? value.toFixed(2) : value.toPrecision(3);
    svg.append(shape("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
  const ends = shown.length > 1 ? [shown[0], shown.at(-1)] : shown;
  ends.forEach((point, i) => {
    const anchor = ends.length === 1 ? "middle" : ["start", "end"][i];
    const text = i === ends.length - 1 ? `${unit} ${point.x}` : String(point.x);
    svg.append(shape("text", { x: x(point.x), y: HEIGHT - 6, "text-anchor": anchor }, text));
  });
  const path = kept.map((point) => `${x(point.x).toFixed(1)},${y(point.y).toFixed(1)}`).join(" ");
  svg.append(shape("polyline", { class: "curve", points: path }));
  if (shown.length <= MOST_MARKS) {
    for (const point of shown) {
      const kindOfPoint = point.discarded ? "discarded" : "point";
      const mark = shape("circle", { class: kindOfPoint, cx: x(point.x), cy: y(point.y), r: 4 });
      mark.append(shape("title", {}, `${unit} ${point.x}: ${digits(point.y)}${point.discarded ? ", discarded" : ""}`));
      svg.append(mark);
    }
  }
  figure.append(svg);
  return figure;
}
