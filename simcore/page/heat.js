// A metric over two axes: a cell for every pair of their values.

class HeatMap {
  constructor(place, data, label) {
    this.points = pointsOf(data);
    const { first, axes, metrics } = this.points;
    this.z = this.points.of(first.y);
    this.x = this.points.of(first.x);
    this.y = axes.find((axis) => axis !== this.x && axis.levels.length > 1) || this.x;
    const numeric = axes.filter((axis) => axis !== this.x && !axis.labels);
    if (numeric.length) [this.y] = numeric;
    const changed = (key) => (column) => { this[key] = column; this.update(); };
    place.append(make("div", { class: "tools" }, columnField("metric", metrics, this.z, changed("z")),
      columnField("across", axes, this.x, changed("x")), columnField("up", axes, this.y, changed("y"))));
    this.canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": `${label}: arrows go from cell to cell` });
    this.scale = make("canvas", { class: "ramp", width: "256", height: "1", "aria-hidden": "true" });
    this.least = make("span");
    this.most = make("span");
    this.detail = make("div", { class: "detail", "aria-live": "polite" });
    place.append(make("div", { class: "flat" }, this.canvas), make("p", { class: "legend" }, this.least, " ", this.scale, " ", this.most), this.detail);
    this.paint = keepPainted(place, () => this.draw());
    const tell = (event) => this.point(event);
    this.canvas.addEventListener("pointermove", tell);
    this.canvas.addEventListener("pointerdown", tell);
    this.canvas.addEventListener("pointerleave", hideTip);
    this.canvas.addEventListener("keydown", (event) => this.step(event));
    this.points.listeners.push(() => this.update());
    this.update();
  }

  update() {
    const cells = new Map();
    for (const i of this.points.kept) {
      const x = this.x.values[i], y = this.y.values[i], z = this.z.values[i];
      if (x === null || y === null || z === null) continue;
      const key = `${x} ${y}`, cell = cells.get(key) || { sum: 0, count: 0, low: Infinity, high: -Infinity };
      cell.sum += z;
      cell.count += 1;
      cell.low = Math.min(cell.low, z);
      cell.high = Math.max(cell.high, z);
      cells.set(key, cell);
    }
    this.cells = cells;
    const means = [...cells.values()].map((cell) => cell.sum / cell.count);
    this.low = Math.min(...means);
    this.high = Math.max(...means);
    this.cursor = null;
    this.detail.textContent = "";
    this.least.textContent = means.length ? `${this.z.label}: ${valueText(this.z, this.low)}` : "no points";
    this.most.textContent = means.length ? valueText(this.z, this.high) : "";
    this.paint();
  }

  frame() {
    const wide = this.canvas.clientWidth, left = Math.round(Math.min(130, Math.max(74, wide * 0.14)));
    const high = Math.max(16, Math.min(40, 420 / this.y.levels.length));
    return { left, top: 6, wide: (wide - left - 8) / this.x.levels.length, high, bottom: 44 };
  }

  draw() {
    const { left, top, wide, high, bottom } = this.frame(), [pen, all] = surface(this.canvas, top + high * this.y.levels.length + bottom);
    const rows = this.y.levels.length, gap = Math.min(wide, high) > 8 ? 1 : 0;
    pen.fillStyle = colour("h0");
    pen.fillRect(left, top, wide * this.x.levels.length, high * rows);
    this.y.levels.forEach((y, row) => this.x.levels.forEach((x, column) => {
      const cell = this.cells.get(`${x} ${y}`);
      if (!cell) return;
      const share = this.high > this.low ? (cell.sum / cell.count - this.low) / (this.high - this.low) : 0.5;
      pen.fillStyle = shade(share);
      pen.fillRect(left + column * wide, top + (rows - 1 - row) * high, wide - gap, high - gap);
    }));
    this.label(pen, left, top, wide, high, all);
    if (!this.cursor) return;
    pen.strokeStyle = colour("ink");
    pen.lineWidth = 2;
    pen.strokeRect(left + this.cursor[0] * wide, top + (rows - 1 - this.cursor[1]) * high, wide - gap, high - gap);
  }

  label(pen, left, top, wide, high, all) {
    const rows = this.y.levels.length, foot = top + rows * high;
    pen.fillStyle = colour("soft");
    pen.textAlign = "right";
    this.y.levels.forEach((y, row) => pen.fillText(fitted(pen, valueText(this.y, y), left - 10), left - 6, top + (rows - row - 0.5) * high));
    pen.textAlign = "center";
    const longest = Math.max(...this.x.levels.map((x) => pen.measureText(valueText(this.x, x)).width)) + 10, every = Math.max(1, Math.ceil(longest / wide));
    this.x.levels.forEach((x, i) => { if (i % every === 0) pen.fillText(valueText(this.x, x), Math.min(all - longest / 2 + 4, left + (i + 0.5) * wide), foot + 12); });
    pen.fillText(`${this.x.label} (across), ${this.y.label} (up)`, (left + all) / 2, foot + 32);
    pen.textAlign = "left";
    const scale = this.scale.getContext("2d");
    for (let i = 0; i < 256; i += 1) {
      scale.fillStyle = shade(i / 255);
      scale.fillRect(i, 0, 1, 1);
    }
  }

  about(column, row) {
    const x = this.x.levels[column], y = this.y.levels[row], cell = this.cells.get(`${x} ${y}`);
    const where = `${this.x.label} ${valueText(this.x, x)}, ${this.y.label} ${valueText(this.y, y)}`;
    if (!cell) return `${where}\nno point`;
    const told_ = (value) => valueText(this.z, value);
    return `${where}\n${this.z.label}: ${told_(cell.sum / cell.count)}${cell.count > 1 ? `, mean of ${cell.count} points, ${told_(cell.low)} to ${told_(cell.high)}` : ""}`;
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect(), { left, top, wide, high } = this.frame(), rows = this.y.levels.length;
    const column = Math.floor((event.clientX - box.left - left) / wide), row = rows - 1 - Math.floor((event.clientY - box.top - top) / high);
    if (column < 0 || row < 0 || column >= this.x.levels.length || row >= rows) return hideTip();
    return showTip(this.about(column, row), event.clientX, event.clientY);
  }

  step(event) {
    const moves = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const [column, row] = this.cursor || [0, 0], [across, up] = this.cursor ? moves[event.key] : [0, 0];
    this.cursor = [Math.max(0, Math.min(this.x.levels.length - 1, column + across)), Math.max(0, Math.min(this.y.levels.length - 1, row + up))];
    this.detail.textContent = this.about(...this.cursor);
    this.paint();
  }
}

CHARTS.heat = (place, data, label) => new HeatMap(place, data, label);
