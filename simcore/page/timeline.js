// Rows of bars: who did what when. A rank opens to show its work-groups.

const AXIS = 24, RANK = 22, GROUP = 14;

class Timeline {
  constructor(place, lines, label, time) {
    this.lines = lines;
    this.time = time;
    this.open = new Set();
    this.cursor = -1;
    this.bar = -1;
    this.rows = lines.rows.map((row) => unpacked(row));
    this.rows.forEach((row, i) => { row.children = 0; row.index = i; });
    for (const row of this.rows) if (row.parent >= 0) this.rows[row.parent].children += 1;
    keepLabels(this.rows.map((row) => (row.parent < 0 ? `${row.children ? "▸ " : ""}${row.name}` : `   ${this.nameOf(row)}`)));
    this.canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": `${label}: arrows move, plus and minus zoom, n and p go from bar to bar, Enter opens a rank` });
    this.filler = make("div");
    this.pane = make("div", { class: "pane" }, this.canvas, this.filler);
    this.detail = make("div", { class: "detail", "aria-live": "polite", "data-hint": "Press a bar to keep its numbers here." });
    const opens = this.rows.some((row) => row.children);
    const tools = zoomTools(time, ...(opens ? [
      make("button", { type: "button", onclick: () => this.openAll(true) }, "open all ranks"),
      make("button", { type: "button", onclick: () => this.openAll(false) }, "close all ranks")] : []));
    place.append(tools, this.pane, classKeys(lines.classes), this.detail);
    this.paint = keepPainted(this.pane, () => this.draw());
    time.listeners.push(this.paint);
    this.pane.addEventListener("scroll", this.paint, { passive: true });
    drive(this.canvas, time, () => this.plot(), (x, y, event) => this.point(x, y, event), (x, y, event) => this.press(x, y, event), {
      ArrowUp: () => this.step(-1), ArrowDown: () => this.step(1), n: () => this.next(1), p: () => this.next(-1),
      Enter: () => this.toggle(this.visible[this.cursor]), " ": () => this.toggle(this.visible[this.cursor]),
    });
    this.layOut();
  }

  openAll(all) {
    this.open = new Set(all ? this.rows.filter((row) => row.children).map((row) => row.index) : []);
    this.layOut();
  }

  toggle(row) {
    if (!row || !row.children) return;
    if (this.open.has(row.index)) this.open.delete(row.index); else this.open.add(row.index);
    this.layOut();
  }

  layOut() {
    this.visible = this.rows.filter((row) => row.parent < 0 || this.open.has(row.parent));
    this.tops = [0];
    for (const row of this.visible) this.tops.push(this.tops[this.tops.length - 1] + (row.parent < 0 ? RANK : GROUP));
    this.total = this.tops[this.visible.length];
    this.height = Math.min(this.total + AXIS + 2, Math.max(160, Math.round(innerHeight * 0.62)));
    this.pane.style.height = `${this.height + 2}px`;
    this.filler.style.height = `${Math.max(0, this.total + AXIS + 2 - this.height)}px`;
    this.cursor = Math.min(this.cursor, this.visible.length - 1);
    this.paint();
  }

  nameOf(row) { return row.parent < 0 ? row.name : row.name.slice(this.rows[row.parent].name.length + 1); }

  plot() {
    const wide = this.canvas.clientWidth;
    return [labelRoom(wide), wide - 6];
  }

  draw() {
    const [pen] = surface(this.canvas, this.height);
    const [left, right] = this.plot(), scroll = this.pane.scrollTop;
    drawTimeAxis(pen, this.time, left, right, AXIS, this.height);
    pen.save();
    pen.beginPath();
    pen.rect(0, AXIS, right + 6, this.height - AXIS);
    pen.clip();
    this.visible.forEach((row, i) => {
      const top = AXIS + this.tops[i] - scroll, tall = this.tops[i + 1] - this.tops[i];
      if (top + tall < AXIS || top > this.height) return;
      this.drawRow(pen, row, left, right, top, tall);
      this.drawName(pen, row, i, left, top, tall);
    });
    pen.restore();
    this.drawCursor(pen, left, right, scroll);
    drawMark(pen, this.canvas, this.height);
    if (!performance.getEntriesByName("timeline").length) performance.mark("timeline");
  }

