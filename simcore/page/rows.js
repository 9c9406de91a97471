// All points as a table: only the rows in sight are in the page, so that it may hold any number.

const ROW = 27;

class Rows {
  constructor(place, data, label) {
    this.points = pointsOf(data);
    this.columns = [...this.points.axes, ...this.points.columns.filter((column) => !this.points.axes.includes(column))];
    this.sort = { column: null, way: 1 };
    const field = make("input", { type: "search", class: "filter", placeholder: "e.g. policy=spin bandwidth>=100GB/s", "aria-label": `filter: ${label}` });
    field.addEventListener("input", () => this.points.search(field.value));
    const save = make("button", { type: "button", onclick: () => this.download() }, "download as CSV");
    this.count = make("span", { class: "count", role: "status" });
    place.append(make("div", { class: "tools" }, field, save, this.count));
    this.body = make("tbody");
    this.head = make("tr", {}, this.heading("point", null), ...this.columns.map((column) => this.heading(column.label, column)));
    this.pane = make("div", { class: "scroll rows", tabindex: "0", role: "region", "aria-label": label },
      make("table", {}, make("thead", {}, this.head), this.body));
    place.append(this.pane);
    this.pane.addEventListener("scroll", () => this.fill(), { passive: true });
    this.points.listeners.push(() => this.update());
    new ResizeObserver(() => this.fill()).observe(this.pane);
    this.update();
  }

  heading(text, column) {
    const button = make("button", { type: "button", onclick: () => this.sortBy(column, cell) }, ...breakable(text));
    const cell = make("th", { scope: "col", class: column && column.labels ? false : "number" }, button);
    return cell;
  }

  sortBy(column, cell) {
    const again = cell.hasAttribute("aria-sort");
    this.sort = { column, way: again ? -this.sort.way : 1 };
    for (const other of this.head.cells) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", this.sort.way > 0 ? "ascending" : "descending");
    this.update();
  }

  update() {
    const { column, way } = this.sort, rows = [...this.points.kept];
    if (column) rows.sort((a, b) => compareIn(column, a, b, way) || a - b);
    else if (way < 0) rows.reverse();
    this.rows = rows;
    this.count.textContent = [countText(this.points), ...this.points.misread].join("; ");
    this.pane.scrollTop = 0;
    this.filled = "";
    this.fill();
  }

  // The rows in sight and some around them, anew only where others come into sight.
  fill() {
    const around = Math.ceil(this.pane.clientHeight / ROW / 10) * 10 + 20;
    const first = Math.max(0, Math.floor(this.pane.scrollTop / ROW / 10) * 10 - 10), last = Math.min(this.rows.length, first + around);
    if (this.filled === `${first} ${last}`) return;
    this.filled = `${first} ${last}`;
    const gap = (rows) => make("tr", { "aria-hidden": "true" }, (() => { const cell = make("td", { colspan: this.columns.length + 1 }); cell.style.height = `${rows * ROW}px`; cell.style.padding = "0"; return cell; })());
    const row = (i) => make("tr", {}, make("th", { scope: "row", class: "number" }, String(this.points.numbers[i])), ...this.columns.map((column) => make("td", { class: column.labels ? false : "number" }, valueText(column, column.values[i]))));
    const parts = this.rows.slice(first, last).map(row);
    if (first > 0) parts.unshift(gap(first));
    if (last < this.rows.length) parts.push(gap(this.rows.length - last));
    this.body.replaceChildren(...parts);
  }

  download() {
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const value = (column, i) => (column.values[i] === null ? "" : column.labels ? quoted(column.labels[column.values[i]]) : String(column.values[i]));
    const lines = [["point", ...this.columns.map((column) => quoted(column.name))].join(","), ...this.rows.map((i) => [this.points.numbers[i], ...this.columns.map((column) => value(column, i))].join(","))];
    const address = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
    make("a", { href: address, download: "points.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }
}

// Points without a value come last either way.
function compareIn(column, a, b, way) {
  const [x, y] = [column.values[a], column.values[b]];
  if (x === null || y === null) return (x === null) - (y === null);
  return way * (column.labels ? column.labels[x].localeCompare(column.labels[y], "en", { numeric: true }) : x - y);
}

CHARTS.rows = (place, data, label) => new Rows(place, data, label);
