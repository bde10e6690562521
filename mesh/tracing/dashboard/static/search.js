// Search for traces.

import { address, ask, field, h } from "./dom.js";
import { called, clock, count, duration } from "./format.js";
import { table } from "./table.js";

const SINCE = [["", "any time"], ["300", "5 min"], ["900", "15 min"], ["3600", "1 h"], ["21600", "6 h"], ["86400", "24 h"]];

export function searchView(main, query) {
  const value = (name) => query.get(name) || "";
  const input = (name, attributes = {}) => h("input", { name, type: "text", value: value(name), spellcheck: "false", autocapitalize: "none", autocomplete: "off", ...attributes });
  const ago = h("select", { name: "ago" }, SINCE.map(([seconds, text]) => h("option", { value: seconds, selected: seconds === value("ago") }, text)));
  const identity = h("input", { type: "search", placeholder: "Trace id, or its beginning  /", "aria-label": "Trace id", spellcheck: "false", autocapitalize: "none", maxlength: 200 });
  const note = h("p", { class: "note", role: "status" });
  const list = table({
    label: "Traces", columns: columns(), key: (row) => row.id, sort: { key: "began", down: true }, empty: "Searching…",
    open: (row) => { location.hash = address("trace", { id: row.id }); },
  });
  const form = h("form", { class: "tools search", onsubmit: search },
    field("Service", input("service")), field("Method", input("method")),
    field("Error", input("error", { placeholder: "* for any" })),
    field("Slower than, s", input("slower", { inputmode: "decimal", pattern: "[0-9]*[.]?[0-9]*", class: "short" })),
    field("Tag", input("tag", { placeholder: "key=value" })), field("Began within", ago),
    h("button", { class: "button strong" }, "Search"));
  main.append(
    h("form", { class: "tools", onsubmit: (event) => {
      event.preventDefault();
      if (identity.value.trim()) location.hash = address("trace", { id: identity.value.trim() });
    } }, identity),
    form, note, list.element,
  );
  load();

  function search(event) {
    event.preventDefault();
    const next = address("traces", Object.fromEntries([...new FormData(form)].map(([name, text]) => [name, text.trim()])));
    if (next === location.hash) load();
    else location.hash = next;
  }

  async function load() {
    const asked = Object.fromEntries([...query].filter(([name]) => name !== "ago"));
    if (query.get("ago")) asked.since = Date.now() / 1000 - Number(query.get("ago"));
    try {
      const { traces, all } = await ask("traces", asked);
      list.say("No trace is like that.");
      list.set(traces);
      note.textContent = all ? "" : "Only the newest were looked at: ask for a shorter time.";
    } catch (error) {
      list.say("");
      list.set([]);
      note.textContent = error.message;
    }
  }

  return { title: "Traces", topics: {}, keys: (event) => list.keys(event) };
}

function columns() {
  const link = (row) => address("trace", { id: row.id });
  return [
    { key: "began", label: "Began", class: "name", value: (row) => row.began, text: (row) => clock(row.began) },
    { key: "call", label: "Call", class: "name", value: (row) => called(row.service, row.method), text: (row) => called(row.service, row.method), link },
    { key: "took", label: "Took", right: true, value: (row) => row.took, text: (row) => duration(row.took) },
    {
      key: "outcome", label: "Outcome", priority: 2, class: "name", value: (row) => row.outcome, text: (row) => row.outcome || "–",
      tone: (row) => (row.outcome === "OK" ? "dim" : row.outcome === "pending" ? "warn" : row.outcome ? "bad" : ""),
    },
    { key: "spans", label: "Spans", right: true, priority: 2, value: (row) => row.spans, text: (row) => count(row.spans + row.cut) },
    {
      key: "errors", label: "Errors", right: true, priority: 1, value: (row) => row.errors, text: (row) => (row.errors ? count(row.errors) : "–"),
      tone: (row) => (row.errors ? "bad" : "dim"), tip: (row) => row.failed.join(", "),
    },
    { key: "process", label: "From", priority: 3, class: "name", value: (row) => row.process, text: (row) => row.process || "–" },
    { key: "id", label: "Trace", priority: 4, class: "mono", text: (row) => row.id.slice(0, 12), link },
  ];
}
