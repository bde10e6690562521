// A trace as a waterfall. Only the rows in view and some beyond are there: names as elements, bars on a canvas
// that scrolls with them, and is drawn anew where it no longer reaches.

import { h, setText } from "./dom.js";
import { colour } from "./charts.js";
import { count, duration, rounded } from "./format.js";

export const ROW = 24;
const BEYOND = 30; // rows above and below those in view
const DEEPEST = 14; // levels that are indented
const LEAST = 1.5; // pixels of a bar

export function waterfall({ trace, choose }) {
  const axis = h("canvas", { class: "wf-axis", "aria-hidden": "true" });
  const reset = h("button", { type: "button", class: "wf-reset", hidden: true, onclick: () => zoom(null) }, "Whole time");
  const bars = h("canvas", { class: "wf-bars", "aria-hidden": "true" });
  const names = h("div", { class: "wf-names", role: "presentation" });
  const space = h("div", { class: "wf-space", role: "presentation" }, names, bars);
  const scroller = h("div", { class: "wf-scroll", tabindex: "0", role: "treegrid", "aria-label": "Spans" }, space);
  const element = h("div", { class: "wf" },
    h("div", { class: "wf-head" }, h("div", { class: "wf-title" }, h("span", {}, "Call"), reset), axis), scroller);
  let rows = [];
  let at = -1;
  let first = 0;
  let last = -1;
  let view = null; // [from, to] in seconds since the trace began, or null for all
  let paint = {};
  const pool = [];

  function layout() {
    const nameWidth = names.clientWidth;
    const width = Math.max(scroller.clientWidth - nameWidth, 60);
    return { nameWidth, width };
  }

  function colours() {
    const pick = (name) => colour(name);
    paint = {
      bars: Array.from({ length: 8 }, (_, i) => pick(`bar-${i}`)), ink: pick("bar-ink"), dim: pick("dim"), grid: pick("grid"),
      bad: pick("bad"), warn: pick("warn"), critical: pick("critical"), queue: pick("queue"), back: pick("back"),
      font: `11px ${getComputedStyle(document.body).fontFamily}`,
    };
  }

  function sized(canvas, width, height) {
    const scale = window.devicePixelRatio || 1;
    const [w, t] = [Math.round(width * scale), Math.round(height * scale)];
    if (canvas.width !== w || canvas.height !== t) {
      canvas.width = w;
      canvas.height = t;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = paint.font;
    pen.textBaseline = "middle";
    return pen;
  }

  function range() {
    return view || [0, trace.ended - trace.began];
  }

  function render(force) {
    const { width } = layout();
    const top = Math.floor(scroller.scrollTop / ROW);
    const bottom = Math.min(top + Math.ceil(scroller.clientHeight / ROW), rows.length - 1);
    if (!force && top >= first && bottom <= last) return;
    first = Math.max(top - BEYOND, 0);
    last = Math.min(bottom + BEYOND, rows.length - 1);
    space.style.height = `${rows.length * ROW}px`;
    drawNames();
    bars.style.top = `${first * ROW}px`;
    const pen = sized(bars, width, Math.max(last - first + 1, 1) * ROW);
    drawGrid(pen, width, (last - first + 1) * ROW);
    for (let i = first; i <= last; i += 1) drawRow(pen, rows[i], (i - first) * ROW, width, i);
    if (force) drawAxis(width);
  }

  function drawNames() {
    const wanted = Math.max(last - first + 1, 0);
    while (pool.length < wanted) pool.push(makeName());
    pool.forEach((line, i) => {
      line.element.hidden = i >= wanted;
      if (i < wanted) line.write(rows[first + i], first + i);
    });
    if (at >= first && at <= last) scroller.setAttribute("aria-activedescendant", `wf-${at}`);
    else scroller.removeAttribute("aria-activedescendant");
  }

  function makeName() {
    const twist = h("button", { type: "button", class: "wf-twist", tabindex: "-1", "aria-hidden": "true" });
    const service = h("span", { class: "dim" });
    const method = h("span");
    const more = h("span", { class: "wf-more" });
    const element = h("div", { class: "wf-name", role: "row" }, twist, h("span", { class: "wf-label", role: "gridcell" }, h("span", { class: "wf-call" }, service, method), more));
    const line = { element, number: 0 };
    twist.addEventListener("click", (event) => { event.stopPropagation(); move(line.number); toggle(rows[line.number]); });
    element.addEventListener("click", () => { move(line.number); choose(rows[line.number]); });
    names.append(element);
    line.write = (node, number) => {
      line.number = number;
      const span = node.span;
      element.id = `wf-${number}`;
      element.style.top = `${number * ROW}px`;
      element.style.paddingLeft = `${4 + Math.min(node.depth, DEEPEST) * 14}px`;
      element.dataset.tone = span.outcome === "OK" ? "" : span.outcome === "pending" ? "warn" : "bad";
      element.classList.toggle("chosen", number === at);
      element.setAttribute("aria-level", node.depth + 1);
      element.setAttribute("aria-rowindex", number + 1);
      element.setAttribute("aria-selected", String(number === at));
      if (node.hasChildren && !node.found) element.setAttribute("aria-expanded", String(node.open));
      else element.removeAttribute("aria-expanded");
      twist.hidden = !node.hasChildren || Boolean(node.found);
      setText(twist, node.open ? "▾" : "▸");
      setText(service, span.kind === "local" || !span.service ? "" : `${span.service}.`);
      setText(method, span.method);
      more.classList.toggle("folded", node.isFold);
      if (node.isFold) {
        more.replaceChildren(` ×${count(node.spans.length)}`, h("span", { class: "wf-longest" }, `, max ${duration(node.longest.took ?? 0)}`));
      } else setText(more, span.outcome === "OK" ? "" : `  ${span.outcome}`);
      element.title = `${node.label}${span.outcome === "OK" ? "" : ` (${span.outcome})`}`;
    };
    return line;
  }

  // Bars

  function x(seconds, width) {
    const [from, to] = range();
    return ((seconds - from) / (to - from)) * (width - 12) + 6;
  }

  function drawRow(pen, node, y, width, number) {
    if (number === at) {
      pen.fillStyle = colour("row-chosen");
      pen.fillRect(0, y, width, ROW);
    }
    if (node.isFold) drawFold(pen, node, y, width);
    else drawSpan(pen, node.span, y, width);
  }

  function drawFold(pen, node, y, width) {
    pen.fillStyle = paint.bars[trace.hueOf(node.span)];
    let until = -Infinity;
    let from = 0;
    const flush = () => { if (until > -Infinity) pen.fillRect(from, y + 7, Math.max(until - from, LEAST), ROW - 14); };
    // Those that lie on the same pixels are drawn once.
    for (const span of node.spans) {
      const [left, right] = ends(span, width);
      if (right < 0 || left > width) continue;
      if (left <= until + 0.5) until = Math.max(until, right);
      else {
        flush();
        [from, until] = [left, right];
      }
    }
    flush();
    drawTone(pen, node.span, Math.max(until, from + LEAST), y);
  }

  function ends(span, width) {
    const began = span.began - trace.began;
    const left = Math.max(x(began, width), -5);
    return [left, Math.min(Math.max(x(began + (span.took ?? span.lasts), width), left + LEAST), width + 5)];
  }

  function drawSpan(pen, span, y, width) {
    const [left, right] = ends(span, width);
    const took = span.took ?? span.lasts;
    if (right < 0 || left > width) return;
    const base = paint.bars[trace.hueOf(span)];
    const parts = span.parts;
    if (span.took === null) drawOpen(pen, base, left, right, y);
    else if (parts.handler !== undefined && parts.lag !== undefined && right - left > 6) drawParts(pen, base, span, y, width, left, right);
    else {
      pen.fillStyle = base;
      box(pen, left, y + 6, right - left, ROW - 12, 2);
    }
    if (span.isCritical) {
      pen.fillStyle = paint.critical;
      pen.fillRect(left, y + ROW - 5, Math.max(right - left, LEAST), 2);
    }
    drawTone(pen, span, right, y);
    drawLabel(pen, span.took === null ? `${duration(took)}, open` : duration(took), left, right, y, width);
  }

  // Thin where it was on the way or waited, thick while the handler ran.
  function drawParts(pen, base, span, y, width, left, right) {
    const began = span.began - trace.began;
    const parts = span.parts;
    const waits = (parts.hold || 0) + Math.max(parts.lag, 0) + (parts.hub || 0);
    const edges = [began, began + waits, began + waits + (parts.queue || 0), began + waits + (parts.queue || 0) + parts.handler];
    const [, arrived, started, ended] = edges.map((edge) => Math.min(Math.max(x(edge, width), left), right));
    pen.fillStyle = paint.back;
    pen.fillRect(left, y + ROW / 2 - 1.5, Math.max(right - left, LEAST), 3);
    pen.fillStyle = paint.queue;
    pen.fillRect(arrived, y + 8, Math.max(started - arrived, 0), ROW - 16);
    pen.fillStyle = base;
    box(pen, started, y + 6, Math.max(ended - started, LEAST), ROW - 12, 2);
  }

  function drawOpen(pen, base, left, right, y) {
    const fade = pen.createLinearGradient(left, 0, right, 0);
    fade.addColorStop(0, base);
    fade.addColorStop(1, "transparent");
    pen.fillStyle = fade;
    box(pen, left, y + 6, right - left, ROW - 12, 2);
  }

  function drawTone(pen, span, right, y) {
    if (span.outcome === "OK" || span.outcome === "pending") return;
    pen.fillStyle = paint.bad;
    pen.fillRect(right - 1, y + 4, 3, ROW - 8);
  }

  function drawLabel(pen, text, left, right, y, width) {
    const wide = pen.measureText(text).width;
    pen.fillStyle = paint.dim;
    if (right + wide + 8 < width) pen.fillText(text, right + 6, y + ROW / 2 + 0.5);
    else if (left - wide - 6 > 0) pen.fillText(text, left - wide - 6, y + ROW / 2 + 0.5);
    else {
      pen.fillStyle = paint.ink;
      pen.fillText(text, Math.max(left, 0) + 6, y + ROW / 2 + 0.5);
    }
  }

  function box(pen, left, top, width, height, radius) {
    pen.beginPath();
    pen.roundRect(left, top, Math.max(width, LEAST), height, Math.min(radius, width / 2));
    pen.fill();
  }

  // Time

  function ticks(width) {
    const [from, to] = range();
    const wanted = (to - from) / Math.max(Math.floor(width / 110), 2);
    const power = 10 ** Math.floor(Math.log10(wanted));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= wanted);
    const found = [];
    for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) found.push(tick);
    return found;
  }

  function drawGrid(pen, width, height) {
    pen.fillStyle = paint.grid;
    for (const tick of ticks(width)) pen.fillRect(Math.round(x(tick, width)), 0, 1, height);
  }

  function drawAxis(width) {
    const pen = sized(axis, width, 26);
    pen.fillStyle = paint.dim;
    let until = -Infinity;
    for (const tick of ticks(width)) {
      const text = Math.abs(tick) < 1e-9 ? "0" : rounded(duration(tick));
      const wide = pen.measureText(text).width;
      const left = Math.min(Math.max(x(tick, width) - wide / 2, 2), width - wide - 2);
      if (left > until + 8) {
        pen.fillText(text, left, 13);
        until = left + wide;
      }
    }
  }

  function zoom(range_) {
    view = range_;
    reset.hidden = !view;
    render(true);
  }

  let drag = null;
  bars.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch") return; // a finger scrolls
    drag = event.offsetX;
    bars.setPointerCapture(event.pointerId);
  });
  bars.addEventListener("pointerup", (event) => {
    if (drag === null) return;
    const [left, right] = [Math.min(drag, event.offsetX), Math.max(drag, event.offsetX)];
    drag = null;
    if (right - left < 6) return;
    const { width } = layout();
    const [from, to] = range();
    const seconds = (pixel) => from + ((pixel - 6) / (width - 12)) * (to - from);
    zoom([Math.max(seconds(left), 0), Math.min(seconds(right), trace.ended - trace.began)]);
    event.preventDefault();
    zoomed = true;
  });
  let zoomed = false;
  bars.addEventListener("click", (event) => {
    if (zoomed) {
      zoomed = false;
      return;
    }
    const number = first + Math.floor(event.offsetY / ROW);
    if (rows[number]) {
      move(number);
      choose(rows[number]);
    }
  });
  bars.addEventListener("dblclick", () => zoom(null));

  // Rows

  function move(number) {
    if (!rows.length) return;
    at = Math.min(Math.max(number, 0), rows.length - 1);
    const top = at * ROW;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + ROW > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + ROW - scroller.clientHeight;
    render(true);
  }

  function toggle(node, open = !node.open) {
    if (!node.hasChildren || node.found) return;
    node.open = open;
    set(trace.rows(null), node);
  }

  function set(found, keep = rows[at]) {
    rows = found;
    at = keep ? rows.indexOf(keep) : -1;
    scroller.setAttribute("aria-rowcount", rows.length);
    render(true);
  }

  function keys(event) {
    const node = rows[at];
    const page = Math.max(Math.floor(scroller.clientHeight / ROW) - 1, 1);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1, PageDown: at + page, PageUp: at - page };
    if (event.key in moves) {
      scroller.focus({ preventScroll: true });
      move(moves[event.key]);
    } else if (node && event.key === "ArrowRight") {
      if (node.hasChildren && !node.open) toggle(node, true);
      else move(at + 1);
    } else if (node && event.key === "ArrowLeft") {
      if (node.hasChildren && node.open && !node.found) toggle(node, false);
      else if (node.parent) move(rows.indexOf(node.parent));
    } else if (node && event.key === "Enter" && !event.target.matches("a, button")) choose(node);
    else if (event.key === "Escape" && view) zoom(null);
    else return false;
    return true;
  }

  let due = 0;
  scroller.addEventListener("scroll", () => {
    due ||= requestAnimationFrame(() => { due = 0; render(false); });
  }, { passive: true });
  const watcher = new ResizeObserver(() => render(true));
  watcher.observe(scroller);
  const recolour = () => { colours(); render(true); };
  window.addEventListener("themechange", recolour);
  colours();
  return {
    element, set, keys, scroller,
    close() {
      watcher.disconnect();
      cancelAnimationFrame(due);
      window.removeEventListener("themechange", recolour);
    },
  };
}
