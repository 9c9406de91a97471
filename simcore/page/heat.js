// A metric over two axes: a cell for every pair of their values, or of stretches of them where they are many.

const MOST_CELLS = 60;
const CELL_BINS = 20;

class HeatMap {
  constructor(place, data, label) {
    this.points = pointsOf(data);
    const { first, axes, metrics } = this.points;
    this.z = this.points.of(first.y);
    this.x = this.points.of(first.x);
    this.y = this.points.of(first.up) || axes.find((axis) => axis !== this.x) || this.x;
    this.how = "mean";
    const changed = (key) => (column) => { this[key] = column; this.update(); };
    place.append(make("div", { class: "tools" }, columnField("metric", this.points, metrics, this.z, changed("z")),
      columnField("across", this.points, axes, this.x, changed("x")), columnField("up", this.points, axes, this.y, changed("y")),
      summaryField((how) => { this.how = how; this.update(); })));
    this.canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": `${label}: arrows go from cell to cell` });
    this.detail = make("div", { class: "detail", "aria-live": "polite" });
    this.note = make("p", { class: "hint" });
    place.append(make("div", { class: "flat" }, this.canvas));
    this.legend = new Legend(place, shade);
    place.append(this.detail, this.note);
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
    this.xs = new Bins(this.x, MOST_CELLS, CELL_BINS);
    this.ys = new Bins(this.y, MOST_CELLS, CELL_BINS);
    for (const i of this.points.kept) {
      const x = this.xs.at(this.x.values[i]), y = this.ys.at(this.y.values[i]), z = this.z.values[i];
      if (x < 0 || y < 0 || z === null) continue;
      const key = y * this.xs.count + x;
      if (cells.has(key)) cells.get(key).push(z); else cells.set(key, [z]);
    }
    this.cells = new Map([...cells].map(([key, values]) => [key, { value: SUMMARIES[this.how](values), low: SUMMARIES.lowest(values), high: SUMMARIES.highest(values), count: values.length }]));
    const shown = [...this.cells.values()].map((cell) => cell.value);
    this.low = Math.min(...shown);
    this.high = Math.max(...shown);
    // As with the columns themselves: where the largest is many times the smallest, the colours follow the logarithm.
    this.log = this.low > 0 && this.high / this.low >= 30;
    this.cursor = null;
    this.detail.textContent = "";
    this.legend.show(shown.length ? this.z.label : "", shown.length ? endTexts(this.z, this.low, this.high) : ["no points", ""]);
    const most = Math.max(0, ...[...this.cells.values()].map((cell) => cell.count));
    const binned = this.xs.exact && this.ys.exact ? "" : " Axes with many values are cut into stretches; a label says where one begins.";
    this.note.textContent = `${this.log ? "Colours follow the logarithm. " : ""}${summedUp(this.points, this.how, [this.x, this.y], most)}${binned}`;
    this.paint();
  }

  // As many digits as tell the darkest cell from the palest.
  text(value) {
    const apart = Math.ceil(Math.log10(Math.abs(this.high) / (this.high - this.low || Math.abs(this.high)) || 1)) + 3;
    return valueText(this.z, value, Math.max(4, Math.min(MOST_DIGITS, apart)));
  }

  frame(pen) {
    const wide = this.canvas.clientWidth, texts = Array.from({ length: this.ys.count }, (_, k) => this.ys.short(k));
    const left = Math.ceil(Math.min(wide * 0.3, Math.max(...texts.map((text) => pen.measureText(text).width)))) + 10;
    const high = Math.max(9, Math.min(40, 420 / this.ys.count));
    const cell = (wide - left - 8) / this.xs.count, below = Array.from({ length: this.xs.count }, (_, k) => this.xs.short(k));
    const longest = Math.max(...below.map((text) => pen.measureText(text).width)) + 8;
    // Words that would touch stand in two rows; of numbers some go unsaid.
    const lines = this.x.labels && longest > cell ? 2 : 1, every = this.x.labels ? 1 : Math.max(1, Math.ceil(longest / cell));
    return { left, top: 24, wide: cell, high, bottom: 29 + 15 * lines, lines, every, below };
  }

