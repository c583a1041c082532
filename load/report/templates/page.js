"use strict";
(function () {
  const drawings = JSON.parse(document.getElementById("drawings").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  // Text and grid follow the page's own colours, also when the reader switches.
  function colours() {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const line = style.getPropertyValue("--line").trim();
    const paper = style.getPropertyValue("--paper").trim();
    return {
      "font.color": ink,
      "font.family": getComputedStyle(document.body).fontFamily,
      "xaxis.gridcolor": line, "xaxis.zerolinecolor": line, "xaxis.linecolor": line,
      "yaxis.gridcolor": line, "yaxis.zerolinecolor": line, "yaxis.linecolor": line,
      "modebar.bgcolor": "rgba(0,0,0,0)", "modebar.color": line, "modebar.activecolor": ink,
      "hoverlabel.bgcolor": paper, "hoverlabel.bordercolor": line, "hoverlabel.font.color": ink
    };
  }
  function place(index) { return document.getElementById("plot-" + index); }
  const options = { responsive: true, displaylogo: false };
  drawings.forEach(function (drawing, index) {
    Plotly.newPlot(place(index), drawing.data, drawing.layout, options).then(function (plot) {
      Plotly.relayout(plot, colours());
    });
  });
  dark.addEventListener("change", function () {
    drawings.forEach(function (_, index) { Plotly.relayout(place(index), colours()); });
  });
})();
