// What is known of one span, or of several that are folded.

import { h } from "./dom.js";
import { clock, count, duration } from "./format.js";
import { nameOf } from "./spans.js";

const PARTS = [
  ["hold", "until sent", "Until it was sent: its connection, or its turn"],
  ["lag", "lag", "On the way to who carried it out"],
  ["hub", "hub's queue", "Waited in a hub for a worker"],
  ["queue", "worker's queue", "Waited at the worker for its handler"],
  ["handler", "handler", "The handler ran"],
  ["back", "way back", "On the way back"],
  ["credit", "waited for reader", "The stream waited for its reader; part of the handler's time"],
];
const SAID = ["message", "traceback", "tags"];
const EXAMPLES = 12;

// pick(span): another one is to be shown.
export function detail(trace, node, pick) {
  return node.isFold ? ofFold(node, pick) : ofSpan(trace, node.span);
}

function ofSpan(trace, span) {
  const told = span.detail || {};
  const bad = span.outcome !== "OK" && span.outcome !== "pending";
  const at = (number) => (number === null || number === undefined ? "not seen" : place(trace.processes[number]));
  const facts = [
    ["Outcome", h("span", { "data-tone": bad ? "bad" : span.outcome === "pending" ? "warn" : "" }, span.outcome)],
    ["Took", span.took === null ? `${duration(span.lasts)} or more, still open` : duration(span.took)],
    ["Began", `${clock(span.began)}, ${duration(span.began - trace.began)} after the trace`],
    ...(span.kind === "local" ? [["In", at(span.caller)]] : [["From", at(span.caller)], ["At", at(span.callee)]]),
    ...Object.entries(told).filter(([key]) => !SAID.includes(key)).map(([key, value]) => [key, valueOf(key, value)]),
    ...Object.entries(told.tags || {}).map(([key, value]) => [`tag ${key}`, String(value)]),
    ["Span", h("code", {}, span.span)],
  ];
  return [
    h("h2", {}, nameOf(span)),
    ...(told.late ? [h("p", { class: "note" }, "Recorded only because it failed or was slow: spans beside it are missing.")] : []),
    h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    ...partsOf(span),
    ...(told.message ? [h("h3", {}, "Message"), h("pre", { class: "said" }, String(told.message))] : []),
    ...(told.traceback ? [h("h3", {}, "Remote traceback"), h("pre", { class: "said traceback", tabindex: "0" }, String(told.traceback))] : []),
  ];
}

function partsOf(span) {
  if (span.kind === "local") return [];
  const parts = span.parts;
  const whole = Math.max(span.took || 0, ...PARTS.map(([key]) => parts[key] || 0), 1e-9);
  const rows = PARTS.filter(([key]) => parts[key] !== undefined || (key === "lag" && parts.handler !== undefined)).map(([key, label, title]) => {
    const value = parts[key];
    const known = value !== undefined;
    const bar = h("i", { class: `part part-${key}` });
    bar.style.width = `${known ? Math.min(Math.max(value / whole, 0), 1) * 100 : 0}%`;
    const text = known ? within(value, key === "lag" || key === "back" ? parts.doubt || 0 : 0) : "?";
    return h("tr", { title: known ? title : "The clocks of the two hosts can't be compared" },
      h("th", { scope: "row" }, label), h("td", { class: "right" }, text), h("td", { class: "share" }, bar));
  });
  return rows.length ? [h("h3", {}, "Where its time went"), h("table", { class: "parts" }, h("tbody", {}, rows))] : [];
}

// What is uncertain by more than itself is only known to be no more than so much.
function within(value, doubt) {
  if (!doubt) return duration(value);
  return value <= doubt * 1.001 ? `≤ ${duration(value + doubt)}` : `${duration(value)} ±${duration(doubt)}`;
}

function ofFold(node, pick) {
  const spans = [...node.spans].sort((one, other) => (other.took ?? other.lasts) - (one.took ?? one.lasts));
  const times = spans.map((span) => span.took ?? span.lasts);
  const total = times.reduce((sum, time) => sum + time, 0);
  const facts = [
    ["Calls", count(spans.length)], ["Outcome", node.span.outcome], ["Longest", duration(times[0])],
    ["Median", duration(times[Math.floor(times.length / 2)])], ["Shortest", duration(times.at(-1))], ["In all", duration(total)],
  ];
  return [
    h("h2", {}, `${nameOf(node.span)} ×${count(spans.length)}`),
    h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    h("h3", {}, "The longest"),
    h("ol", { class: "longest" }, spans.slice(0, EXAMPLES).map((span) => h("li", {},
      h("button", { type: "button", class: "plain", onclick: () => pick(span) }, duration(span.took ?? span.lasts))))),
  ];
}

function place(process) {
  return process ? `${process.label}, pid ${process.pid}` : "not seen";
}

function valueOf(key, value) {
  return ["first", "credit"].includes(key) ? duration(value) : typeof value === "number" ? count(value) : String(value);
}
