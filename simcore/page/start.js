// Puts every chart in its place.

const CHARTS = {
  timeline: (place, data, label) => new Timeline(place, data, label, windowOf(Number(place.dataset.end) || data.end, place.dataset.window)),
  links: (place, data, label) => new Lanes(place, data, label, windowOf(Number(place.dataset.end) || data.end, place.dataset.window)),
  matrix: (place, data, label) => new Matrix(place, data, label),
  shares: (place, data, label) => new Shares(place, data, label),
  reads: readsChart,
  delays: delaysChart,
};

startTips();
startTables();
for (const place of document.querySelectorAll(".chart")) {
  const data = NUMBERS[place.dataset.source];
  if (data) CHARTS[place.dataset.chart](place, data, place.dataset.label);
}
startTheme();
document.documentElement.setAttribute("data-ready", String(Math.round(performance.now())));
