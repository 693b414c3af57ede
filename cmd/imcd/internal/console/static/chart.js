// A line chart of the last samples, as SVG.

const svg = (name, attributes, label) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (label !== undefined) node.textContent = label;
  return node;
};

const left = 52, right = 8, top = 18, bottom = 16;

/** What a chart can span, in ms: it grows with what there is to see. */
const spans = [60_000, 120_000, 300_000, 900_000];

const ago = (ms) => (ms === 0 ? "now" : ms < 60_000 ? `−${ms / 1000} s` : `−${ms / 60_000} min`);

/** nice rounds up to 1, 2 or 5 times a power of ten. */
function nice(n) {
  const power = 10 ** Math.floor(Math.log10(n));
  return power * [1, 2, 5, 10].find((step) => n <= step * power * 1.0001);
}

export class Chart {
  #samples = []; // {time, values}; values that are not known are NaN

  /** names of the series; show makes text of a value, scale of one at the axis; least is the lowest top of the scale. */
  constructor(place, names, { show, scale = show, least }) {
    Object.assign(this, { place, names, show, scale, least });
    new ResizeObserver(() => this.draw()).observe(place);
  }

  add(time, values) {
    this.#samples.push({ time, values });
    while (this.#samples[0].time < time - spans.at(-1)) this.#samples.shift();
    this.draw();
  }

  draw() {
    const width = this.place.clientWidth, height = 130;
    if (width === 0) return;
    const end = this.#samples.at(-1)?.time ?? Date.now();
    const known = this.#samples.flatMap((s) => s.values).filter(Number.isFinite);
    const most = nice(Math.max(this.least, ...known));
    const span = spans.find((s) => s >= end - (this.#samples[0]?.time ?? end)) ?? spans.at(-1);
    const x = (time) => left + (width - left - right) * (1 - (end - time) / span);
    const y = (value) => top + (height - top - bottom) * (1 - value / most);
    const last = this.names.map((name, i) => `${name} ${this.#last(i)}`);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": last.join(", ") });
    for (const share of [0, 0.5, 1]) {
      root.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(most * share), y2: y(most * share) }));
      root.append(svg("text", { x: left - 6, y: y(most * share) + 4, "text-anchor": "end" }, this.scale(most * share)));
    }
    for (const [share, anchor] of [[1, "start"], [0.5, "middle"], [0, "end"]]) {
      root.append(svg("text", { x: x(end - share * span), y: height - 2, "text-anchor": anchor }, ago(share * span)));
    }
    this.names.forEach((_, i) => this.#line(root, i, x, y));
    let at = width - right;
    for (let i = last.length - 1; i >= 0; i--) {
      root.append(svg("text", { class: `s${i}`, x: at, y: 10, "text-anchor": "end" }, last[i]));
      at -= last[i].length * 6.3 + 14;
    }
    this.place.replaceChildren(root);
  }

  #last(i) {
    const value = this.#samples.at(-1)?.values[i];
    return Number.isFinite(value) ? this.show(value) : "–";
  }

  // A gap in what is known is a gap in the line; a value between two gaps is a dot.
  #line(root, i, x, y) {
    let points = [];
    const flush = () => {
      if (points.length === 1) root.append(svg("polyline", { class: `s${i} dot`, points: `${points[0]} ${points[0]}` }));
      if (points.length > 1) root.append(svg("polyline", { class: `s${i}`, points: points.join(" ") }));
      points = [];
    };
    for (const { time, values } of this.#samples) {
      if (Number.isFinite(values[i])) points.push(`${x(time).toFixed(1)},${y(values[i]).toFixed(1)}`);
      else flush();
    }
    flush();
  }
}
