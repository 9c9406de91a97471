// Charts of numbers: shares of time, curves and histograms.

class Shares {
  constructor(place, data, label) {
    this.data = data;
    this.row = data.rows.length > 24 ? 14 : 24;
    this.canvas = make("canvas", { role: "img", "aria-label": `${label}; the table of ranks holds the numbers` });
    this.filler = make("div");
    this.pane = make("div", { class: "pane" }, this.canvas, this.filler);
    this.total = this.row * data.rows.length + 4;
    this.height = Math.min(this.total, 420);
    this.pane.style.height = `${this.height + 2}px`;
    this.filler.style.height = `${this.total - this.height}px`;
    const items = data.classes.map(({ name, colour: number }) => {
      const swatch = make("i"), paint = () => { swatch.style.background = colour(`k${number}`); };
      painters.push(paint);
      paint();
      return make("li", {}, swatch, name);
    });
    place.append(make("h3", {}, "Where the time went"), this.pane, make("ul", { class: "keys" }, ...items));
    this.paint = keepPainted(this.pane, () => this.draw());
    this.pane.addEventListener("scroll", this.paint, { passive: true });
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerdown", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", hideTip);
  }

  left() { return Math.round(Math.min(190, Math.max(70, this.canvas.clientWidth * 0.2))); }

  draw() {
    const [pen, wide] = surface(this.canvas, this.height), left = this.left(), scale = (wide - left - 8) / this.data.end;
    this.data.rows.forEach((row, i) => {
      const y = 2 + i * this.row - this.pane.scrollTop;
      if (y + this.row < 0 || y > this.height) return;
      pen.fillStyle = colour("ink");
      pen.fillText(fitted(pen, row.name, left - 10), 6, y + this.row / 2);
      let x = left;
      row.times.forEach((time, k) => {
        pen.fillStyle = colour(`k${this.data.classes[k].colour}`);
        pen.fillRect(x, y + 2, time * scale, this.row - 4);
        x += time * scale;
      });
    });
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const row = this.data.rows[Math.floor((event.clientY - box.top - 2 + this.pane.scrollTop) / this.row)];
    if (!row) return hideTip();
    const lines = row.times.map((time, k) => [time, this.data.classes[k].name]).filter(([time]) => time > 0);
    return showTip([row.name, ...lines.map(([time, name]) => `${name}: ${told("time", time)} (${percent(time / this.data.end)})`)].join("\n"), event.clientX, event.clientY);
  }
}

// A frame with axes, in which `draw(pen, x, y)` draws; x and y give pixels for values.
class Axes {
  constructor(place, label, about) {
    Object.assign(this, { height: 240, left: 62, right: 12, top: 12, bottom: 40, ...about });
    this.canvas = make("canvas", { role: "img", "aria-label": label, tabindex: this.step ? "0" : false });
    this.place = place;
    place.append(make("div", { class: "flat" }, this.canvas));
    this.paint = keepPainted(place, () => this.redraw());
    const tell = (event) => {
      const box = this.canvas.getBoundingClientRect();
      const text = this.near && this.near(event.clientX - box.left, event.clientY - box.top);
      if (text) showTip(text, event.clientX, event.clientY); else hideTip();
    };
    this.canvas.addEventListener("pointermove", tell);
    this.canvas.addEventListener("pointerdown", tell);
    this.canvas.addEventListener("pointerleave", hideTip);
  }

  redraw() {
    const [pen, wide] = surface(this.canvas, this.height);
    this.wide = wide;
    const marks = this.marksY || marksOf(this.ys, this.logY, this.dimensionY, 5);
    // The name of what goes up stands above the plot, where it needs no turned text.
    const top = this.nameY ? this.top + 22 : this.top;
    if (this.nameY) this.left = Math.ceil(Math.max(30, ...marks.map(([, text]) => pen.measureText(text).width))) + 14;
    const across = scaled(this.xs, this.left, wide - this.right, this.logX), up = scaled(this.ys, this.height - this.bottom, top, this.logY);
    this.x = across;
    this.y = up;
    pen.strokeStyle = colour("line");
    pen.lineWidth = 1;
    pen.fillStyle = colour("soft");
    if (this.nameY) pen.fillText(fitted(pen, this.nameY, wide - 8), 4, 10);
    pen.textAlign = "right";
    for (const [value, text] of marks) {
      pen.beginPath();
      pen.moveTo(this.left, Math.round(up(value)) + 0.5);
      pen.lineTo(wide - this.right, Math.round(up(value)) + 0.5);
      pen.stroke();
      pen.fillText(text, this.left - 6, up(value));
    }
    pen.textAlign = "center";
    const below = this.marksX || marksOf(this.xs, this.logX, this.dimensionX, Math.max(2, Math.floor((wide - this.left) / 90)));
    // Words that would touch stand in two rows.
    const room = (wide - this.left - this.right) / below.length - 6, rows = this.wordsX && below.some(([, text]) => pen.measureText(text).width > room) ? 2 : 1;
    let taken = -Infinity;
    below.forEach(([value, text], i) => {
      const shown = rows > 1 ? fitted(pen, text, 2 * room) : text, half = pen.measureText(shown).width / 2 + 2;
      const at = Math.max(half, Math.min(wide - half, across(value)));
      // Of numbers that would touch, the later goes unsaid.
      if (rows === 1 && at - half < taken) return;
      taken = at + half + 4;
      pen.fillText(shown, at, this.height - this.bottom + 12 + (i % rows) * 15);
    });
    pen.fillText(fitted(pen, this.nameX, wide - 8), (this.left + wide - this.right) / 2, this.height - 9);
    pen.textAlign = "left";
    this.draw(pen, across, up, this);
  }
}

