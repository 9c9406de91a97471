// The points of a sweep: their columns, which of them the filters let through, and the fields that set the filters.

const MOST_LEVELS = 200;
const MOST_DIGITS = 10;
const MOST_MARKS = 12;
const COMPARISONS = {
  "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "!=": (a, b) => a !== b, "<": (a, b) => a < b, ">": (a, b) => a > b, "=": (a, b) => a === b,
};

class Points {
  constructor(data) {
    this.count = data.numbers.length;
    // What a point is called: its number in its sweep.
    this.numbers = data.numbers;
    this.columns = data.columns;
    this.byName = new Map(data.columns.map((column) => [column.name, column]));
    this.axes = data.axes.map((name) => this.byName.get(name));
    this.metrics = data.columns.filter((column) => !data.axes.includes(column.name) && !column.labels);
    this.first = data.shown;
    // By column name: {low, high}, both included.
    this.limits = new Map();
    this.query = [];
    this.misread = [];
    this.listeners = [];
    this.waiting = false;
    for (const column of this.columns) describeColumn(column, this.axes.includes(column));
    this.choose();
  }

  of(name) { return this.byName.get(name); }

  limit(column, limits) {
    if (limits && (limits.low > column.low || limits.high < column.high)) this.limits.set(column.name, limits);
    else this.limits.delete(column.name);
    this.apply();
  }

  search(text) {
    this.misread = [];
    this.query = text.trim().split(/\s+/).filter(Boolean).map((word) => comparison(this, word) || containing(this, word));
    this.apply();
  }

  choose() {
    const limits = [...this.limits].map(([name, about]) => [this.of(name).values, about]);
    this.kept = [];
    for (let i = 0; i < this.count; i += 1) {
      const inside = limits.every(([values, { low, high }]) => values[i] !== null && values[i] >= low && values[i] <= high);
      if (inside && this.query.every((holds) => holds(i))) this.kept.push(i);
    }
  }

  // Everything on the page follows at most once a frame, however fast a mouse moves.
  apply() {
    this.choose();
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; for (const listener of this.listeners) listener(); });
  }
}

// The values that a column takes, in order, the scale on which they lie evenly, and the digits that tell them apart.
function describeColumn(column, axis) {
  const levels = [...new Set(column.values.filter((value) => value !== null))].sort((a, b) => a - b);
  column.levels = levels;
  column.low = levels[0] ?? 0;
  column.high = levels[levels.length - 1] ?? 0;
  column.log = !column.labels && column.low > 0 && isLogarithmic(levels, axis);
  column.digits = column.labels ? 0 : digitsOf(column, axis ? 3 : 4);
}

// An axis is logarithmic where its middle lies nearer to the geometric than to the arithmetic one; other columns only
// where little would be seen otherwise.
function isLogarithmic(levels, axis) {
  const low = levels[0], high = levels[levels.length - 1], middle = levels[Math.floor(levels.length / 2)], ratio = high / low;
  if (!axis) return ratio >= 200 || (ratio >= 20 && middle < (low + high) / 3);
  const away = (share) => Math.abs(share - Math.floor(levels.length / 2) / (levels.length - 1));
  return levels.length > 2 && ratio >= 4 && away(Math.log(middle / low) / Math.log(ratio)) < away((middle - low) / (high - low));
}

function digitsOf(column, least) {
  const { levels, low, high } = column, largest = Math.max(Math.abs(low), Math.abs(high));
  if (levels.length < 2) return 4;
  if (levels.length > MOST_LEVELS) return Math.min(MOST_DIGITS, Math.max(4, Math.ceil(Math.log10(largest / (high - low))) + 3));
  const texts = (digits) => new Set(levels.map((value) => told(column.dimension, value, digits)));
  let digits = least;
  while (digits < MOST_DIGITS && texts(digits).size < levels.length) digits += 1;
  return digits;
}

function valueText(column, value, digits = column.digits) {
  if (value === null || value === undefined) return "-";
  return column.labels ? column.labels[value] : told(column.dimension, value, digits);
}

// A name that may go on in the next line after a dot or an underscore.
const breakable = (name) => name.split(/(?<=[._])/).flatMap((part, i) => (i > 0 ? [make("wbr"), part] : [part]));

// The few values of an axis as marks on it; others have round numbers.
function levelMarks(points, column, low, high) {
  if (column.labels) return column.labels.map((text, i) => [i, text]);
  if (!points.axes.includes(column) || column.levels.length > MOST_MARKS) return null;
  return column.levels.filter((value) => value >= low && value <= high).map((value) => [value, valueText(column, value)]);
}

// The texts of both ends of a range, with digits enough to tell them apart.
function endTexts(column, low, high) {
  const texts = (digits) => [low, high].map((value) => valueText(column, value, digits));
  let digits = 3;
  while (low !== high && digits < MOST_DIGITS && texts(digits)[0] === texts(digits)[1]) digits += 1;
  return texts(digits + 1);
}

