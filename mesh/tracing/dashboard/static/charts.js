// Lines over time, by uPlot. Colours are those of the theme, and change with it.

import { h, setText } from "./dom.js";
import { rounded } from "./format.js";

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// format: of the values. set(title, times, lines): lines are [{ label, colour: variable, values }].
export function chart(format, minimum = 0) {
  const title = h("h2");
  const place = h("div", { class: "plot" });
  const element = h("figure", { class: "chart" }, title, place);
  let plot = null;
  let shape = "";

  function make(lines) {
    plot?.destroy();
    const grid = { stroke: () => colour("grid"), width: 1 };
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: () => colour("dim"), grid, ticks: { show: false }, font };
    plot = new window.uPlot({
      width: Math.max(place.clientWidth, 100),
      height: 150,
      padding: [8, 26, 0, 0],
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      legend: { live: true },
      scales: { y: { range: (self, low, high) => [0, Math.max(high * 1.1, minimum)] } },
      axes: [
        { ...axis, size: 26, space: 70, values: "{HH}:{mm}:{ss}" },
        { ...axis, size: 58, space: 32, values: (self, ticks) => ticks.map((tick) => rounded(format(tick))) },
      ],
      series: [
        { label: "time", value: "{HH}:{mm}:{ss}" },
        ...lines.map((line) => ({
          label: line.label,
          stroke: () => colour(line.colour),
          width: 1.5,
          points: { show: false },
          value: (self, value) => (value === null || value === undefined ? "–" : format(value)),
        })),
      ],
    }, [[], ...lines.map(() => [])], place);
  }

  new ResizeObserver(() => {
    if (plot && place.clientWidth) plot.setSize({ width: place.clientWidth, height: 150 });
  }).observe(place);

  return {
    element,
    set(text, times, lines) {
      setText(title, text);
      const now = lines.map((line) => `${line.label}${line.colour}`).join("\n");
      if (!plot || now !== shape) make(lines);
      shape = now;
      plot.setData([times, ...lines.map((line) => line.values)]);
      // Where nobody points at a moment, the legend tells of the newest.
      if (plot.cursor.idx === null || plot.cursor.left < 0) plot.setLegend({ idx: times.length - 1 }, false);
    },
    redraw() {
      plot?.redraw(false, false);
    },
    close() {
      plot?.destroy();
    },
  };
}
