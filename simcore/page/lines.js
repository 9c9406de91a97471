// A metric over an axis: one line for every value of another.

const STYLES = [["k0", "●", []], ["k6", "■", [7, 3]], ["k11", "▲", [2, 3]], ["k4", "◆", [9, 3, 2, 3]], ["k9", "▼", [5, 2]], ["k1", "✚", [2, 2]], ["k10", "✖", [12, 4]], ["k7", "★", [4, 4]]];

const MOST_SPOTS = 60;
const MOST_LINES = 24;

class Lines {
  constructor(place, data, label) {
    this.points = pointsOf(data);
    const { first, axes, metrics } = this.points, columns = [...metrics, ...axes.filter((axis) => !axis.labels)];
    this.x = this.points.of(first.x);
    this.y = this.points.of(first.y);
    this.by = first.by ? this.points.of(first.by) : null;
    this.how = "mean";
    this.cursor = null;
    const changed = (key) => (column) => {
      this[key] = column;
      if (key === "x") this.setLog("X", column.log);
      if (key === "y") this.setLog("Y", column.log);
      this.update();
    };
    const [logX, fieldX] = switchField("log x", false, (on) => { this.logX = on; this.update(); });
    const [logY, fieldY] = switchField("log y", false, (on) => { this.logY = on; this.update(); });
    this.fields = { X: fieldX, Y: fieldY };
    place.append(make("div", { class: "tools" },
      columnField("y", this.points, columns, this.y, changed("y")), columnField("over x", this.points, axes, this.x, changed("x")),
      columnField("a line for each", this.points, axes, this.by, changed("by"), "none"), summaryField((how) => { this.how = how; this.update(); }), logX, logY));
    this.axes = new Axes(place, label, { height: 400, xs: [0, 1], ys: [0, 1], step: true, near: (x, y) => this.near(x, y), draw: (pen, x, y) => this.draw(pen, x, y) });
    this.axes.canvas.setAttribute("aria-label", `${label}: arrows go along a line and from line to line`);
    this.axes.canvas.addEventListener("keydown", (event) => this.step(event));
    this.legend = make("ul", { class: "keys" });
    this.detail = make("div", { class: "detail", "aria-live": "polite" });
    this.note = make("p", { class: "hint" });
    place.append(this.legend, this.detail, this.note);
    this.setLog("X", this.x.log);
    this.setLog("Y", this.y.log);
    this.points.listeners.push(() => this.update());
    painters.push(() => this.showLegend());
    this.update();
  }

  setLog(which, on) {
    this[`log${which}`] = on;
    this.fields[which].checked = on;
  }

  // A list of {name, share, spots: [{x, y, low, high, count}]}, spots by x.
  grouped() {
    const lines = new Map(), xs = new Bins(this.x, MOST_SPOTS, MOST_LINES), bys = this.by && new Bins(this.by, MOST_LINES, 6);
    for (const i of this.points.kept) {
      const x = xs.at(this.x.values[i]), y = this.y.values[i], by = bys ? bys.at(this.by.values[i]) : 0;
      if (x < 0 || y === null || by < 0) continue;
      if (!lines.has(by)) lines.set(by, new Map());
      const line = lines.get(by);
      line.set(x, [...(line.get(x) || []), y]);
    }
    const spot = ([k, values]) => ({ x: xs.value(k), name: xs.text(k), y: SUMMARIES[this.how](values), low: SUMMARIES.lowest(values), high: SUMMARIES.highest(values), count: values.length });
    this.binned = !xs.exact || Boolean(bys && !bys.exact);
    return [...lines].sort(([a], [b]) => a - b).map(([by, line]) => ({
      name: bys ? bys.text(by) : "all", place: by, share: bys && bys.count > 1 ? by / (bys.count - 1) : 0.5,
      spots: [...line].sort(([a], [b]) => a - b).map(spot),
    }));
  }

  update() {
    this.lines = this.grouped();
    this.cursor = null;
    this.detail.textContent = "";
    const spots = this.lines.flatMap((line) => line.spots), words = Boolean(this.x.labels);
    const low = Math.min(...spots.map((spot) => spot.low)), high = Math.max(...spots.map((spot) => spot.high));
    // What is filtered is looked at more closely.
    const [first, last] = spots.length ? [Math.min(...spots.map((spot) => spot.x)), Math.max(...spots.map((spot) => spot.x))] : [this.x.low, this.x.high];
    this.setLog("Y", this.logY && low > 0);
    this.setLog("X", this.logX && this.x.low > 0);
    Object.assign(this.axes, {
      xs: words ? [-0.5, this.x.labels.length - 0.5] : spread(first, last, this.logX, 0.02), logX: this.logX,
      marksX: levelMarks(this.points, this.x, first, last), wordsX: words, bottom: words ? 56 : 40,
      ys: spots.length ? spread(low, high, this.logY, 0.06, low >= 0) : [0, 1], logY: this.logY && spots.length > 0,
      dimensionX: this.x.dimension, dimensionY: this.y.dimension, nameX: this.x.label, nameY: spots.length ? this.y.label : "no points",
    });
    const most = Math.max(0, ...spots.map((spot) => spot.count)), binned = this.binned ? " Axes with many values are cut into stretches." : "";
    const band = most > 1 ? " A band runs from the lowest to the highest point." : "";
    this.note.textContent = `${summedUp(this.points, this.how, [this.x, this.by], most)}${band}${binned}`;
    this.showLegend();
    this.axes.paint();
  }

