// A metric over an axis: one line for every value of another.

const STYLES = [["k0", "●", []], ["k6", "■", [7, 3]], ["k11", "▲", [2, 3]], ["k4", "◆", [9, 3, 2, 3]], ["k9", "▼", [5, 2]], ["k1", "✚", [2, 2]], ["k10", "✖", [12, 4]], ["k7", "★", [4, 4]]];

// The colours from low to high without the emphasis on little that `heat` has, and none so pale that it is lost.
function shade(share) {
  const stops = ["h1", "h2", "h3", "h4"].map((name) => channels(colour(name)));
  const at = Math.max(0, Math.min(1, share)) * 3, low = Math.min(2, Math.floor(at));
  return `rgb(${stops[low].map((from, c) => Math.round(from + (stops[low + 1][c] - from) * (at - low))).join(",")})`;
}

class Lines {
  constructor(place, data, label) {
    this.points = pointsOf(data);
    const { first } = this.points, axes = this.points.axes, columns = [...this.points.metrics, ...axes.filter((axis) => !axis.labels)];
    this.x = this.points.of(first.x);
    this.y = this.points.of(first.y);
    this.by = first.by ? this.points.of(first.by) : null;
    const changed = (key) => (column) => { this[key] = column; if (key === "x") this.setLog("X", column.log); if (key === "y") this.setLog("Y", column.log); this.update(); };
    const [logX, fieldX] = switchField("log x", false, (on) => { this.logX = on; this.update(); });
    const [logY, fieldY] = switchField("log y", false, (on) => { this.logY = on; this.update(); });
    this.fields = { X: fieldX, Y: fieldY };
    place.append(make("div", { class: "tools" },
      columnField("y", columns, this.y, changed("y")), columnField("over x", axes, this.x, changed("x")),
      columnField("a line for each", axes, this.by, changed("by"), "none"), logX, logY));
    this.axes = new Axes(place, label, { height: 400, left: 84, xs: [0, 1], ys: [0, 1], near: (x, y) => this.near(x, y), draw: (pen, x, y) => this.draw(pen, x, y) });
    this.legend = make("ul", { class: "keys" });
    this.note = make("p", { class: "hint", "aria-live": "polite" });
    place.append(this.legend, this.note);
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

  // A list of {name, spots: [{x, mean, low, high, count}]}, spots by x.
  grouped() {
    const lines = new Map();
    for (const i of this.points.kept) {
      const x = this.x.values[i], y = this.y.values[i], by = this.by ? this.by.values[i] : 0;
      if (x === null || y === null || by === null) continue;
      if (!lines.has(by)) lines.set(by, new Map());
      const line = lines.get(by), spot = line.get(x) || { x, sum: 0, low: Infinity, high: -Infinity, count: 0 };
      spot.sum += y;
      spot.count += 1;
      spot.low = Math.min(spot.low, y);
      spot.high = Math.max(spot.high, y);
      line.set(x, spot);
    }
    return [...lines].sort(([a], [b]) => a - b).map(([by, line]) => ({
      value: by, name: this.by ? valueText(this.by, by) : "all",
      spots: [...line.values()].sort((a, b) => a.x - b.x).map((spot) => ({ ...spot, mean: spot.sum / spot.count })),
    }));
  }

  update() {
    this.lines = this.grouped();
    const spots = this.lines.flatMap((line) => line.spots), words = Boolean(this.x.labels);
    const ys = spots.flatMap((spot) => [spot.low, spot.high]);
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    this.logY = this.logY && low > 0;
    this.logX = this.logX && this.x.low > 0;
    this.fields.Y.checked = this.logY;
    this.fields.X.checked = this.logX;
    Object.assign(this.axes, {
      xs: words ? [-0.5, this.x.labels.length - 0.5] : spread(this.x.low, this.x.high, this.logX, 0.02), logX: this.logX,
      marksX: words ? this.x.labels.map((text, i) => [i, text]) : null,
      ys: spots.length ? spread(low, high, this.logY, 0.06, low >= 0) : [0, 1], logY: this.logY,
      dimensionX: this.x.dimension, dimensionY: this.y.dimension, nameX: this.x.label, nameY: this.y.label,
    });
    const most = Math.max(0, ...spots.map((spot) => spot.count));
    const others = this.points.axes.filter((axis) => axis !== this.x && axis !== this.by && axis.levels.length > 1 && !this.points.limits.has(axis.name));
    this.note.textContent = most > 1 ? `Means of up to ${most} points${others.length ? `, over ${others.map((axis) => axis.label).join(" and ")}` : ""}; choose values under Filter to look at single ones.` : "";
    this.showLegend();
    this.axes.paint();
  }

  // Few lines differ by colour, marker and dashes; many by shade alone, in order.
  style(k) {
    if (this.lines.length <= STYLES.length) return [colour(STYLES[k][0]), STYLES[k][1], STYLES[k][2]];
    return [shade(k / (this.lines.length - 1)), "●", []];
  }

  showLegend() {
    if (!this.by) return this.legend.replaceChildren();
    return this.legend.replaceChildren(make("li", {}, `${this.by.label}:`), ...this.lines.map((line, k) => {
      const [ink, glyph] = this.style(k), mark = make("b", {}, glyph);
      mark.style.color = ink;
      return make("li", {}, mark, line.name);
    }));
  }

  draw(pen, x, y) {
    pen.save();
    this.lines.forEach((line, k) => {
      const [ink, glyph, dashes] = this.style(k);
      pen.strokeStyle = pen.fillStyle = ink;
      if (line.spots.some((spot) => spot.high > spot.low)) {
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
      if (!this.x.labels) line.spots.forEach((spot) => pen.lineTo(x(spot.x), y(spot.mean)));
      pen.stroke();
      pen.setLineDash([]);
      pen.textAlign = "center";
      if (this.lines.length <= STYLES.length || this.x.labels) line.spots.forEach((spot) => pen.fillText(glyph, x(spot.x), y(spot.mean)));
    });
    pen.restore();
  }

  near(px, py) {
    let best = null, least = 900;
    for (const line of this.lines) {
      for (const spot of line.spots) {
        const away = (this.axes.x(spot.x) - px) ** 2 + (this.axes.y(spot.mean) - py) ** 2;
        if (away < least) [least, best] = [away, [line, spot]];
      }
    }
    if (!best) return "";
    const [line, spot] = best, told_ = (value) => valueText(this.y, value);
    return [
      `${this.y.label}: ${told_(spot.mean)}`, `${this.x.label}: ${valueText(this.x, spot.x)}`, this.by ? `${this.by.label}: ${line.name}` : "",
      spot.count > 1 ? `mean of ${spot.count} points, ${told_(spot.low)} to ${told_(spot.high)}` : "",
    ].filter(Boolean).join("\n");
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