  drawName(pen, row, i, left, top, tall) {
    if (i === this.cursor) {
      pen.fillStyle = colour("raised");
      pen.fillRect(0, top, left - 4, tall);
    }
    const sign = row.children ? (this.open.has(row.index) ? "▾ " : "▸ ") : "";
    pen.fillStyle = row.parent < 0 ? colour("ink") : colour("soft");
    pen.fillText(fitted(pen, sign + this.nameOf(row), left - (row.parent < 0 ? 10 : 24)), row.parent < 0 ? 6 : 20, top + tall / 2 + 0.5);
  }

  // Bars narrower than a pixel share its height as they share its time.
  drawRow(pen, row, left, right, top, tall) {
    const { begin, stop } = this.time, scale = (right - left) / (stop - begin);
    const colours = this.lines.classes.map((each) => colour(`k${each.colour}`)), covered = new Float64Array(colours.length);
    const y = top + 1, high = tall - 2;
    let pixel = -1, sum = 0;
    const flush = () => {
      let at = y;
      for (let k = 0; pixel >= 0 && k < covered.length; k += 1) {
        const part = (covered[k] / sum) * high;
        pen.fillStyle = colours[k];
        if (part > 0) pen.fillRect(left + pixel, at, 1, part);
        at += part;
      }
      covered.fill(0);
      sum = 0;
      pixel = -1;
    };
    const add = (here, kind, share) => {
      if (here !== pixel) flush();
      pixel = here;
      covered[kind] += share;
      sum += share;
    };
    for (let i = firstAfter(row.stops, begin); i < row.begins.length && row.begins[i] <= stop; i += 1) {
      const from = Math.max(0, (row.begins[i] - begin) * scale), to = Math.min(right - left, (row.stops[i] - begin) * scale);
      if (to - from < 1) {
        const last = Math.floor(right - left) - 1, here = Math.min(Math.floor(from), last), inside = Math.min(to, here + 1);
        add(here, row.kind[i], inside - from + 1e-9);
        if (to > inside) add(Math.min(here + 1, last), row.kind[i], to - inside);
      } else {
        flush();
        pen.fillStyle = colours[row.kind[i]];
        // A sliver between long bars tells equal neighbours apart.
        pen.fillRect(left + from, y, to - from > 4 ? to - from - 0.7 : to - from, high);
        if (to - from > 60 && tall >= RANK) this.drawText(pen, row, i, left + from, to - from, top + tall / 2 + 0.5);
      }
    }
    flush();
  }

  drawText(pen, row, i, x, wide, y) {
    const [, reason, what] = this.lines.labels[row.label[i]];
    const [red, green, blue] = channels(colour(`k${this.lines.classes[row.kind[i]].colour}`));
    pen.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#111111" : "#ffffff";
    const text = fitted(pen, what || reason, wide - 10);
    if (text.length > 3) pen.fillText(text, x + 5, y);
  }

  drawCursor(pen, left, right, scroll) {
    if (this.cursor < 0 || this.bar < 0) return;
    const row = this.visible[this.cursor], scale = (right - left) / (this.time.stop - this.time.begin);
    if (!row || this.bar >= row.begins.length) return;
    const from = Math.max(left, left + (row.begins[this.bar] - this.time.begin) * scale);
    const to = Math.min(right, left + (row.stops[this.bar] - this.time.begin) * scale);
    if (to < left || from > right) return;
    pen.strokeStyle = colour("ink");
    pen.lineWidth = 2;
    pen.strokeRect(from - 1, AXIS + this.tops[this.cursor] - scroll + 1, Math.max(3, to - from + 2), this.tops[this.cursor + 1] - this.tops[this.cursor] - 2);
    pen.lineWidth = 1;
  }

  rowAt(y) {
    if (y < AXIS) return -1;
    return firstAfter(this.tops, y - AXIS + this.pane.scrollTop) - 1;
  }