function scaled([low, high], from, to, log) {
  const turned = log ? Math.log10 : (value) => value;
  const span = turned(high) - turned(low) || 1;
  return (value) => from + ((turned(value) - turned(low)) / span) * (to - from);
}

// Round values from low to high as [value, text], at most about `most`.
function marksOf([low, high], log, dimension, most) {
  if (log) {
    // Steps of one to two and three look uneven over more than a decade.
    const finest = high / low < 10 ? [[1, 2, 3, 5, 7]] : [];
    for (const parts of [...finest, [1, 2, 5], [1, 3], [1]]) {
      const found = powers(low, high, parts);
      if (found.length < 2) break;
      if (found.length <= most) return found.map((value) => [value, told(dimension, value)]);
      const every = Math.ceil(found.length / most);
      if (parts.length === 1) return found.filter((_, i) => i % every === 0).map((value) => [value, told(dimension, value)]);
    }
  }
  const [unit, length] = unitOf(dimension, high), [found, step] = ticks(low / length, high / length, most);
  // As many digits as tell one from the next.
  const digits = Math.max(3, Math.ceil(Math.log10((Math.abs(high) / length || 1) / step)) + 1);
  return found.map((value) => [value * length, `${plain(value, digits)}${unit ? ` ${unit}` : ""}`]);
}

function powers(low, high, parts) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high) + 1e-9; power += 1) {
    found.push(...parts.map((part) => part * 10 ** power).filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)));
  }
  return found;
}

function readsChart(place, data, label) {
  const most = Math.max(1, ...data.y);
  place.append(make("h3", {}, "Reads so far"));
  return new Axes(place, label, {
    xs: [0, data.x[data.x.length - 1]], ys: [0, most], dimensionX: "time", dimensionY: "count", nameX: "simulated time", left: 84,
    near(x) {
      const at = (x - this.left) / (this.wide - this.right - this.left), i = Math.round(at * (data.x.length - 1));
      return i >= 0 && i < data.x.length ? `${plain(Math.round(data.y[i]), 9)} reads by ${told("time", data.x[i])}` : "";
    },
    draw(pen, x, y) {
      pen.beginPath();
      data.x.forEach((at, i) => pen.lineTo(x(at), y(data.y[i])));
      pen.strokeStyle = colour("bar");
      pen.lineWidth = 2;
      pen.stroke();
      pen.lineTo(x(data.x[data.x.length - 1]), y(0));
      pen.lineTo(x(0), y(0));
      pen.globalAlpha = 0.15;
      pen.fillStyle = colour("bar");
      pen.fill();
      pen.globalAlpha = 1;
      pen.lineWidth = 1;
    },
  });
}

function delaysChart(place, data, label) {
  if (!data.counts.length) return place.append(make("p", { class: "hint" }, "Every flag was set before anybody waited for it."));
  const { edges, counts } = data, log = edges[edges.length - 1] > 4 * Math.max(1, edges[0]);
  place.append(make("h3", {}, "Waits by the time from flag set to flag seen"));
  return new Axes(place, label, {
    xs: [edges[0], edges[edges.length - 1]], ys: [0, Math.max(...counts)], logX: log, dimensionX: "time", dimensionY: "count", nameX: "delay", height: 200,
    near(x) {
      const i = edges.findIndex((edge) => this.x(edge) > x) - 1;
      return i >= 0 ? `${plain(counts[i], 9)} waits: ${told("time", edges[i], 3)} to ${told("time", edges[i + 1], 3)}` : "";
    },
    draw(pen, x, y) {
      pen.fillStyle = colour("bar");
      counts.forEach((count, i) => pen.fillRect(x(edges[i]), y(count), Math.max(1, x(edges[i + 1]) - x(edges[i]) - 1), y(0) - y(count)));
    },
  });
}

CHARTS.shares = (place, data, label) => new Shares(place, data, label);
CHARTS.reads = readsChart;
CHARTS.delays = delaysChart;