// Where a value lies on its column's scale, 0 to 1, and the value that lies there.
function shareOf(column, value) {
  if (column.high === column.low) return 0.5;
  return column.log ? Math.log(value / column.low) / Math.log(column.high / column.low) : (value - column.low) / (column.high - column.low);
}

function valueAt(column, share) {
  if (share <= 0 || column.high === column.low) return column.low;
  if (share >= 1) return column.high;
  return column.log ? column.low * (column.high / column.low) ** share : column.low + share * (column.high - column.low);
}

// The values of a column one by one where they are few, else `count` stretches of its scale.
class Bins {
  constructor(column, most, count) {
    this.column = column;
    this.exact = Boolean(column.labels) || column.levels.length <= most;
    this.count = this.exact ? column.levels.length : count;
    this.places = this.exact && new Map(column.levels.map((value, k) => [value, k]));
  }

  at(value) {
    if (value === null) return -1;
    return this.exact ? this.places.get(value) : Math.min(this.count - 1, Math.floor(shareOf(this.column, value) * this.count));
  }

  value(k) { return this.exact ? this.column.levels[k] : valueAt(this.column, (k + 0.5) / this.count); }

  text(k) {
    if (this.exact) return valueText(this.column, this.column.levels[k]);
    return [k, k + 1].map((edge) => valueText(this.column, valueAt(this.column, edge / this.count), 3)).join(" to ");
  }

  // What stands below a cell: of a stretch where it begins.
  short(k) { return this.exact ? this.text(k) : `${valueText(this.column, valueAt(this.column, k / this.count), 3)}…`; }
}

// The colours from low to high without the emphasis on little that `heat` has, and none so pale that it is lost.
function shade(share) {
  const stops = ["h1", "h2", "h3", "h4"].map((name) => channels(colour(name)));
  const at = Math.max(0, Math.min(1, share)) * 3, low = Math.min(2, Math.floor(at));
  return `rgb(${stops[low].map((from, c) => Math.round(from + (stops[low + 1][c] - from) * (at - low))).join(",")})`;
}

// A line is thin: it needs more than the palest.
const lineShade = (share) => shade(0.2 + 0.8 * share);

// What the colours mean; `inked` is `shade` or `lineShade`.
class Legend {
  constructor(place, inked) {
    this.name = make("span");
    this.low = make("span");
    this.high = make("span");
    this.scale = make("canvas", { class: "ramp", width: "256", height: "1", "aria-hidden": "true" });
    place.append(make("p", { class: "legend" }, this.name, " ", make("span", { class: "together" }, this.low, " ", this.scale, " ", this.high)));
    const paint = () => {
      const pen = this.scale.getContext("2d");
      for (let i = 0; i < 256; i += 1) {
        pen.fillStyle = inked(i / 255);
        pen.fillRect(i, 0, 1, 1);
      }
    };
    painters.push(paint);
    paint();
  }

  show(name, [low, high]) {
    this.name.textContent = name ? `${name}:` : "";
    this.low.textContent = low;
    this.high.textContent = high;
  }
}

// How several points become one number.
const SUMMARIES = {
  mean: (values) => values.reduce((sum, value) => sum + value, 0) / values.length,
  median: (values) => { const sorted = [...values].sort((a, b) => a - b), k = sorted.length >> 1; return sorted.length % 2 ? sorted[k] : (sorted[k - 1] + sorted[k]) / 2; },
  lowest: (values) => values.reduce((low, value) => Math.min(low, value)),
  highest: (values) => values.reduce((high, value) => Math.max(high, value)),
};

function summaryField(change) {
  const options = Object.keys(SUMMARIES).map((name) => make("option", { value: name }, name));
  return make("label", {}, "of the rest the", make("select", { onchange: (event) => change(event.target.value) }, ...options));
}

// What a chart that shows `shown` says of the axes that it sums up.
function summedUp(points, how, shown, most) {
  if (most < 2) return "";
  const others = points.axes.filter((axis) => !shown.includes(axis) && axis.levels.length > 1 && !isFixed(points, axis));
  const over = others.length ? ` over ${others.map((axis) => axis.label).join(" and ")}` : "";
  return `The ${how} of up to ${most.toLocaleString("en-US")} points${over}. Fix values under Filter to look at single ones.`;
}

function isFixed(points, axis) {
  const limits = points.limits.get(axis.name);
  return Boolean(limits) && axis.levels.filter((value) => value >= limits.low && value <= limits.high).length < 2;
}

