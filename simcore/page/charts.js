// Charts of numbers: a frame with axes.

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
