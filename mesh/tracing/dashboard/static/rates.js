// Live rates and latencies: of each method, each edge (who calls it), each service; and their last minutes.

import { address, choice, h } from "./dom.js";
import { chart } from "./charts.js";
import { count, duration, rate, share } from "./format.js";
import { table } from "./table.js";

const MOST_POINTS = 600;
const LINES = 5;
const WINDOWS = [[10, "10 s"], [60, "1 min"], [300, "5 min"], [3600, "1 h"]];
const GROUPS = [["method", "Methods"], ["edge", "Edges"], ["service", "Services"]];
let past = []; // [seconds, { row: [calls, errors, p50, p95, p99] }], also while another view is shown

export function ratesView(main, query) {
  const group = GROUPS.some(([name]) => name === query.get("by")) ? query.get("by") : "method";
  const seconds = WINDOWS.some(([value]) => String(value) === query.get("over")) ? Number(query.get("over")) : 60;
  const minutes = seconds <= 60 ? 1 : seconds / 60;
  let filter = query.get("q") || "";
  let chosen = query.get("row") || "";
  let rows = [];

  const go = (changes) => { location.hash = address("rates", { by: group, over: seconds, q: filter, ...changes }); };
  const search = h("input", {
    type: "search", placeholder: "Filter  /", "aria-label": "Filter", value: filter, spellcheck: "false",
    oninput: (event) => { filter = event.target.value; keep(); draw(); },
  });
  const busy = chart(rate, 1);
  const slow = chart(duration, 0.001);
  const further = h("p", { class: "further", hidden: true });
  const list = table({
    label: "Rates and latencies", columns: columns(group), key: name, open: choose,
    sort: { key: "rate", down: true }, empty: "Waiting for the first figures…",
  });

  main.append(
    h("div", { class: "tools" },
      search,
      choice("Rows", GROUPS, group, (by) => go({ by })),
      choice("Over the last", WINDOWS, seconds, (over) => go({ over }))),
    h("div", { class: "charts" }, busy.element, slow.element),
    further,
    list.element,
  );

  // The address has what is shown, so that it can be passed on; no step back for each letter.
  function keep() {
    history.replaceState(null, "", address("rates", { by: group, over: seconds, q: filter, row: chosen }));
  }

  function choose(row) {
    if (group === "service") {
      go({ by: "method", q: row.service });
      return;
    }
    chosen = name(row) === chosen ? "" : name(row);
    list.choose(chosen);
    keep();
    drawCharts();
  }

  function draw() {
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter((row) => {
      const text = `${row.caller || ""} ${row.service}.${row.method || ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    list.say(rows.length ? "No row is like that." : "Nobody has told of a call in this time.");
    list.set(found);
    list.choose(chosen);
  }

  function drawCharts() {
    const times = past.map((point) => point[0]);
    const row = group === "service" ? null : rows.find((one) => name(one) === chosen);
    drawFurther(row);
    if (row) {
      const figures = (place) => past.map((point) => point[1][chosen]?.[place] ?? null);
      busy.set(`${title(row)}: calls/s`, times, [
        { label: "calls/s", colour: "line-0", values: figures(0) },
        { label: "errors/s", colour: "bad", values: figures(1) },
      ]);
      slow.set(`${title(row)}: latency`, times, [
        { label: "p50", colour: "line-2", values: figures(2) },
        { label: "p95", colour: "line-0", values: figures(3) },
        { label: "p99", colour: "line-1", values: figures(4) },
      ]);
      return;
    }
    const totals = past.map((point) => total(point[1]));
    busy.set("All calls/s", times, [
      { label: "calls/s", colour: "line-0", values: totals.map((one) => one[0]) },
      { label: "errors/s", colour: "bad", values: totals.map((one) => one[1]) },
    ]);
    const newest = Object.entries(past.at(-1)?.[1] || {}).filter(([key]) => key.startsWith("server|"));
    const busiest = newest.sort((one, other) => other[1][0] - one[1][0] || one[0].localeCompare(other[0])).slice(0, LINES);
    const names = busiest.map(([key]) => key).sort();
    slow.set("p99 of the methods that are called most", times, names.map((key, i) => ({
      label: key.split("|").slice(2).join("."),
      colour: `line-${i}`,
      values: past.map((point) => point[1][key]?.[4] ?? null),
    })));
  }

  function drawFurther(row) {
    further.hidden = !row;
    if (!row || further.dataset.row === chosen) return;
    further.dataset.row = chosen;
    const { service, method } = row;
    further.replaceChildren(
      h("a", { href: address("traces", { service, method }) }, "Its traces"), h("a", { href: address("traces", { service, method, error: "*" }) }, "with errors"),
      h("a", { href: address("why", { service, method }) }, "Why it is slow or fails"), h("a", { href: address("tap", { service, method }) }, "Tap it"));
  }

  const topics = {
    past: (points) => { past = points.slice(-MOST_POINTS); drawCharts(); },
    history: (point) => {
      if (past.length && point[0] <= past.at(-1)[0]) return;
      past.push(point);
      if (past.length > MOST_POINTS) past.shift();
      drawCharts();
    },
  };
  if (group === "service") topics[`graph-${minutes}`] = (graph) => { rows = graph.nodes; draw(); };
  else topics[`rates-${seconds}`] = (all) => { rows = wanted(all, group); draw(); };
  const recolour = () => { busy.redraw(); slow.redraw(); };
  window.addEventListener("themechange", recolour);
  drawCharts();
  return {
    title: "Rates",
    topics,
    keys: (event) => list.keys(event) || (event.key === "Escape" && chosen !== "" && unchoose()),
    leave: () => { window.removeEventListener("themechange", recolour); busy.close(); slow.close(); },
  };

  function unchoose() {
    chosen = "";
    list.choose("");
    keep();
    drawCharts();
    return true;
  }
}

// Of a method that servers tell of, their figures; of others those of the callers.
function wanted(rows, group) {
  if (group === "edge") return rows.filter((row) => row.side === "client");
  const served = new Set(rows.filter((row) => row.side === "server").map((row) => `${row.service}|${row.method}`));
  return rows.filter((row) => row.side === "server" || !served.has(`${row.service}|${row.method}`));
}

// Each call once, though caller and server both tell of it.
function total(rows) {
  const served = new Set();
  for (const key of Object.keys(rows)) {
    const [side, , service] = key.split("|");
    if (side === "server") served.add(service);
  }
  let calls = 0;
  let errors = 0;
  for (const [key, figures] of Object.entries(rows)) {
    const [side, , service] = key.split("|");
    if (side !== "server" && served.has(service)) continue;
    calls += figures[0];
    errors += figures[1];
  }
  return [calls, errors];
}

function name(row) {
  return row.side ? [row.side, row.caller, row.service, row.method].join("|") : row.service;
}

function title(row) {
  return `${row.caller ? `${row.caller} → ` : ""}${row.service}.${row.method}`;
}

function columns(group) {
  const failing = (row) => (row.error_share !== undefined ? row.error_share : row.rate ? row.errors / row.rate : 0);
  const time = (key, label, priority) => ({
    key, label, priority, right: true, value: (row) => row[key], text: (row) => (row.rate ? duration(row[key]) : "–"),
  });
  const rates = [
    { key: "rate", label: "Calls/s", right: true, value: (row) => row.rate, text: (row) => rate(row.rate) },
    {
      key: "errors", label: "Errors", right: true, value: failing, text: (row) => (failing(row) ? share(failing(row)) : "–"),
      tone: (row) => (failing(row) ? "bad" : "dim"),
    },
  ];
  if (group === "service") {
    return [
      { key: "service", label: "Service", class: "name", value: (row) => row.service, text: (row) => row.service || "(unnamed)" },
      ...rates,
      time("p99", "p99", 1),
      { key: "processes", label: "Processes", right: true, value: (row) => row.processes, text: (row) => count(row.processes) },
    ];
  }
  const caller = { key: "caller", label: "Caller", class: "name", value: (row) => row.caller, text: (row) => row.caller || "–" };
  const method = {
    key: "method", label: "Method", class: "name", value: (row) => `${row.service}.${row.method}`, text: (row) => `${row.service}.${row.method}`,
    tip: (row) => title(row),
    draw: (cell, row) => {
      const [service, rest] = [`${row.service}.`, row.method];
      if (cell.firstChild) return;
      cell.append(h("span", { class: "dim" }, service), h("wbr"), rest);
    },
  };
  return [
    ...(group === "edge" ? [caller, method] : [method]),
    ...rates,
    time("p50", "p50", 2), time("p95", "p95", 3), time("p99", "p99", 1), time("longest", "Max", 4),
    { key: "open", label: "Open", right: true, priority: 3, value: (row) => row.open, text: (row) => (row.open ? count(row.open) : "–") },
    {
      key: "slowest", label: "Slowest", right: true, priority: 4, title: "The slowest call that was recorded: opens its trace",
      value: (row) => row.slowest, text: (row) => (row.slowest_id ? duration(row.slowest) : ""),
      link: (row) => (row.slowest_id ? address("trace", { id: row.slowest_id }) : ""),
    },
  ];
}
