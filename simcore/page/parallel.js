// Axes and metrics side by side, a line a point; a stretch of an axis that is marked filters everything on the page.
// Where the window is narrow the axes lie one below the other instead, each as long as the window is wide.

const ROOM = 92;
const STEPS = 40;

class Parallel {
  constructor(place, data, label) {
    this.points = pointsOf(data);
    const { metrics, axes, first } = this.points;
    this.colour = this.points.of(first.y);
    this.metrics = first.metrics.map((name) => this.points.of(name));
    const add = columnField("with", this.points, metrics, null, (column) => { this.toggle(column); add.querySelector("select").value = ""; }, "add or take away a metric");
    place.append(make("div", { class: "tools" }, columnField("coloured by", this.points, [...metrics, ...axes], this.colour, (column) => { this.colour = column; this.paint(); }), add));
    this.canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": `${label}: arrows choose an axis and a value on it` });
    this.detail = make("div", { class: "detail", "aria-live": "polite" });
    place.append(make("div", { class: "flat" }, this.canvas));
    this.legend = new Legend(place, lineShade);
    place.append(this.detail);
    this.cursor = -1;
    this.drag = null;
    this.paint = keepPainted(place, () => this.draw());
    this.points.listeners.push(this.paint);
    this.listen();
  }

  toggle(column) {
    if (!column) return;
    this.metrics = this.metrics.includes(column) ? this.metrics.filter((other) => other !== column) : [...this.metrics, column];
    this.cursor = -1;
    this.paint();
  }

  columns() { return [...this.points.axes, ...this.metrics]; }

  listen() {
    const place = (event) => { const box = this.canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    this.canvas.addEventListener("pointerdown", (event) => {
      const at = place(event), k = this.axisAt(...at);
      if (k < 0) return;
      this.drag = { k, from: at, moved: false };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (this.drag) this.brush(place(event)); else this.tell(event, ...place(event));
    });
    this.canvas.addEventListener("pointerup", () => {
      if (this.drag && !this.drag.moved) this.points.limit(this.columns()[this.drag.k], null);
      this.drag = null;
    });
    this.canvas.addEventListener("pointercancel", () => { this.drag = null; });
    this.canvas.addEventListener("pointerleave", hideTip);
    this.canvas.addEventListener("keydown", (event) => this.step(event));
  }

  brush(to) {
    const { k, from } = this.drag, column = this.columns()[k], shares = [from, to].map((at) => this.shareAt(...at));
    if (Math.abs(shares[1] - shares[0]) * this.length < 4) return;
    this.drag.moved = true;
    this.points.limit(column, { low: valueAt(column, Math.min(...shares)), high: valueAt(column, Math.max(...shares)) });
  }

  tell(event, x, y) {
    const k = this.axisAt(x, y);
    if (k < 0) return hideTip();
    const column = this.columns()[k], value = valueAt(column, this.shareAt(x, y));
    return showTip(`${column.label}\n${column.labels ? column.labels[Math.round(value)] : valueText(column, value, 4)}`, event.clientX, event.clientY);
  }

  // ---- where things are: upright axes beside each other, or lying ones below each other

  measure() {
    const wide = this.canvas.clientWidth, count = this.columns().length;
    this.lying = wide < count * ROOM;
    this.apart = this.lying ? 62 : (wide - 130) / Math.max(1, count - 1);
    this.length = this.lying ? wide - 28 : 310;
    this.height = this.lying ? 14 + count * this.apart : this.length + 90;
    return wide;
  }

  across(k) { return this.lying ? 24 + k * this.apart : 65 + k * this.apart; }

  spot(k, share) { return this.lying ? [14 + share * this.length, this.across(k)] : [this.across(k), 24 + (1 - share) * this.length]; }

  shareAt(x, y) { return Math.max(0, Math.min(1, this.lying ? (x - 14) / this.length : 1 - (y - 24) / this.length)); }

  axisAt(x, y) { return this.columns().findIndex((_, k) => Math.abs(this.across(k) - (this.lying ? y : x)) < 18); }

  // ---- drawing

  draw() {
    this.measure();
    const columns = this.columns(), [pen, wide] = surface(this.canvas, this.height), kept = new Set(this.points.kept);
    pen.lineWidth = 1;
    // What is filtered out stays as a faint ground to what is not.
    if (kept.size < this.points.count) {
      pen.globalAlpha = Math.max(0.15, Math.min(0.7, 120 / this.points.count));
      pen.strokeStyle = colour("line");
      for (let i = 0; i < this.points.count; i += 1) if (!kept.has(i)) this.line(pen, columns, i);
    }
    pen.globalAlpha = Math.max(0.05, Math.min(0.8, 80 / Math.max(1, kept.size)));
    for (const i of kept) {
      const value = this.colour.values[i];
      pen.strokeStyle = value === null ? colour("soft") : lineShade(shareOf(this.colour, value));
      this.line(pen, columns, i);
    }
    pen.globalAlpha = 1;
    this.legend.show(this.colour.label, this.colour.labels ? [this.colour.labels[0], this.colour.labels[this.colour.labels.length - 1]] : endTexts(this.colour, this.colour.low, this.colour.high));
    columns.forEach((column, k) => this.axis(pen, column, k, wide, k === columns.length - 1));
  }

  line(pen, columns, i) {
    pen.beginPath();
    columns.forEach((column, k) => { if (column.values[i] !== null) pen.lineTo(...this.spot(k, shareOf(column, column.values[i]))); });
    pen.stroke();
  }

  axis(pen, column, k, wide, last) {
    const limits = this.points.limits.get(column.name), [x0, y0] = this.spot(k, 0), [x1, y1] = this.spot(k, 1);
    pen.fillStyle = pen.strokeStyle = colour(k === this.cursor ? "accent" : "ink");
    pen.lineWidth = k === this.cursor ? 3 : 1.2;
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
    if (limits) this.mark(pen, column, k, limits);
    const ends = column.labels ? ["", ""] : endTexts(column, column.low, column.high);
    if (this.lying) this.lyingTexts(pen, column, y0, ends); else this.uprightTexts(pen, column, x0, ends, wide);
    if (column.labels) this.words(pen, column, k, last);
    pen.textAlign = "left";
  }

  mark(pen, column, k, { low, high }) {
    const [x0, y0] = this.spot(k, Math.max(0, shareOf(column, low))), [x1, y1] = this.spot(k, Math.min(1, shareOf(column, high)));
    pen.fillStyle = colour("accent");
    pen.globalAlpha = 0.4;
    if (this.lying) pen.fillRect(x0 - 4, y0 - 7, x1 - x0 + 8, 14); else pen.fillRect(x0 - 7, y1 - 4, 14, y0 - y1 + 8);
    pen.globalAlpha = 1;
  }

  lyingTexts(pen, column, y, [low, high]) {
    patched(pen, fitted(pen, column.label, this.length), 14, y - 14, "left", "ink");
    patched(pen, low, 14, y + 12, "left", "soft");
    patched(pen, high, 14 + this.length, y + 12, "right", "soft");
  }

  uprightTexts(pen, column, x, [low, high], wide) {
    const inside = (text) => { const half = pen.measureText(text).width / 2 + 2; return Math.max(half, Math.min(wide - half, x)); };
    const room = this.apart - 8, foot = 24 + this.length;
    const texts = [[high, 10, "soft"], [low, foot + 12, "soft"], ...wrapped(pen, column.label, room).map((text, i) => [text, foot + 30 + 15 * i, "ink"])];
    for (const [text, y, ink] of texts) patched(pen, fitted(pen, text, room), inside(fitted(pen, text, room)), y, "center", ink);
  }

  words(pen, column, k, last) {
    const end = column.labels.length - 1, room = this.length / Math.max(1, end);
    const every = Math.max(1, Math.ceil((this.lying ? 40 : 16) / room));
    column.labels.forEach((text, i) => {
      if (i % every !== 0) return;
      const [x, y] = this.spot(k, shareOf(column, i));
      if (!this.lying) return patched(pen, fitted(pen, text, this.apart - 18), last ? x - 9 : x + 9, y, last ? "right" : "left", "soft");
      // In two rows, every other one lower.
      const align = i === 0 ? "left" : i === end ? "right" : "center", shown = fitted(pen, text, room * every * (align === "center" ? 1.5 : 1.2) - 6);
      return patched(pen, shown, x, y + ((i / every) % 2 === 0 ? 12 : 26), align, "soft");
    });
  }

  // ---- keyboard: along an axis or from axis to axis, whichever way they lie; with Shift the stretch grows

  step(event) {
    const columns = this.columns(), moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.key === "Escape" && this.cursor >= 0) this.points.limit(columns[this.cursor], null);
    else if (!(event.key in moves)) return;
    event.preventDefault();
    const [across, up] = moves[event.key] || [0, 0], [next, along] = this.lying ? [-up, across] : [across, up];
    if (this.cursor < 0) this.cursor = 0;
    else if (along) this.level(columns[this.cursor], along, event.shiftKey);
    else this.cursor = Math.max(0, Math.min(columns.length - 1, this.cursor + next));
    const column = columns[this.cursor], limits = this.points.limits.get(column.name);
    const from = limits ? [...new Set([limits.low, limits.high].map((value) => valueText(column, value)))].join(" to ") : "all";
    this.detail.textContent = `${column.label}: ${from}; ${countText(this.points)}`;
    this.paint();
  }

