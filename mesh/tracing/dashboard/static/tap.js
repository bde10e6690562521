// Calls as they pass. It ends by itself, and when the view is left.

import { address, field, h } from "./dom.js";
import { called, clock, count, duration } from "./format.js";
import { table } from "./table.js";

const MOST = 200;
const EACH = 250; // milliseconds between two times that it is drawn

export function tapView(main, query) {
  let source = null;
  let rows = [];
  let number = 0;
  let due = null;
  const input = (name) => h("input", { name, type: name === "service" ? "search" : "text", value: query.get(name) || "", spellcheck: "false", autocapitalize: "none" });
  const button = h("button", { class: "button strong" }, "Start");
  const note = h("p", { class: "note", role: "status" }, "Recorded calls are shown as they come: samples, and what fails or is slow. It ends after ten minutes.");
  const form = h("form", { class: "tools search", onsubmit: start }, field("Service", input("service")), field("Method", input("method")), button);
  const list = table({
    label: "Calls as they pass", columns: columns(), key: (row) => row.key, empty: "",
    open: (row) => { location.hash = address("trace", { id: row.trace_id }); },
  });
  main.append(form, note, list.element);

  function start(event) {
    event.preventDefault();
    if (source) {
      stop(`Stopped after ${count(number)}.`);
      return;
    }
    rows = [];
    number = 0;
    list.set(rows);
    source = new EventSource(`api/tap?${new URLSearchParams(new FormData(form))}`);
    button.textContent = "Stop";
    note.textContent = "Waiting for calls…";
    source.addEventListener("record", (message) => take(JSON.parse(message.data)));
    source.addEventListener("trouble", (message) => stop(JSON.parse(message.data).error));
    source.addEventListener("end", () => stop(`Ten minutes are over; ${count(number)} came.`));
    source.onerror = () => { if (source) stop("It has ended: the dashboard or the collector is away, or too many look on."); };
  }

  function stop(text) {
    source?.close();
    source = null;
    button.textContent = "Start";
    note.textContent = text;
  }

  function take(record) {
    number += 1;
    rows.unshift({ ...record, key: String(number) });
    rows.length = Math.min(rows.length, MOST);
    due ??= setTimeout(() => {
      due = null;
      list.set([...rows]);
      const lost = rows[0]?.lost;
      if (source) note.textContent = `${count(number)} so far${lost ? `, ${count(lost)} were too fast to be shown` : ""}.`;
    }, EACH);
  }

  return {
    title: "Tap",
    topics: {},
    keys: (event) => list.keys(event),
    leave: () => { clearTimeout(due); source?.close(); source = null; },
  };
}

function columns() {
  return [
    { key: "began", label: "Began", class: "name", text: (row) => clock(row.began) },
    { key: "side", label: "Side", priority: 2, text: (row) => row.side },
    { key: "call", label: "Call", class: "name", text: (row) => called(row.service, row.method), link: (row) => address("trace", { id: row.trace_id }) },
    { key: "took", label: "Took", right: true, text: (row) => duration(row.took) },
    { key: "outcome", label: "Outcome", priority: 1, class: "name", text: (row) => row.outcome, tone: (row) => (row.outcome === "OK" ? "dim" : row.outcome === "pending" ? "warn" : "bad") },
    { key: "process", label: "Process", priority: 3, class: "name", text: (row) => `${row.process}:${row.pid}` },
  ];
}
