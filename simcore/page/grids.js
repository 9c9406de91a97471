// Colours in rows and columns: links over time, and bytes from rank to rank.

const FULL = 65535;

function shares16(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const found = new Uint16Array(bytes.length / 2);
  for (let i = 0; i < found.length; i += 1) found[i] = bytes[2 * i] | (bytes[2 * i + 1] << 8);
  return found;
}

function scaleBar(low, high) {
  const canvas = make("canvas", { class: "ramp", width: "256", height: "1", "aria-hidden": "true" });
  const paint = () => {
    const pen = canvas.getContext("2d");
    for (let i = 0; i < 256; i += 1) {
      pen.fillStyle = heat(i / 255);
      pen.fillRect(i, 0, 1, 1);
    }
  };
  painters.push(paint);
  paint();
  const top = make("span", {}, high);
  return [make("p", { class: "legend" }, `${low} `, canvas, " ", top), top];
}

class Lanes {
  constructor(place, data, label, time) {
    this.data = data;
    this.time = time;
    this.tables = { busy: shares16(data.busy), rate: shares16(data.rate) };
    this.what = "busy";
    this.row = data.names.length > 40 ? 16 : 18;
    keepLabels(data.names);
    this.canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": `${label}: arrows move, plus and minus zoom` });
    this.filler = make("div");
    this.pane = make("div", { class: "pane" }, this.canvas, this.filler);
    const choice = make("select", { onchange: (event) => { this.what = event.target.value; this.name(); this.paint(); } },
      make("option", { value: "busy" }, "utilisation"), make("option", { value: "rate" }, "rate"));
    const [legend, top] = scaleBar("0", "");
    this.top = top;
    place.append(zoomTools(time, make("label", {}, "show", choice)), this.pane, legend);
    this.total = this.row * data.names.length;
    this.height = Math.min(this.total + AXIS + 2, Math.max(160, Math.round(innerHeight * 0.6)));
    this.pane.style.height = `${this.height + 2}px`;
    this.filler.style.height = `${Math.max(0, this.total + AXIS + 2 - this.height)}px`;
    this.paint = keepPainted(this.pane, () => this.draw());
    time.listeners.push(this.paint);
    this.pane.addEventListener("scroll", this.paint, { passive: true });
    drive(this.canvas, time, () => this.plot(), (x, y, event) => this.point(x, y, event), (x, y, event) => this.point(x, y, event), {
      ArrowUp: () => { this.pane.scrollTop -= 3 * this.row; }, ArrowDown: () => { this.pane.scrollTop += 3 * this.row; },
    });
    this.name();
  }

  name() { this.top.textContent = this.what === "busy" ? "100 %" : told("rate", this.data.most); }

  plot() {
    const wide = this.canvas.clientWidth;
    return [labelRoom(wide), wide - 6];
  }

  draw() {
    const [pen] = surface(this.canvas, this.height), [left, right] = this.plot(), scroll = this.pane.scrollTop;
    const wide = Math.max(1, Math.round((right - left) * Math.min(3, devicePixelRatio || 1)));
    pen.save();
    pen.beginPath();
    pen.rect(0, AXIS, right + 6, this.height - AXIS);
    pen.clip();
    const first = Math.floor(scroll / this.row), last = Math.min(this.data.names.length, Math.ceil((scroll + this.height) / this.row));
    if (last > first) this.drawCells(pen, first, last, wide, left, right, scroll);
    pen.fillStyle = colour("ink");
    for (let i = first; i < last; i += 1) {
      const y = AXIS + i * this.row - scroll;
      pen.fillStyle = colour("ground");
      pen.fillRect(left, y + this.row - 1, right - left, 1);
      pen.fillStyle = colour("ink");
      pen.fillText(fitted(pen, this.data.names[i], left - 10), 6, y + this.row / 2);
    }
    pen.restore();
    drawTimeAxis(pen, this.time, left, right, AXIS, AXIS);
    drawMark(pen, this.canvas, this.height);
  }

