// The points by two columns, and those than which none is better in both.

const MOST_LISTED = 30;

class Front {
  constructor(place, data, label) {
    this.points = pointsOf(data);
    const columns = [...this.points.axes.filter((axis) => !axis.labels), ...this.points.metrics];
    // A link's bandwidth costs, a latency does not: which way is better is its reader's to say.
    this.best = { x: "lowest", y: "lowest" };
    [this.x, this.y] = this.telling(columns);
    this.cursor = -1;
    const changed = (key) => (column) => { this[key] = column; this.update(); };
    const better = (key, text) => make("label", {}, "best is the", make("select", { "aria-label": `best ${text}`, onchange: (event) => { this.best[key] = event.target.value; this.update(); } },
      make("option", { value: "lowest" }, "lowest"), make("option", { value: "highest" }, "highest")));
    place.append(make("div", { class: "tools" }, columnField("across", this.points, columns, this.x, changed("x")), better("x", "across"),
      columnField("up", this.points, columns, this.y, changed("y")), better("y", "up")));
    this.axes = new Axes(place, label, { height: 400, xs: [0, 1], ys: [0, 1], step: true, near: (x, y) => this.near(x, y), draw: (pen, x, y) => this.draw(pen, x, y) });
    this.axes.canvas.setAttribute("aria-label", `${label}: left and right go along the front`);
    this.axes.canvas.addEventListener("keydown", (event) => this.step(event));
    this.detail = make("div", { class: "detail", "aria-live": "polite" });
    this.title = make("h3");
    this.table = make("div", { class: "scroll brief", tabindex: "0", role: "region", "aria-label": "points of the front" });
    this.more = make("p", { class: "hint" });
    place.append(this.detail, this.title, this.table, this.more);
    this.points.listeners.push(() => this.update());
    this.update();
  }

  // The first pair of what is asked about first that has a front of more than two points.
  telling(columns) {
    const axes = this.points.first.numbers.map((name) => this.points.of(name)), metrics = this.points.first.metrics.map((name) => this.points.of(name));
    const pairs = metrics.flatMap((y) => axes.map((x) => [x, y])).concat(metrics.flatMap((x, k) => metrics.slice(k + 1).map((y) => [x, y])));
    const there = ([x, y]) => this.points.kept.filter((i) => x.values[i] !== null && y.values[i] !== null);
    return pairs.find(([x, y]) => frontOf(there([x, y]), x.values, y.values, 1, 1).length > 2) || pairs[0] || [columns[0], columns[columns.length - 1]];
  }

  update() {
    this.cursor = -1;
    this.detail.textContent = "";
    const { x, y } = this, there = this.points.kept.filter((i) => x.values[i] !== null && y.values[i] !== null);
    this.there = there;
    this.front = frontOf(there, x.values, y.values, this.best.x === "lowest" ? 1 : -1, this.best.y === "lowest" ? 1 : -1);
    const of = (column) => there.map((i) => column.values[i]);
    const range = (column) => of(column).reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    const [xs, ys] = [range(x), range(y)];
    Object.assign(this.axes, {
      xs: there.length ? spread(...xs, x.log, 0.04) : [0, 1], ys: there.length ? spread(...ys, y.log, 0.06) : [0, 1],
      logX: x.log && there.length > 0, logY: y.log && there.length > 0,
      marksX: levelMarks(this.points, x, ...xs), dimensionX: x.dimension, dimensionY: y.dimension, nameX: x.label, nameY: there.length ? y.label : "no points",
    });
    this.list();
    this.axes.paint();
  }

  list() {
    const { axes } = this.points, columns = [...new Set([this.x, this.y, ...axes])], kind = (column) => (column.labels ? false : "number");
    const row = (i) => make("tr", {}, make("th", { scope: "row", class: "number" }, String(this.points.numbers[i])), ...columns.map((column) => make("td", { class: kind(column) }, valueText(column, column.values[i]))));
    const head = make("tr", {}, make("th", { scope: "col", class: "number" }, "point"), ...columns.map((column) => make("th", { scope: "col", class: kind(column) }, ...breakable(column.label))));
    this.table.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...this.front.slice(0, MOST_LISTED).map(row))));
    this.table.hidden = !this.front.length;
    this.title.textContent = `The front: ${this.front.length.toLocaleString("en-US")} of ${this.there.length.toLocaleString("en-US")} points`;
    this.more.textContent = this.front.length > MOST_LISTED ? `The first ${MOST_LISTED} are listed.` : "";
  }

  draw(pen, x, y) {
    const at = (i) => [x(this.x.values[i]), y(this.y.values[i])], on = new Set(this.front), drawn = new Set();
    pen.save();
    pen.fillStyle = colour("soft");
    pen.globalAlpha = 0.4;
    for (const i of this.there) {
      // Points at one place are drawn once: they would be as dark as the front.
      const [left, top] = at(i), place = Math.round(left) * 10_000 + Math.round(top);
      if (on.has(i) || drawn.has(place)) continue;
      drawn.add(place);
      dot(pen, left, top, 3);
    }
    pen.globalAlpha = 1;
    pen.strokeStyle = pen.fillStyle = colour("k6");
    pen.lineWidth = 2;
    pen.beginPath();
    this.front.forEach((i, k) => {
      // In steps: between two points of the front nothing better than the worse of them is known.
      if (k > 0) pen.lineTo(at(i)[0], at(this.front[k - 1])[1]);
      pen.lineTo(...at(i));
    });
    pen.stroke();
    for (const i of this.front) dot(pen, ...at(i), 5);
    if (this.cursor >= 0) {
      pen.strokeStyle = colour("ink");
      pen.beginPath();
      pen.arc(...at(this.front[this.cursor]), 9, 0, 7);
      pen.stroke();
    }
    pen.restore();
  }

  step(event) {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key] * (this.best.x === "lowest" ? 1 : -1);
    if (!way || !this.front.length) return;
    event.preventDefault();
    this.cursor = this.cursor < 0 ? 0 : Math.max(0, Math.min(this.front.length - 1, this.cursor + way));
    this.detail.textContent = pointText(this.points, this.front[this.cursor], [this.x, this.y]).replaceAll("\n", ", ");
    this.axes.paint();
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

function dot(pen, x, y, radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.fill();
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
  return [`point ${points.numbers[i]}`, ...lines].join("\n");
}

CHARTS.front = (place, data, label) => new Front(place, data, label);
