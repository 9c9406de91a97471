// Where the time of each rank went, and how its flags were read.

class Shares {
  constructor(place, data, label) {
    this.data = data;
    this.row = data.rows.length > 24 ? 16 : 24;
    keepLabels(data.rows.map((row) => row.name));
    this.canvas = make("canvas", { role: "img", "aria-label": `${label}; the table of ranks holds the numbers` });
    this.filler = make("div");
    this.pane = make("div", { class: "pane" }, this.canvas, this.filler);
    this.total = AXIS + this.row * data.rows.length + 4;
    this.height = Math.min(this.total, 420);
    this.pane.style.height = `${this.height + 2}px`;
    this.filler.style.height = `${this.total - this.height}px`;
    place.append(make("h3", {}, "Where the time went"), this.pane, classKeys(data.classes));
    this.paint = keepPainted(this.pane, () => this.draw());
    this.pane.addEventListener("scroll", this.paint, { passive: true });
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerdown", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", hideTip);
  }

  draw() {
    const [pen, wide] = surface(this.canvas, this.height), left = labelRoom(wide), right = wide - 6;
    const scale = (right - left) / this.data.end;
    drawTimeAxis(pen, { begin: 0, stop: this.data.end }, left, right, AXIS, this.height);
    pen.beginPath();
    pen.rect(0, AXIS, wide, this.height - AXIS);
    pen.save();
    pen.clip();
    this.data.rows.forEach((row, i) => {
      const y = AXIS + i * this.row - this.pane.scrollTop;
      if (y + this.row < AXIS || y > this.height) return;
      pen.fillStyle = colour("ink");
      pen.fillText(fitted(pen, row.name, left - 10), 6, y + this.row / 2);
      let x = left;
      row.times.forEach((time, k) => {
        pen.fillStyle = colour(`k${this.data.classes[k].colour}`);
        pen.fillRect(x, y + 2, time * scale, this.row - 4);
        x += time * scale;
      });
    });
    pen.restore();
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect(), y = event.clientY - box.top;
    const row = y < AXIS ? undefined : this.data.rows[Math.floor((y - AXIS + this.pane.scrollTop) / this.row)];
    if (!row) return hideTip();
    const lines = row.times.map((time, k) => [time, this.data.classes[k].name]).filter(([time]) => time > 0);
    return showTip([row.name, ...lines.map(([time, name]) => `${name}: ${told("time", time)} (${percent(time / this.data.end)})`)].join("\n"), event.clientX, event.clientY);
  }
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