  draw() {
    const pen = surface(this.canvas, this.height || 300)[0], box = this.box = this.frame(pen), { left, top, wide, high } = box;
    const rows = this.ys.count, columns = this.xs.count, gap = Math.min(wide, high) > 8 ? 1 : 0;
    this.height = top + high * rows + box.bottom;
    surface(this.canvas, this.height);
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const cell = this.cells.get(row * columns + column);
        pen.fillStyle = cell ? shade(this.share(cell.value)) : colour("raised");
        pen.fillRect(left + column * wide, top + (rows - 1 - row) * high, wide - gap, high - gap);
      }
    }
    this.label(pen, box);
    if (!this.cursor) return;
    const at = [left + this.cursor[0] * wide, top + (rows - 1 - this.cursor[1]) * high, wide - gap, high - gap];
    for (const [ink, width] of [["ground", 5], ["ink", 2.5]]) {
      pen.strokeStyle = colour(ink);
      pen.lineWidth = width;
      pen.strokeRect(...at);
    }
  }

  share(value) {
    if (this.high === this.low) return 0.5;
    return this.log ? Math.log(value / this.low) / Math.log(this.high / this.low) : (value - this.low) / (this.high - this.low);
  }

  label(pen, { left, top, wide, high, bottom, lines, every, below }) {
    const rows = this.ys.count, foot = top + rows * high, all = this.canvas.clientWidth;
    pen.fillStyle = colour("soft");
    pen.fillText(fitted(pen, `${this.y.label} (up)`, all - 8), 4, 10);
    pen.textAlign = "right";
    for (let row = 0; row < rows; row += Math.ceil(14 / high)) pen.fillText(fitted(pen, this.ys.short(row), left - 8), left - 6, top + (rows - row - 0.5) * high);
    pen.textAlign = "center";
    below.forEach((text, k) => {
      if (k % every !== 0) return;
      const shown = this.x.labels ? fitted(pen, text, lines * wide - 4) : text, half = pen.measureText(shown).width / 2 + 2;
      pen.fillText(shown, Math.min(all - half, left + (k + 0.5) * wide), foot + 12 + (k % lines) * 15);
    });
    pen.fillText(fitted(pen, `${this.x.label} (across)`, all - 8), all / 2, foot + bottom - 12);
    pen.textAlign = "left";
  }

  about(column, row) {
    const cell = this.cells.get(row * this.xs.count + column);
    const where = [`${this.x.label}: ${this.xs.text(column)}`, `${this.y.label}: ${this.ys.text(row)}`];
    if (!cell) return [...where, "no point"];
    const range = `${this.how} of ${cell.count} points, ${valueText(this.z, cell.low)} to ${valueText(this.z, cell.high)}`;
    return [`${this.z.label}: ${this.text(cell.value)}`, ...where, ...(cell.count > 1 ? [range] : [])];
  }

  point(event) {
    if (!this.box) return;
    const place = this.canvas.getBoundingClientRect(), { left, top, wide, high } = this.box, rows = this.ys.count;
    const column = Math.floor((event.clientX - place.left - left) / wide), row = rows - 1 - Math.floor((event.clientY - place.top - top) / high);
    if (column < 0 || row < 0 || column >= this.xs.count || row >= rows) hideTip();
    else showTip(this.about(column, row).join("\n"), event.clientX, event.clientY);
  }

  step(event) {
    const moves = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const [column, row] = this.cursor || [0, 0], [across, up] = this.cursor ? moves[event.key] : [0, 0];
    this.cursor = [Math.max(0, Math.min(this.xs.count - 1, column + across)), Math.max(0, Math.min(this.ys.count - 1, row + up))];
    this.detail.textContent = this.about(...this.cursor).join(", ");
    this.paint();
  }
}

CHARTS.heat = (place, data, label) => new HeatMap(place, data, label);
