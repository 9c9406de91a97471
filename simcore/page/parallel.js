// Axes and metrics side by side, a line a point; a stretch of an axis that is marked filters everything on the page.

const MOST_METRICS = 4;

class Parallel {
  constructor(place, data, label) {
    this.points = pointsOf(data);
    const { metrics, axes, first } = this.points;
    this.colour = this.points.of(first.y);
    const others = metrics.filter((column) => column !== this.colour && HEADLINES.some((end) => column.name.endsWith(end)));
    this.metrics = [this.colour, ...others].slice(0, MOST_METRICS);
    const add = columnField("with", metrics, null, (column) => { this.toggle(column); add.querySelector("select").value = ""; }, "add or take away a metric");
    place.append(make("div", { class: "tools" }, columnField("coloured by", [...metrics, ...axes], this.colour, (column) => { this.colour = column; this.paint(); }), add));
    this.canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": `${label}: arrows choose an axis and a value on it` });
    this.detail = make("div", { class: "detail", "aria-live": "polite" });
    place.append(make("div", { class: "flat" }, this.canvas), this.detail);
    this.height = 380;
    this.cursor = -1;
    this.drag = null;
    this.paint = keepPainted(place, () => this.draw());
    this.points.listeners.push(this.paint);
    this.listen();
  }

  toggle(column) {
    if (!column) return;
    this.metrics = this.metrics.includes(column) ? this.metrics.filter((other) => other !== column) : [...this.metrics, column];
    this.paint();
  }

  columns() { return [...this.points.axes, ...this.metrics]; }

