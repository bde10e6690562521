// The frame: which view is shown, the state of the collector, the theme, and the keys that work everywhere.

import { h, parameters, setText } from "./dom.js";
import { count, size } from "./format.js";
import { follow, onState } from "./live.js";
import { ratesView } from "./rates.js";
import { graphView } from "./graph.js";
import { openView } from "./open.js";
import { searchView } from "./search.js";
import { traceView } from "./trace.js";
import { tapView } from "./tap.js";
import { whyView } from "./why.js";

const VIEWS = { rates: ratesView, graph: graphView, open: openView, traces: searchView, trace: traceView, tap: tapView, why: whyView };
const BELOW = { trace: "traces", why: "rates" }; // views that are reached from others
const main = document.getElementById("main");
let leave = () => {};
let shown = "";

// A view is a function that fills an element, and gives { title, topics, keys, leave }.
function show() {
  const [, name = "rates"] = location.hash.match(/^#\/(\w+)/) || [];
  const view = VIEWS[name] ? name : "rates";
  leave();
  main.replaceChildren();
  main.className = `view-${view}`;
  const made = VIEWS[view](main, parameters());
  leave = made.leave || (() => {});
  keys = made.keys || (() => false);
  follow({ status: () => {}, ...made.topics });
  document.title = `${made.title} · mesh`;
  for (const link of document.querySelectorAll("header nav a")) {
    const current = link.getAttribute("href") === `#/${BELOW[view] || view}`;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (shown && shown !== view) window.scrollTo(0, 0);
  shown = view;
}

// What is known of the collector

const dot = document.getElementById("link");
const text = document.getElementById("link-text");
const away = document.getElementById("away");
let collector = "the collector";

onState(({ dashboard, error, status }) => {
  const trouble = !dashboard
    ? "The dashboard does not answer. This page goes on by itself when it does."
    : error
      ? `No collector answers at ${collector}: ${error}. What is shown is of before; it goes on by itself when one is back.`
      : status?.trouble ? `The collector can't write: ${status.trouble}` : "";
  dot.dataset.state = !dashboard || error ? "away" : status?.trouble || status?.lost ? "warn" : "up";
  setText(away, trouble);
  away.hidden = !trouble;
  if (!dashboard) setText(text, "no dashboard");
  else if (error) setText(text, "no collector");
  else if (status) {
    const alive = status.processes.filter((one) => one.heard < 60).length;
    setText(text, `${count(alive)} ${alive === 1 ? "process" : "processes"}`);
    dot.title = [
      `collector ${collector}`,
      `${count(status.records)} records taken`,
      `${count(status.dropped)} dropped by processes, ${count(status.lost)} lost here, ${count(status.cut)} cut`,
      `store ${size(status.bytes)}`,
    ].join("\n");
  }
});

fetch("api/about").then((answer) => answer.json()).then((about) => { collector = about.collector; }).catch(() => {});

// Light and dark

document.getElementById("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("mesh-theme", theme); } catch { /* a browser that keeps nothing */ }
  window.dispatchEvent(new Event("themechange"));
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
  let kept = null;
  try { kept = localStorage.getItem("mesh-theme"); } catch { /* as above */ }
  if (kept) return;
  document.documentElement.dataset.theme = event.matches ? "dark" : "light";
  window.dispatchEvent(new Event("themechange"));
});

// Keys

let keys = () => false;
const KEYS = [
  ["/", "to the search or filter"],
  ["↑ ↓", "from row to row"],
  ["→ ←", "unfold and fold, in a trace"],
  ["Enter", "open the row"],
  ["Esc", "close, or back"],
  ["1 – 5", "Rates, Graph, Open, Traces, Tap"],
  ["t", "light or dark"],
  ["?", "these keys"],
];
const dialog = document.getElementById("keys");
dialog.append(
  h("h2", {}, "Keys"),
  h("dl", {}, KEYS.map(([key, does]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, does)])),
  h("form", { method: "dialog" }, h("button", { class: "button" }, "Close")),
);
document.getElementById("help").addEventListener("click", () => dialog.showModal());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
  const writes = event.target.matches("input, select, textarea");
  if (event.key === "Escape" && writes) {
    event.target.blur();
    return;
  }
  if (writes) return;
  if (event.key === "/") {
    const input = main.querySelector("input[type=search]");
    if (input) {
      event.preventDefault();
      input.focus();
      input.select();
    }
  } else if (event.key === "?") dialog.showModal();
  else if (event.key === "t") document.getElementById("theme").click();
  else if (/^[1-5]$/.test(event.key)) location.hash = ["#/rates", "#/graph", "#/open", "#/traces", "#/tap"][event.key - 1];
  else if (keys(event)) event.preventDefault();
});

window.addEventListener("hashchange", show);
show();
