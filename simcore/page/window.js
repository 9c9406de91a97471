// The stretch of time that charts show together, and the ways to move it: mouse, fingers, keyboard.

class TimeWindow {
  constructor(end) {
    this.end = end;
    this.begin = 0;
    this.stop = end;
    this.least = Math.min(end, 20);
    this.listeners = [];
  }

  show(begin, stop) {
    const width = Math.min(this.end, Math.max(this.least, stop - begin));
    this.begin = Math.max(0, Math.min(begin, this.end - width));
    this.stop = this.begin + width;
    for (const told of this.listeners) told();
  }

  zoom(factor, at = (this.begin + this.stop) / 2) {
    this.show(at - (at - this.begin) * factor, at + (this.stop - at) * factor);
  }

  move(share) {
    const by = (this.stop - this.begin) * share;
    this.show(this.begin + by, this.stop + by);
  }

  reset() { this.show(0, this.end); }
}

// Names stand left of bars; the charts of a page leave them equal room, so that their time axes are one above the other.
const measure = document.createElement("canvas").getContext("2d");
let widest = 0;
function keepLabels(names) {
  measure.font = FONT;
  for (const name of [...names].sort((a, b) => b.length - a.length).slice(0, 20)) widest = Math.max(widest, measure.measureText(name).width);
}
const labelRoom = (wide) => Math.round(Math.min(widest + 18, 260, 0.4 * wide));

function classKeys(classes) {
  const items = classes.map(({ name, colour: number }) => {
    const swatch = make("i"), paint = () => { swatch.style.background = colour(`k${number}`); };
    painters.push(paint);
    paint();
    return make("li", {}, swatch, name);
  });
  return make("ul", { class: "keys", "aria-label": "colours" }, ...items);
}

const windows = {};
function windowOf(end, name = "") {
  const key = `${name} ${end}`;
  windows[key] = windows[key] || new TimeWindow(end);
  return windows[key];
}

// `plot()` gives [left, right] of the time axis in the canvas; `point(x, y)` is told where a tip is wanted, and
// `press(x, y)` of a click, which it may use up.
function drive(canvas, time, plot, point, press, keys) {
  const fingers = new Map();
  let held = null, box = null;
  const at = (x) => {
    const [left, right] = plot();
    return time.begin + ((x - left) / (right - left)) * (time.stop - time.begin);
  };
  const place = (event) => {
    const frame = canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    const [x, y] = place(event);
    fingers.set(event.pointerId, x);
    if (fingers.size === 2) held = { spread: spread(), begin: time.begin, stop: time.stop, middle: at(middle()) };
    else held = { x, y, begin: time.begin, stop: time.stop, moved: false };
    box = event.shiftKey && fingers.size === 1 ? x : null;
    canvas.setPointerCapture(event.pointerId);
  });
  const spread = () => { const [a, b] = [...fingers.values()]; return Math.max(8, Math.abs(a - b)); };
  const middle = () => { const [a, b] = [...fingers.values()]; return (a + b) / 2; };
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    if (!fingers.has(event.pointerId) || !held) return point(x, y, event);
    fingers.set(event.pointerId, x);
    const [left, right] = plot();
    if (fingers.size === 2 && held.spread) {
      const width = ((held.stop - held.begin) * held.spread) / spread();
      const begin = held.middle - (width * (middle() - left)) / (right - left);
      time.show(begin, begin + width);
    } else if (!held.spread && Math.abs(x - held.x) > 3) {
      held.moved = true;
      hideTip();
      if (box !== null) return marks.set(canvas, [box, x]), repaintOf(time);
      const by = ((held.x - x) / (right - left)) * (held.stop - held.begin);
      time.show(held.begin + by, held.stop + by);
    }
    return undefined;
  });
  const release = (event) => {
    const [x, y] = place(event);
    fingers.delete(event.pointerId);
    if (box !== null && held && held.moved) {
      marks.delete(canvas);
      time.show(Math.min(at(box), at(x)), Math.max(at(box), at(x)));
    } else if (event.type === "pointerup" && held && !held.moved && !held.spread) press(x, y, event);
    box = null;
    held = null;
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("dblclick", (event) => time.zoom(0.5, at(place(event)[0])));
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      time.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.01), at(place(event)[0]));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      time.move(event.deltaX / 600);
    }
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      ArrowLeft: () => time.move(-0.2), ArrowRight: () => time.move(0.2), "+": () => time.zoom(0.5), "=": () => time.zoom(0.5),
      "-": () => time.zoom(2), 0: () => time.reset(), Home: () => time.reset(), Escape: () => time.reset(), ...keys,
    };
    if (!(event.key in acts)) return;
    event.preventDefault();
    acts[event.key]();
  });
}

const marks = new Map();
const repaintOf = (time) => { for (const told of time.listeners) told(); };

function drawMark(pen, canvas, height) {
  const mark = marks.get(canvas);
  if (!mark) return;
  pen.globalAlpha = 0.2;
  pen.fillStyle = colour("accent");
  pen.fillRect(Math.min(...mark), 0, Math.abs(mark[1] - mark[0]), height);
  pen.globalAlpha = 1;
}

function drawTimeAxis(pen, time, left, right, y, height) {
  const scale = (right - left) / (time.stop - time.begin);
  const [found, step] = ticks(time.begin, time.stop, Math.max(2, (right - left) / 110));
  const [unit, length] = unitOf("time", time.stop);
  const decimals = Math.max(0, Math.min(9, Math.ceil(-Math.log10(step / length) - 1e-9)));
  pen.fillStyle = colour("soft");
  pen.strokeStyle = colour("line");
  pen.textAlign = "center";
  pen.beginPath();
  for (const each of found) {
    const x = left + (each - time.begin) * scale;
    pen.moveTo(x + 0.5, y);
    pen.lineTo(x + 0.5, height);
    const text = `${(each / length + 0).toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals })} ${unit}`;
    const half = pen.measureText(text).width / 2;
    if (x - half > left - 30 && x + half < right + 4) pen.fillText(text, x, y / 2);
  }
  pen.stroke();
  pen.textAlign = "left";
}

function zoomTools(time, ...more) {
  const button = (text, label, act) => make("button", { type: "button", "aria-label": label, onclick: act }, text);
  return make("div", { class: "tools" },
    button("+", "zoom in", () => time.zoom(0.5)), button("−", "zoom out", () => time.zoom(2)),
    button("←", "earlier", () => time.move(-0.5)), button("→", "later", () => time.move(0.5)),
    button("all", "show all of the time", () => time.reset()), ...more);
}
