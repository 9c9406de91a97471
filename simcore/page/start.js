// Puts every chart in its place.

startTips();
startChapters();
startTables();
for (const place of document.querySelectorAll(".chart")) {
  const data = NUMBERS[place.dataset.source];
  if (data) CHARTS[place.dataset.chart](place, data, place.dataset.label);
}
startTheme();
document.documentElement.setAttribute("data-ready", String(Math.round(performance.now())));