  listen() {
    const place = (event) => { const box = this.canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    this.canvas.addEventListener("pointerdown", (event) => {
      const [x, y] = place(event), k = this.at(x);
      if (k < 0) return;
      this.drag = { k, from: y, to: y };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const [x, y] = place(event);
      if (!this.drag) return this.tell(event, x, y);
      this.drag.to = y;
      return this.brush();
    });
    this.canvas.addEventListener("pointerup", () => {
      if (this.drag && Math.abs(this.drag.to - this.drag.from) < 4) this.points.limit(this.columns()[this.drag.k], null);
      this.drag = null;
    });
    this.canvas.addEventListener("pointerleave", hideTip);
    this.canvas.addEventListener("keydown", (event) => this.step(event));
  }

  brush() {
    const { k, from, to } = this.drag, column = this.columns()[k];
    if (Math.abs(to - from) < 4) return;
    const [low, high] = [Math.max(from, to), Math.min(from, to)].map((y) => this.value(column, y));
    this.points.limit(column, { low, high });
  }

  tell(event, x, y) {
    const k = this.at(x);
    if (k < 0) return hideTip();
    const column = this.columns()[k], value = this.value(column, y);
    return showTip(`${column.label}\n${column.labels ? column.labels[Math.max(0, Math.min(column.labels.length - 1, Math.round(value)))] : told(column.dimension, value)}`, event.clientX, event.clientY);
  }

  // Values lie between 30 pixels from the top and 34 from the bottom.
  share(column, value) {
    if (column.high === column.low) return 0.5;
    return column.log ? Math.log(value / column.low) / Math.log(column.high / column.low) : (value - column.low) / (column.high - column.low);
  }

  y(column, value) { return this.height - 34 - this.share(column, value) * (this.height - 64); }

  value(column, y) {
    const share = (this.height - 34 - y) / (this.height - 64);
    if (column.high === column.low) return column.low;
    return column.log ? column.low * (column.high / column.low) ** share : column.low + share * (column.high - column.low);
  }

  x(k) {
    const room = this.canvas.clientWidth, side = Math.min(90, room / 8), count = this.columns().length;
    return count < 2 ? room / 2 : side + (k * (room - 2 * side)) / (count - 1);
  }

  at(x) { return this.columns().findIndex((_, k) => Math.abs(this.x(k) - x) < 18); }

  draw() {
    const columns = this.columns(), [pen, wide] = surface(this.canvas, this.height);
    pen.lineWidth = 1;
    pen.globalAlpha = Math.max(0.04, Math.min(0.8, 60 / Math.max(1, this.points.kept.length)));
    for (const i of this.points.kept) {
      const value = this.colour.values[i];
      pen.strokeStyle = value === null ? colour("soft") : shade(this.share(this.colour, value));
      pen.beginPath();
      columns.forEach((column, k) => { if (column.values[i] !== null) pen.lineTo(this.x(k), this.y(column, column.values[i])); });
      pen.stroke();
    }
    pen.globalAlpha = 1;
    columns.forEach((column, k) => this.axis(pen, column, k, columns.length, wide));
  }

  axis(pen, column, k, count, wide) {
    const x = this.x(k), limits = this.points.limits.get(column.name), room = wide / count - 8;
    pen.fillStyle = pen.strokeStyle = colour(k === this.cursor ? "accent" : "ink");
    pen.lineWidth = k === this.cursor ? 2.5 : 1.2;
    pen.beginPath();
    pen.moveTo(x, 30);
    pen.lineTo(x, this.height - 34);
    pen.stroke();
    if (limits) {
      const [top, foot] = [this.y(column, limits.high), this.y(column, limits.low)];
      pen.fillStyle = colour("accent");
      pen.globalAlpha = 0.35;
      pen.fillRect(x - 7, Math.min(top, foot) - 4, 14, Math.abs(foot - top) + 8);
      pen.globalAlpha = 1;
    }
    pen.fillStyle = colour("ink");
    pen.textAlign = "center";
    // What tells names apart is their end.
    const name = column.label.split(".").slice(-2).join("."), short = pen.measureText(name).width > room ? column.label.split(".").pop() : name;
    const edge = (text) => Math.max(pen.measureText(text).width / 2 + 2, Math.min(wide - pen.measureText(text).width / 2 - 2, x));
    const title = fitted(pen, short, room);
    pen.fillText(title, edge(title), this.height - 8);
    pen.fillStyle = colour("soft");
    if (column.labels) this.words(pen, column, x, room, k === count - 1);
    else for (const [value, y] of [[column.high, 18], [column.low, this.height - 23]]) { const text = fitted(pen, valueText(column, value, 3), room); pen.fillText(text, edge(text), y); }
    pen.textAlign = "left";
  }

  words(pen, column, x, room, last) {
    pen.textAlign = last ? "right" : "left";
    const every = Math.max(1, Math.ceil(column.labels.length / 16));
    column.labels.forEach((text, i) => {
      if (i % every !== 0) return;
      const shown = fitted(pen, text, room - 14), left = last ? x - 9 - pen.measureText(shown).width : x + 9;
      pen.fillStyle = colour("ground");
      pen.globalAlpha = 0.75;
      pen.fillRect(left - 2, this.y(column, i) - 8, pen.measureText(shown).width + 4, 16);
      pen.globalAlpha = 1;
      pen.fillStyle = colour("soft");
      pen.fillText(shown, last ? x - 9 : x + 9, this.y(column, i));
    });
  }

  step(event) {
    const columns = this.columns(), moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: 1, ArrowDown: -1 };
    if (event.key === "Escape" && this.cursor >= 0) { this.points.limit(columns[this.cursor], null); this.detail.textContent = `${columns[this.cursor].label}: all`; }
    if (!(event.key in moves)) return;
    event.preventDefault();
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") this.cursor = Math.max(0, Math.min(columns.length - 1, this.cursor + moves[event.key]));
    else if (this.cursor >= 0) this.level(columns[this.cursor], moves[event.key]);
    const column = columns[Math.max(0, this.cursor)], limits = this.points.limits.get(column.name);
    this.detail.textContent = `${column.label}: ${limits ? valueText(column, limits.low) : "all"}; ${this.points.kept.length} points`;
    this.paint();
  }

  level(column, way) {
    const limits = this.points.limits.get(column.name), now = limits ? column.levels.indexOf(limits.low) : -1;
    const next = now < 0 ? (way > 0 ? 0 : column.levels.length - 1) : Math.max(0, Math.min(column.levels.length - 1, now + way));
    this.points.limit(column, { low: column.levels[next], high: column.levels[next] });
  }
}

// Ends of the names of metrics that a first look wants.
const HEADLINES = ["makespan_ps", "flags.flag_reads", "detection_delay_ps.mean", "queue_delay_ps.mean", "links.utilisation_mean"];

CHARTS.parallel = (place, data, label) => new Parallel(place, data, label);