  // One pixel a column, the mean of the bins in it.
  drawCells(pen, first, last, wide, left, right, scroll) {
    const { bins, width } = this.data, table = this.tables[this.what], colours = ramp();
    const image = new ImageData(wide, last - first), step = (this.time.stop - this.time.begin) / wide / width;
    for (let i = first; i < last; i += 1) {
      for (let x = 0; x < wide; x += 1) {
        const from = Math.floor(this.time.begin / width + x * step), to = Math.max(from + 1, Math.floor(this.time.begin / width + (x + 1) * step));
        let sum = 0;
        for (let b = from; b < to && b < bins; b += 1) sum += table[i * bins + b];
        const value = sum / (to - from) / FULL, at = 4 * ((i - first) * wide + x);
        const [red, green, blue] = colours[value > 0 ? Math.max(1, Math.min(255, Math.round(255 * value))) : 0];
        image.data[at] = red;
        image.data[at + 1] = green;
        image.data[at + 2] = blue;
        image.data[at + 3] = 255;
      }
    }
    const sheet = make("canvas", { width: wide, height: last - first });
    sheet.getContext("2d").putImageData(image, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(sheet, left, AXIS + first * this.row - scroll, right - left, (last - first) * this.row);
  }

  point(x, y, event) {
    const i = Math.floor((y - AXIS + this.pane.scrollTop) / this.row), [left, right] = this.plot();
    if (y < AXIS || i < 0 || i >= this.data.names.length) return hideTip();
    const lines = [this.data.names[i]];
    if (x >= left && x <= right) {
      const at = this.time.begin + ((x - left) / (right - left)) * (this.time.stop - this.time.begin);
      const bin = Math.min(this.data.bins - 1, Math.floor(at / this.data.width)), cell = i * this.data.bins + bin;
      lines.push(`${percent(this.tables.busy[cell] / FULL)} busy, ${told("rate", (this.tables.rate[cell] / FULL) * this.data.most)}`);
      lines.push(`${told("time", bin * this.data.width, 6)} to ${told("time", Math.min(this.data.end, (bin + 1) * this.data.width), 6)}`);
    }
    lines.push(`over the run: ${percent(this.data.mean[i])} busy, ${told("size", this.data.size[i])} carried`);
    return showTip(lines.join("\n"), event.clientX, event.clientY);
  }
}

class Matrix {
  constructor(place, data, label) {
    this.names = data.names;
    this.cells = new Map(data.cells.map(([src, dst, size, count]) => [src * data.names.length + dst, [size, count]]));
    this.most = data.cells.reduce((most, cell) => Math.max(most, cell[2]), 1);
    this.longest = Math.max(...data.names.map((name) => name.length));
    this.numbers = data.names.map((name) => (name.match(/\d+/g) || [name]).pop());
    this.digits = Math.max(...this.numbers.map((number) => number.length));
    this.turned = new Set(this.numbers).size < data.names.length;
    this.canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": `${label}: arrows go from pair to pair` });
    this.detail = make("div", { class: "detail", "aria-live": "polite" });
    this.cursor = null;
    const [legend] = scaleBar("0", told("size", this.most));
    place.append(make("div", { class: "flat" }, this.canvas), legend, this.detail);
    this.paint = keepPainted(place, () => this.draw());
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerdown", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", hideTip);
    this.canvas.addEventListener("keydown", (event) => this.step(event));
  }

  // Left and top of the cells, and the side of one.
  frame() {
    const wide = Math.min(this.canvas.clientWidth, 760), left = Math.min(16 + 7 * this.longest, wide * 0.3, 150);
    const side = Math.min(46, (wide - left - 8) / this.names.length);
    return [left, this.turned ? Math.min(14 + 7 * this.longest, 120) : 26, side];
  }

  draw() {
    this.canvas.style.width = "100%";
    const [left, top, side] = this.frame(), count = this.names.length;
    const [pen] = surface(this.canvas, Math.ceil(top + side * count + 4));
    pen.fillStyle = colour("h0");
    pen.fillRect(left, top, side * count, side * count);
    for (const [key, [size]] of this.cells) {
      pen.fillStyle = heat(size / this.most);
      const gap = side > 6 ? 1 : 0;
      pen.fillRect(left + (key % count) * side, top + Math.floor(key / count) * side, Math.max(1, side - gap), Math.max(1, side - gap));
    }
    this.drawNames(pen, left, top, side);
    if (this.cursor) {
      pen.strokeStyle = colour("ink");
      pen.lineWidth = 2;
      pen.strokeRect(left + this.cursor[1] * side, top + this.cursor[0] * side, side, side);
    }
  }

  // Columns are called by their numbers, or, where these are not their own, by their names upwards.
  drawNames(pen, left, top, side) {
    const down = Math.max(1, Math.ceil(15 / side)), across = Math.max(1, Math.ceil((this.turned ? 15 : 8 + 8 * this.digits) / side));
    pen.fillStyle = colour("soft");
    this.names.forEach((name, i) => {
      pen.textAlign = "left";
      if (i % down === 0) pen.fillText(fitted(pen, name, left - 10), 2, top + (i + 0.5) * side);
      if (i % across) return;
      if (this.turned) {
        pen.save();
        pen.translate(left + (i + 0.5) * side, top - 6);
        pen.rotate(-Math.PI / 2);
        pen.fillText(fitted(pen, name, top - 10), 0, 0);
        pen.restore();
      } else {
        pen.textAlign = "center";
        pen.fillText(this.numbers[i], left + (i + 0.5) * side, 12);
      }
    });
    pen.textAlign = "left";
  }

  about(src, dst) {
    const [size, count] = this.cells.get(src * this.names.length + dst) || [0, 0];
    return `${this.names[src]} to ${this.names[dst]}: ${told("size", size)} in ${plain(count, 9)} messages`;
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect(), [left, top, side] = this.frame();
    const dst = Math.floor((event.clientX - box.left - left) / side), src = Math.floor((event.clientY - box.top - top) / side);
    if (src < 0 || dst < 0 || src >= this.names.length || dst >= this.names.length) return hideTip();
    return showTip(this.about(src, dst), event.clientX, event.clientY);
  }

  step(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const last = this.names.length - 1, [down, across] = moves[event.key];
    const [src, dst] = this.cursor || [0, -across];
    this.cursor = [Math.max(0, Math.min(last, src + down)), Math.max(0, Math.min(last, dst + across))];
    this.detail.textContent = this.about(...this.cursor);
    this.paint();
  }
}

CHARTS.links = (place, data, label) => new Lanes(place, data, label, windowOf(Number(place.dataset.end) || data.end, place.dataset.window));
CHARTS.matrix = (place, data, label) => new Matrix(place, data, label);