// "bandwidth>=100GB/s": a part of a column's name, a comparison, and a value with or without a unit.
function comparison(points, word) {
  const match = word.match(/^([^<>=!]+)(<=|>=|!=|=|<|>)(.+)$/);
  if (!match) return null;
  const column = columnCalled(points, match[1]), compare = COMPARISONS[match[2]];
  if (!column) return misread(points, `no column is called ${match[1]}`);
  if (column.labels) return (i) => column.values[i] !== null && compare(column.labels[column.values[i]], match[3]);
  const value = quantity(column.dimension, match[3]);
  if (!Number.isFinite(value)) return misread(points, `${match[3]} is no value of ${column.label}`);
  // What reads the same is the same.
  const digits = Math.max(column.digits, Math.ceil(Math.log10(Math.abs(value) / unitOf(column.dimension, value)[1] + 1)));
  const rounded = (number) => Number(number.toPrecision(digits)), wanted = rounded(value);
  return (i) => column.values[i] !== null && compare(rounded(column.values[i]), wanted);
}

// What is not understood lets everything through, and is told.
function misread(points, why) {
  points.misread.push(why);
  return () => true;
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

// A field in which one of `columns` is chosen, by the first part of their path; null stands for none.
function columnField(text, points, columns, chosen, change, none = "") {
  const option = (column) => make("option", { value: column.name, selected: column === chosen }, column.label);
  const groups = new Map();
  for (const column of columns) {
    const group = points.axes.includes(column) ? "axes" : column.label.includes(".") ? column.label.split(".")[0] : "run";
    groups.set(group, [...(groups.get(group) || []), column]);
  }
  const inside = groups.size < 2 ? columns.map(option) : [...groups].map(([label, members]) => make("optgroup", { label }, ...members.map(option)));
  if (none) inside.unshift(make("option", { value: "", selected: !chosen }, none));
  return make("label", {}, text, make("select", { onchange: (event) => change(points.of(event.target.value) || null) }, ...inside));
}

function switchField(text, on, change) {
  const field = make("input", { type: "checkbox", onchange: (event) => change(event.target.checked) });
  field.checked = on;
  return [make("label", {}, field, text), field];
}

// The fields of the filter: for each axis one value of it, or from where to where; for any metric from where to where.
CHARTS.filter = (place, data) => {
  const points = pointsOf(data), count = make("p", { class: "count" });
  const fields = points.axes.map((axis) => (axis.labels || axis.levels.length <= MOST_LEVELS ? levelField(points, axis) : rangeField(points, axis)));
  const extra = new Map(), more = make("div", { class: "tools" });
  const open = (column) => {
    if (!column || extra.has(column.name) || points.axes.includes(column)) return;
    extra.set(column.name, rangeField(points, column));
    more.append(extra.get(column.name).place);
  };
  const choice = columnField("limit", points, points.metrics, null, (column) => { open(column); show(); choice.querySelector("select").value = ""; }, "a metric");
  const clear = make("button", { type: "button", onclick: () => {
    extra.clear();
    more.replaceChildren();
    points.limits.clear();
    points.apply();
  } }, "all points");
  place.append(make("div", { class: "tools" }, ...fields.map((field) => field.place), choice, clear), more, count);
  const show = () => {
    for (const name of points.limits.keys()) open(points.of(name));
    count.textContent = countText(points);
    for (const field of [...fields, ...extra.values()]) field.show();
  };
  points.listeners.push(show);
  show();
};

const countText = (points) => `${points.kept.length.toLocaleString("en-US")} of ${points.count.toLocaleString("en-US")} points`;

function levelField(points, axis) {
  const select = make("select", { onchange: () => {
    const value = select.value === "" ? null : axis.levels[Number(select.value)];
    points.limit(axis, value === null ? null : { low: value, high: value });
  } }, make("option", { value: "" }, "all"), ...axis.levels.map((value, i) => make("option", { value: i }, valueText(axis, value))));
  const some = make("option", { value: "some", hidden: true });
  select.append(some);
  const show = () => {
    const limits = points.limits.get(axis.name), inside = limits ? axis.levels.filter((value) => value >= limits.low && value <= limits.high) : [];
    some.textContent = `${inside.length} of ${axis.levels.length}`;
    select.value = !limits ? "" : inside.length === 1 ? String(axis.levels.indexOf(inside[0])) : "some";
  };
  return { place: make("label", {}, axis.label, select), show };
}

function rangeField(points, column) {
  const limits = () => points.limits.get(column.name) || { low: column.low, high: column.high };
  const [unit, length] = unitOf(column.dimension, column.high);
  const field = (end) => {
    const input = make("input", { type: "number", step: "any", "aria-label": `${column.label}, ${end === "low" ? "lowest" : "highest"}` });
    input.addEventListener("change", () => {
      // An empty field lets all through on its side.
      points.limit(column, { ...limits(), [end]: input.value === "" ? column[end] : Number(input.value) * length });
    });
    return input;
  };
  const [low, high] = [field("low"), field("high")];
  const written = (value) => String(Number((value / length).toPrecision(6)));
  const show = () => {
    const { low: from, high: to } = limits();
    low.value = points.limits.has(column.name) ? written(from) : "";
    high.value = points.limits.has(column.name) ? written(to) : "";
    low.placeholder = written(column.low);
    high.placeholder = written(column.high);
  };
  return { place: make("span", { class: "range" }, column.label, low, "to", high, unit), show };
}