  barAt(row, x) {
    const [left, right] = this.plot();
    const at = this.time.begin + ((x - left) / (right - left)) * (this.time.stop - this.time.begin);
    const pixel = (this.time.stop - this.time.begin) / (right - left);
    const i = Math.min(row.stops.length - 1, firstAfter(row.stops, at - pixel / 2));
    return i >= 0 && row.begins[i] <= at + pixel ? i : -1;
  }

  point(x, y, event) {
    const row = this.visible[this.rowAt(y)];
    if (!row) return hideTip();
    const bar = x < this.plot()[0] ? -1 : this.barAt(row, x);
    const text = bar >= 0 ? this.about(row, bar).join("\n") : row.name + (row.children ? `: ${row.children} rows below it` : "");
    return showTip(text, event.clientX, event.clientY);
  }

  press(x, y, event) {
    const i = this.rowAt(y), row = this.visible[i];
    if (!row) return;
    this.cursor = i;
    if (x < this.plot()[0]) { this.bar = -1; this.toggle(row); return; }
    this.bar = this.barAt(row, x);
    this.tell();
    this.point(x, y, event);
  }

  about(row, bar) {
    const [activity, reason, what] = this.lines.labels[row.label[bar]], begin = row.begins[bar], stop = row.stops[bar];
    const count = row.count ? row.count[bar] : 1, gathered = count > 1 || stop - begin < this.lines.merged;
    const named = `${activity}${reason ? ` (${reason})` : ""}${what ? `: ${what}` : ""}`;
    const where = gathered ? `within ${told("time", this.lines.merged)} of ${told("time", begin, 8)}` : `from ${told("time", begin, 8)} to ${told("time", stop, 8)}`;
    return [
      row.name, count > 1 ? `${count} short spans of ${this.lines.classes[row.kind[bar]].name}; the longest: ${named}` : named,
      `${told("time", stop - begin)}${count > 1 ? " in all" : ""}, ${where}`,
    ];
  }

  tell() {
    const row = this.visible[this.cursor];
    this.detail.textContent = row ? (this.bar >= 0 ? this.about(row, this.bar).join(" · ") : row.name) : "";
    this.paint();
  }

  step(by) {
    this.cursor = Math.max(0, Math.min(this.visible.length - 1, this.cursor + by));
    this.bar = -1;
    const top = this.tops[this.cursor], below = this.tops[this.cursor + 1];
    if (top < this.pane.scrollTop) this.pane.scrollTop = top;
    if (below + AXIS > this.pane.scrollTop + this.height) this.pane.scrollTop = below + AXIS - this.height + 2;
    this.tell();
  }

  next(by) {
    if (this.cursor < 0) this.cursor = 0;
    const row = this.visible[this.cursor];
    if (!row || !row.begins.length) return;
    const first = firstAfter(row.stops, this.time.begin);
    this.bar = this.bar < 0 ? Math.min(first, row.begins.length - 1) : Math.max(0, Math.min(row.begins.length - 1, this.bar + by));
    const begin = row.begins[this.bar], stop = row.stops[this.bar], width = this.time.stop - this.time.begin;
    if (begin >= this.time.stop || stop <= this.time.begin) this.time.show((begin + stop - width) / 2, (begin + stop + width) / 2);
    this.tell();
  }
}

function unpacked(row) {
  const begins = new Float64Array(row.gap.length), stops = new Float64Array(row.gap.length);
  let now = 0;
  for (let i = 0; i < begins.length; i += 1) {
    begins[i] = now + row.gap[i];
    now = begins[i] + row.length[i];
    stops[i] = now;
  }
  return { name: row.name, parent: row.parent, kind: row.kind, label: row.label, count: row.count, begins, stops };
}

// The first place at which a rising list is above `value`.
function firstAfter(list, value) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] > value) high = middle; else low = middle + 1;
  }
  return low;
}

CHARTS.timeline = (place, data, label) => new Timeline(place, data, label, windowOf(Number(place.dataset.end) || data.end, place.dataset.window));
