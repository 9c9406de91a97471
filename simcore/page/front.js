// The points by two columns, and those than which none is better in both.

const MOST_LISTED = 30;

class Front {
  constructor(place, data, label) {
    this.points = pointsOf(data);
    const columns = [...this.points.axes.filter((axis) => !axis.labels), ...this.points.metrics];
    this.y = this.points.of(this.points.first.y);
    this.x = this.points.axes.find((axis) => !axis.labels) || columns.find((column) => column !== this.y) || this.y;
    // A link's bandwidth costs, a latency does not: which way is better is its reader's to say.
    this.best = { x: "lowest", y: "lowest" };
    const changed = (key) => (column) => { this[key] = column; this.update(); };
    const better = (key) => make("label", {}, "best is the", make("select", { onchange: (event) => { this.best[key] = event.target.value; this.update(); } },
      make("option", { value: "lowest" }, "lowest"), make("option", { value: "highest" }, "highest")));
    place.append(make("div", { class: "tools" }, columnField("across", columns, this.x, changed("x")), better("x"), columnField("up", columns, this.y, changed("y")), better("y")));
    this.axes = new Axes(place, label, { height: 380, left: 84, xs: [0, 1], ys: [0, 1], near: (x, y) => this.near(x, y), draw: (pen, x, y) => this.draw(pen, x, y) });
    this.table = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "points of the front" });
    place.append(this.table);
    this.points.listeners.push(() => this.update());
    this.update();
  }

  update() {
    const { x, y } = this, there = this.points.kept.filter((i) => x.values[i] !== null && y.values[i] !== null);
    this.there = there;
    this.front = frontOf(there, x.values, y.values, this.best.x === "lowest" ? 1 : -1, this.best.y === "lowest" ? 1 : -1);
    const of = (column) => there.map((i) => column.values[i]);
    const range = (column) => of(column).reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    const [xs, ys] = [range(x), range(y)];
    Object.assign(this.axes, {
      xs: there.length ? spread(...xs, x.log, 0.04) : [0, 1], ys: there.length ? spread(...ys, y.log, 0.06) : [0, 1],
      logX: x.log && there.length > 0, logY: y.log && there.length > 0,
      dimensionX: x.dimension, dimensionY: y.dimension, nameX: x.label, nameY: y.label,
    });
    this.list();
    this.axes.paint();
  }

  list() {
    const { axes } = this.points, columns = [...new Set([this.x, this.y, ...axes])];
    const row = (i) => make("tr", {}, make("th", { scope: "row", class: "number" }, String(i)), ...columns.map((column) => make("td", { class: column.labels ? false : "number" }, valueText(column, column.values[i]))));
    const head = make("tr", {}, make("th", { scope: "col", class: "number" }, "point"), ...columns.map((column) => make("th", { scope: "col", class: column.labels ? false : "number" }, column.label)));
    this.table.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...this.front.slice(0, MOST_LISTED).map(row))));
    this.table.hidden = !this.front.length;
  }

  draw(pen, x, y) {
    const on = new Set(this.front), value = (i) => [x(this.x.values[i]), y(this.y.values[i])];
    pen.fillStyle = colour("soft");
    pen.globalAlpha = 0.35;
    for (const i of this.there) {
      if (on.has(i)) continue;
      pen.beginPath();
      pen.arc(...value(i), 3, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
    pen.strokeStyle = pen.fillStyle = colour("k6");
    pen.lineWidth = 2;
    pen.beginPath();
    this.front.forEach((i, k) => {
      // In steps: between two points of the front nothing better than the worse of them is known.
      if (k > 0) pen.lineTo(x(this.x.values[i]), y(this.y.values[this.front[k - 1]]));
      pen.lineTo(...value(i));
    });
    pen.stroke();
    for (const i of this.front) {
      pen.beginPath();
      pen.arc(...value(i), 5, 0, 7);
      pen.fill();
    }
  }

  near(px, py) {
    let best = -1, least = 300;
    for (const i of this.there) {
      const away = (this.axes.x(this.x.values[i]) - px) ** 2 + (this.axes.y(this.y.values[i]) - py) ** 2;
      if (away < least) [least, best] = [away, i];
    }
    return best < 0 ? "" : pointText(this.points, best, [this.x, this.y]);
  }
}

// The points, by x, than which no other is at least as good in both and better in one; of equal ones the first.
function frontOf(there, xs, ys, wayX, wayY) {
  const order = [...there].sort((a, b) => wayX * (xs[a] - xs[b]) || wayY * (ys[a] - ys[b]) || a - b), front = [];
  let best = Infinity;
  for (const i of order) {
    if (wayY * ys[i] < best) {
      best = wayY * ys[i];
      front.push(i);
    }
  }
  return front;
}

function pointText(points, i, columns) {
  const lines = [...new Set([...columns, ...points.axes])].map((column) => `${column.label}: ${valueText(column, column.values[i])}`);
  return [`point ${i}`, ...lines].join("\n");
}

CHARTS.front = (place, data, label) => new Front(place, data, label);