  // Words differ by colour, marker and dashes, and keep theirs whatever is filtered; numbers by shade, in order.
  style({ place, share }) {
    const few = !this.by || this.by.labels || this.by.levels.length <= 4;
    return few ? STYLES[place % STYLES.length] : [null, "●", [], share];
  }

  ink([name, , , share]) { return name ? colour(name) : lineShade(share); }

  showLegend() {
    if (!this.by) return this.legend.replaceChildren();
    return this.legend.replaceChildren(make("li", {}, `${this.by.label}:`), ...this.lines.map((line) => {
      const style = this.style(line), mark = make("b", { "aria-hidden": "true" }, style[1]);
      mark.style.color = this.ink(style);
      return make("li", {}, mark, line.name);
    }));
  }

  draw(pen, x, y) {
    pen.save();
    for (const line of this.lines) this.drawLine(pen, x, y, line);
    if (this.cursor) {
      const spot = this.spot();
      pen.strokeStyle = colour("ink");
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(this.left(x, this.lines[this.cursor[0]], spot), y(spot.y), 8, 0, 7);
      pen.stroke();
    }
    pen.restore();
  }

  // Where a spot is drawn; over words the lines stand side by side.
  left(x, line, spot) {
    return x(this.x.labels ? spot.x + 0.5 * ((this.lines.indexOf(line) + 0.5) / this.lines.length - 0.5) : spot.x);
  }

  drawLine(pen, x, y, line) {
    const style = this.style(line), [, glyph, dashes] = style, words = Boolean(this.x.labels);
    pen.strokeStyle = pen.fillStyle = this.ink(style);
    if (!words && line.spots.some((spot) => spot.high > spot.low)) {
      pen.beginPath();
      line.spots.forEach((spot) => pen.lineTo(x(spot.x), y(spot.high)));
      [...line.spots].reverse().forEach((spot) => pen.lineTo(x(spot.x), y(spot.low)));
      pen.globalAlpha = this.lines.length > 4 ? 0.06 : 0.13;
      pen.fill();
      pen.globalAlpha = 1;
    }
    pen.setLineDash(dashes);
    pen.lineWidth = 2;
    pen.beginPath();
    if (words) line.spots.forEach((spot) => { pen.moveTo(this.left(x, line, spot), y(spot.low)); pen.lineTo(this.left(x, line, spot), y(spot.high)); });
    else line.spots.forEach((spot) => pen.lineTo(x(spot.x), y(spot.y)));
    pen.stroke();
    pen.setLineDash([]);
    pen.textAlign = "center";
    if (style[0] || words || line.spots.length < 2) line.spots.forEach((spot) => pen.fillText(glyph, this.left(x, line, spot), y(spot.y)));
  }

  spot() { return this.lines[this.cursor[0]].spots[this.cursor[1]]; }

  step(event) {
    const moves = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!(event.key in moves) || !this.lines.length) return;
    event.preventDefault();
    const [line, at] = this.cursor || [0, 0], [other, along] = this.cursor ? moves[event.key] : [0, 0];
    const next = Math.max(0, Math.min(this.lines.length - 1, line + other));
    this.cursor = [next, Math.max(0, Math.min(this.lines[next].spots.length - 1, at + along))];
    this.detail.textContent = this.about(this.lines[next], this.spot()).join(", ");
    this.axes.paint();
  }

  about(line, spot) {
    const text = (value) => valueText(this.y, value);
    return [
      `${this.y.label}: ${text(spot.y)}`, `${this.x.label}: ${spot.name}`, this.by ? `${this.by.label}: ${line.name}` : "",
      spot.count > 1 ? `${this.how} of ${spot.count} points, ${text(spot.low)} to ${text(spot.high)}` : "",
    ].filter(Boolean);
  }

  near(px, py) {
    let best = null, least = 900;
    for (const line of this.lines) {
      for (const spot of line.spots) {
        const away = (this.left(this.axes.x, line, spot) - px) ** 2 + (this.axes.y(spot.y) - py) ** 2;
        if (away < least) [least, best] = [away, [line, spot]];
      }
    }
    return best ? this.about(...best).join("\n") : "";
  }
}

// The range from low to high with a margin, by a part of its length; down to zero where that is close.
function spread(low, high, log, part, fromZero = false) {
  if (log) {
    const ratio = (high / low || 1) ** part;
    return [low / ratio / (ratio === 1 ? 1.1 : 1), high * ratio * (ratio === 1 ? 1.1 : 1)];
  }
  if (fromZero && low < 0.4 * high) return [0, high * (1 + part)];
  const room = (high - low) * part || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

CHARTS.lines = (place, data, label) => new Lines(place, data, label);
