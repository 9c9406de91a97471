"use strict";
// What every chart stands on: the embedded numbers, units, colours, the tip, the theme, sortable tables.

// By kind, what draws it: (place, data, label).
const CHARTS = {};
const NUMBERS = JSON.parse(document.getElementById("numbers").textContent);
const UNITS = {
  time: [["s", 1e12], ["ms", 1e9], ["us", 1e6], ["ns", 1e3], ["ps", 1]],
  size: [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3], ["B", 1]],
  rate: [["TB/s", 1e12], ["GB/s", 1e9], ["MB/s", 1e6], ["kB/s", 1e3], ["B/s", 1]],
  count: [["", 1]],
};

function unitOf(dimension, largest) {
  const units = UNITS[dimension];
  return units.find(([, length]) => Math.abs(largest) >= length) || units[units.length - 1];
}

const formats = new Map();
// `digits` significant digits, thousands apart, never an exponent below 1e15.
function plain(value, digits = 4) {
  if (!Number.isFinite(value)) return String(value);
  if (value !== 0 && (Math.abs(value) >= 1e15 || Math.abs(value) < 1e-6)) return value.toExponential(digits - 1);
  const most = Math.max(digits, Math.ceil(Math.log10(Math.abs(value) + 1)));
  // Made once: making a format takes longer than a thousand uses of it.
  if (!formats.has(most)) formats.set(most, new Intl.NumberFormat("en-US", { maximumSignificantDigits: most }));
  return formats.get(most).format(value);
}

function told(dimension, value, digits = 4) {
  const [unit, length] = unitOf(dimension, value);
  return `${plain(value / length, digits)}${unit ? " " + unit : ""}`;
}

const percent = (share) => `${plain(100 * share, 3)} %`;

function make(tag, about = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(about)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  // Text goes in as text: nothing in it can become markup.
  made.append(...inside);
  return made;
}

// ---- colours, read from the style sheet so that both themes have their own

let palette = {};
function colour(name) {
  if (!(name in palette)) palette[name] = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return palette[name];
}

function channels(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

// 256 colours from nothing to full scale; they follow the square root, so that little is not taken for nothing.
function ramp() {
  if (palette.ramp) return palette.ramp;
  const stops = ["h0", "h1", "h2", "h3", "h4"].map((name) => channels(colour(name)));
  palette.ramp = Array.from({ length: 256 }, (_, i) => {
    if (i === 0) return stops[0];
    const at = 1 + 3 * Math.sqrt(i / 255), low = Math.min(3, Math.floor(at));
    return stops[low].map((from, c) => Math.round(from + (stops[low + 1][c] - from) * (at - low)));
  });
  return palette.ramp;
}

const heat = (share) => `rgb(${ramp()[share > 0 ? Math.max(1, Math.min(255, Math.round(255 * share))) : 0].join(",")})`;

// ---- the theme: the system's, light or dark

const painters = [];
const repaint = () => { palette = {}; for (const paint of painters) paint(); };
const THEMES = ["system", "light", "dark"];

function startTheme() {
  const button = document.getElementById("theme");
  const show = (name) => {
    if (name === "system") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", name);
    button.textContent = `theme: ${name}`;
    repaint();
  };
  // A browser may keep no storage for files; then the theme holds as long as the page does.
  let now = "system";
  try { now = THEMES.includes(localStorage.getItem("simcore-theme")) ? localStorage.getItem("simcore-theme") : now; } catch { /* none */ }
  button.addEventListener("click", () => {
    now = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    try { localStorage.setItem("simcore-theme", now); } catch { /* none */ }
    show(now);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  show(now);
}

// ---- the tip

const tip = document.getElementById("tip");
function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 4))}px`;
  tip.style.top = `${y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 10) : y + 18}px`;
}
const hideTip = () => { tip.hidden = true; };

function startTips() {
  document.addEventListener("pointermove", (event) => {
    const about = event.target.closest && event.target.closest("[data-tip]");
    if (about) showTip(about.getAttribute("data-tip"), event.clientX, event.clientY);
    else if (event.target.tagName !== "CANVAS") hideTip();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  addEventListener("scroll", hideTip, { passive: true, capture: true });
}

// ---- chapters: whoever is led to one finds it open

function startChapters() {
  const open = (anchor) => {
    const chapter = anchor && document.getElementById(anchor), inside = chapter && chapter.querySelector(".chapter");
    if (inside) inside.open = true;
  };
  document.querySelector("nav").addEventListener("click", (event) => open(event.target.hash && event.target.hash.slice(1)));
  addEventListener("hashchange", () => open(location.hash.slice(1)));
}

// ---- canvases: as many pixels as the screen has, drawn again when their width changes

const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
function surface(canvas, height) {
  const wide = canvas.clientWidth, scale = Math.min(3, devicePixelRatio || 1);
  if (canvas.width !== Math.round(wide * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(wide * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, wide, height);
  pen.font = FONT;
  pen.textBaseline = "middle";
  return [pen, wide];
}

function keepPainted(place, paint) {
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    // In a closed chapter there is no room to draw in; it is painted when it opens.
    requestAnimationFrame(() => { waiting = false; if (place.clientWidth) paint(); });
  };
  painters.push(soon);
  new ResizeObserver(soon).observe(place);
  return soon;
}

function fitted(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let keep = text.length;
  while (keep > 1 && pen.measureText(text.slice(0, keep) + "…").width > room) keep -= 1;
  return text.slice(0, keep) + "…";
}

// About `most` round numbers from low to high.
function ticks(low, high, most) {
  const rough = (high - low) / Math.max(1, most) || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((part) => part * power).find((each) => each >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) found.push(i * step + 0);
  return [found, step];
}

// ---- tables

function startTables() {
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = make("button", { type: "button", onclick: () => sortBy(table, head, column) }, ...head.childNodes);
      head.replaceChildren(button);
    });
  }
  for (const field of document.querySelectorAll(".filter")) {
    const rows = () => field.parentElement.querySelector("tbody").rows;
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows()) {
        const text = row.textContent.toLowerCase();
        row.hidden = !wanted.every((word) => text.includes(word));
      }
    });
  }
}

function sortBy(table, head, column) {
  const up = head.getAttribute("aria-sort") !== "ascending" && !(head.getAttribute("aria-sort") === null && head.classList.contains("number"));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map((row) => [orderOf(row.cells[column]), row]);
  rows.sort(([a], [b]) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true })));
  if (!up) rows.reverse();
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

function orderOf(cell) {
  const order = cell.dataset.order;
  const text = order === undefined ? cell.textContent : order;
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}
