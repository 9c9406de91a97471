// The points of a sweep: their columns, which of them the filters let through, and the fields that set the filters.

const MOST_LEVELS = 200;
const COMPARISONS = {
  "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "!=": (a, b) => a !== b, "<": (a, b) => a < b, ">": (a, b) => a > b, "=": (a, b) => a === b,
};

class Points {
  constructor(data) {
    this.count = data.count;
    this.columns = data.columns;
    this.byName = new Map(data.columns.map((column) => [column.name, column]));
    this.axes = data.axes.map((name) => this.byName.get(name));
    this.metrics = data.columns.filter((column) => !data.axes.includes(column.name) && !column.labels);
    this.first = data.shown;
    // By column name: {low, high}, both included.
    this.limits = new Map();
    this.query = [];
    this.listeners = [];
    for (const column of this.columns) describeColumn(column);
    this.apply();
  }

  of(name) { return this.byName.get(name); }

  limit(column, limits) {
    if (limits) this.limits.set(column.name, limits); else this.limits.delete(column.name);
    this.apply();
  }

  search(text) {
    this.query = text.trim().split(/\s+/).filter(Boolean).map((word) => comparison(this, word) || containing(this, word));
    this.apply();
  }

  apply() {
    const limits = [...this.limits].map(([name, about]) => [this.of(name).values, about]);
    this.kept = [];
    for (let i = 0; i < this.count; i += 1) {
      const inside = limits.every(([values, { low, high }]) => values[i] !== null && values[i] >= low && values[i] <= high);
      if (inside && this.query.every((holds) => holds(i))) this.kept.push(i);
    }
    for (const listener of this.listeners) listener();
  }
}

// The values that a column takes, in order, and whether they are told apart on a logarithmic scale only.
function describeColumn(column) {
  const levels = [...new Set(column.values.filter((value) => value !== null))].sort((a, b) => a - b);
  column.levels = levels;
  column.low = levels[0] ?? 0;
  column.high = levels[levels.length - 1] ?? 0;
  const middle = levels[Math.floor(levels.length / 2)];
  const ratio = column.high / column.low;
  column.log = !column.labels && column.low > 0 && (ratio >= 200 || (ratio >= 20 && middle < (column.low + column.high) / 3));
}

function valueText(column, value, digits = 4) {
  if (value === null || value === undefined) return "-";
  return column.labels ? column.labels[value] : told(column.dimension, value, digits);
}

// "bandwidth>=100GB/s": a part of a column's name, a comparison, and a value with or without a unit.
function comparison(points, word) {
  const match = word.match(/^([^<>=!]+)(<=|>=|!=|=|<|>)(.+)$/);
  const column = match && columnCalled(points, match[1]);
  if (!column) return null;
  const compare = COMPARISONS[match[2]];
  if (column.labels) return (i) => column.values[i] !== null && compare(column.labels[column.values[i]], match[3]);
  const value = quantity(column.dimension, match[3]);
  return Number.isFinite(value) ? (i) => column.values[i] !== null && compare(column.values[i], value) : null;
}

function columnCalled(points, text) {
  const asked = text.toLowerCase(), names = (column) => [column.label.toLowerCase(), column.name.toLowerCase()];
  const found = (fits) => points.columns.find((column) => names(column).some(fits));
  return found((name) => name === asked) || found((name) => name.endsWith(asked)) || found((name) => name.includes(asked));
}

function quantity(dimension, text) {
  const match = text.match(/^(-?[\d.]+(?:e[+-]?\d+)?)([a-zA-Z/]*)$/);
  if (!match) return NaN;
  const unit = UNITS[dimension].find(([name]) => name.toLowerCase() === match[2].toLowerCase());
  return match[2] && !unit ? NaN : Number(match[1]) * (match[2] ? unit[1] : 1);
}

function containing(points, word) {
  const wanted = word.toLowerCase(), named = points.columns.filter((column) => column.labels);
  return (i) => named.some((column) => column.values[i] !== null && column.labels[column.values[i]].toLowerCase().includes(wanted));
}

let pointsShown = null;
const pointsOf = (data) => (pointsShown = pointsShown || new Points(data));

// A field in which one of `columns` is chosen; null stands for none.
function columnField(text, columns, chosen, change, none = "") {
  const options = columns.map((column) => make("option", { value: column.name, selected: column === chosen }, column.label));
  if (none) options.unshift(make("option", { value: "", selected: !chosen }, none));
  return make("label", {}, text, make("select", { onchange: (event) => change(columns.find((column) => column.name === event.target.value) || null) }, ...options));
}

function switchField(text, on, change) {
  const field = make("input", { type: "checkbox", onchange: (event) => change(event.target.checked) });
  field.checked = on;
  return [make("label", {}, field, text), field];
}

// The fields of the filter: for each axis one value of it, or from where to where.
CHARTS.filter = (place, data) => {
  const points = pointsOf(data), told_ = make("p", { class: "count", "aria-live": "polite" });
  const fields = points.axes.map((axis) => (axis.levels.length <= MOST_LEVELS ? levelField(points, axis) : rangeField(points, axis)));
  const clear = make("button", { type: "button", onclick: () => { points.limits.clear(); points.apply(); } }, "all points");
  place.append(make("div", { class: "tools" }, ...fields.map((field) => field.place), clear), told_);
  const show = () => {
    told_.textContent = `${points.kept.length.toLocaleString("en-US")} of ${points.count.toLocaleString("en-US")} points`;
    for (const field of fields) field.show();
  };
  points.listeners.push(show);
  show();
};

function levelField(points, axis) {
  const select = make("select", { onchange: () => {
    const value = select.value === "" ? null : axis.levels[Number(select.value)];
    points.limit(axis, value === null ? null : { low: value, high: value });
  } }, make("option", { value: "" }, "all"), ...axis.levels.map((value, i) => make("option", { value: i }, valueText(axis, value))));
  const some = make("option", { value: "some", hidden: true }, "some");
  select.append(some);
  const show = () => {
    const limits = points.limits.get(axis.name);
    const i = limits ? axis.levels.findIndex((value) => value === limits.low && value === limits.high) : -1;
    select.value = !limits ? "" : i >= 0 ? String(i) : "some";
  };
  return { place: make("label", {}, axis.label, select), show };
}

function rangeField(points, axis) {
  const limits = () => points.limits.get(axis.name) || { low: axis.low, high: axis.high };
  const [unit, length] = unitOf(axis.dimension, axis.high);
  const field = (end) => {
    const input = make("input", { type: "number", step: "any", "aria-label": `${axis.label}, ${end === "low" ? "lowest" : "highest"}` });
    input.addEventListener("change", () => {
      const value = Number(input.value) * length;
      if (Number.isFinite(value) && input.value !== "") points.limit(axis, { ...limits(), [end]: value });
    });
    return input;
  };
  const [low, high] = [field("low"), field("high")];
  const show = () => {
    low.value = plain(limits().low / length, 6).replaceAll(",", "");
    high.value = plain(limits().high / length, 6).replaceAll(",", "");
  };
  return { place: make("span", { class: "range" }, axis.label, low, "to", high, unit), show };
}
