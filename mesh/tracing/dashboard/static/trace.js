// One trace: what it was, its waterfall, what is known of each span, and the way to other programs.

import { ask, h } from "./dom.js";
import { clock, count, duration } from "./format.js";
import { detail } from "./detail.js";
import { Trace, nameOf } from "./spans.js";
import { waterfall } from "./waterfall.js";

const SHOWN = 12; // services whose colours are told

export function traceView(main, query) {
  const id = query.get("id") || "";
  const made = { title: `Trace ${id.slice(0, 8)}`, topics: {}, keys: () => false, leave: () => { left = true; } };
  let left = false;
  main.append(h("p", { class: "nothing" }, "Reading the trace…"));
  ask("trace", { id }).then((values) => { if (!left) show(main, new Trace(values), made); }).catch((error) => {
    if (!left) main.replaceChildren(h("p", { class: "nothing" }, error.message), h("p", { class: "nothing" }, h("a", { href: "#/traces" }, "Search for another one")));
  });
  // The frame asks for these at each key, so that they may be set later.
  return { ...made, keys: (event) => made.keys(event), leave: () => made.leave() };
}

function show(main, trace, made) {
  const root = trace.roots[0]?.span;
  const failed = trace.spans.filter((span) => span.outcome !== "OK" && span.outcome !== "pending").length;
  const still = trace.spans.filter((span) => span.outcome === "pending").length;
  const pane = h("aside", { class: "detail", "aria-label": "Details", hidden: true });
  const content = h("div", { class: "detail-content" });
  pane.append(h("button", { type: "button", class: "icon close", "aria-label": "Close", onclick: () => close() }, "×"), content);
  const flow = waterfall({ trace, choose: open });

  const search = h("input", {
    type: "search", placeholder: "Filter spans  /", "aria-label": "Filter spans", spellcheck: "false",
    oninput: (event) => filter(event.target.value),
  });
  const found = h("span", { class: "note", role: "status" });
  const file = (format, text) => h("a", { class: "button", download: "", href: `api/export?${new URLSearchParams({ id: trace.id, format })}` }, text);
  const facts = [
    root ? clock(root.began) : "", duration(trace.ended - trace.began), `${count(trace.spans.length)} spans`,
    failed ? `${count(failed)} failed` : "", still ? `${count(still)} open` : "",
    `${count(trace.processes.length)} ${trace.processes.length === 1 ? "process" : "processes"}`,
  ].filter(Boolean);
  const notes = [
    trace.cut ? `${count(trace.cut)} more records of this trace were not kept.` : "",
    trace.dropped ? `${count(trace.dropped)} records were dropped by its programs while it ran, for lack of room: it may not be whole.` : "",
    trace.steps ? "A clock was set while it ran: times of the hosts may not fit." : "",
  ].filter(Boolean);
  main.replaceChildren(
    h("div", { class: "head" },
      h("a", { href: "#/traces", class: "back", "aria-label": "Back to the search" }, "‹"),
      h("div", {},
        h("h1", {}, root ? nameOf(root) : "A trace without spans"),
        h("p", { class: "facts-line" }, facts.map((fact) => h("span", { "data-tone": fact.endsWith("failed") ? "bad" : fact.endsWith("open") ? "warn" : "" }, fact)), h("code", {}, trace.id)))),
    h("div", { class: "tools" }, search,
      h("div", { class: "choice" },
        h("button", { type: "button", onclick: () => unfold(true) }, "Unfold all"), h("button", { type: "button", onclick: () => unfold(false) }, "Fold")),
      file("perfetto", "Perfetto"), file("speedscope", "speedscope"), found,
      h("p", { class: "legend" }, trace.services.slice(0, SHOWN).map((service) => h("span", { class: `key bar-${trace.hues.get(service)}` }, service)), h("span", { class: "key critical" }, "critical path"))),
    ...notes.map((note) => h("p", { class: "note" }, note)),
    h("div", { class: "flow" }, flow.element, pane),
  );
  flow.set(trace.rows(null));
  if (trace.spans.length) flow.keys({ key: "Home", target: flow.scroller });

  function open(node) {
    content.replaceChildren(...detail(trace, node, (span) => open(trace.alone(span))));
    pane.hidden = false;
    pane.scrollTop = 0;
  }

  function close() {
    pane.hidden = true;
    flow.scroller.focus({ preventScroll: true });
  }

  function filter(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = words.length && ((span) => {
      const all = `${nameOf(span)} ${span.outcome} ${span.detail?.message || ""} ${Object.entries(span.detail?.tags || {}).join(" ")}`.toLowerCase();
      return words.every((word) => all.includes(word));
    });
    const rows = trace.rows(matches || null);
    found.textContent = words.length ? `${count(rows.length)} spans` : "";
    flow.set(rows);
  }

  function unfold(all) {
    search.value = "";
    found.textContent = "";
    const waiting = [...trace.roots];
    while (waiting.length) {
      const node = waiting.pop();
      node.open = all || !node.isFold;
      if (node.hasChildren) for (const child of all || !node.isFold ? node.children : []) waiting.push(child);
    }
    flow.set(trace.rows(null));
  }

  made.keys = (event) => {
    if (flow.keys(event)) return true;
    if (event.key !== "Escape") return false;
    if (!pane.hidden) close();
    else if (window.history.length > 1) window.history.back();
    else location.hash = "#/traces";
    return true;
  };
  made.leave = () => flow.close();
}