  level(column, way, grow) {
    const { levels } = column, limits = this.points.limits.get(column.name), by = way * Math.max(1, Math.round(levels.length / STEPS));
    const near = (value) => { const k = levels.findIndex((level) => level >= value); return k < 0 ? levels.length - 1 : k; };
    const inside = (k) => Math.max(0, Math.min(levels.length - 1, k));
    const [low, high] = limits ? [near(limits.low), near(limits.high)] : [-1, -1];
    if (!limits) return this.points.limit(column, { low: levels[way > 0 ? 0 : levels.length - 1], high: levels[way > 0 ? 0 : levels.length - 1] });
    if (grow) return this.points.limit(column, { low: levels[way < 0 ? inside(low + by) : low], high: levels[way > 0 ? inside(high + by) : high] });
    const next = inside((way > 0 ? high : low) + by);
    return this.points.limit(column, { low: levels[next], high: levels[next] });
  }
}

// A name in lines that fit where they can, broken after a dot or an underscore.
function wrapped(pen, text, room) {
  const lines = [""];
  for (const part of text.split(/(?<=[._])/)) {
    if (lines[0] && pen.measureText(lines[lines.length - 1] + part).width > room) lines.push("");
    lines[lines.length - 1] += part;
  }
  return lines.length > 3 ? [...lines.slice(0, 2), lines.slice(2).join("")] : lines;
}

// Text on a patch of the ground, so that lines behind it do not cross it out.
function patched(pen, text, x, y, align, ink) {
  if (!text) return;
  const wide = pen.measureText(text).width, left = align === "left" ? x : align === "right" ? x - wide : x - wide / 2;
  pen.fillStyle = colour("ground");
  pen.globalAlpha = 0.8;
  pen.fillRect(left - 2, y - 7, wide + 4, 14);
  pen.globalAlpha = 1;
  pen.fillStyle = colour(ink);
  pen.textAlign = align;
  pen.fillText(text, x, y);
}

CHARTS.parallel = (place, data, label) => new Parallel(place, data, label);
