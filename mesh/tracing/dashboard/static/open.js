// The calls that are open now: a line for each, those that a handler makes below its own, with what it waits for.

import { address, choice, h } from "./dom.js";
import { called, count, duration } from "./format.js";
import { table } from "./table.js";

const MOST_ROWS = 500;
const AGES = [[0, "All"], [1, "> 1 s"], [10, "> 10 s"], [60, "> 1 min"]];

export function openView(main, query) {
  let filter = query.get("q") || "";
  let least = Number(query.get("age")) || 0;
  let answer = null;
  const badge = document.getElementById("open-count");
  const silent = h("ul", { class: "silent" });
  const list = table({
    label: "Open calls", columns: columns(), key: (row) => row.key, empty: "Asking every process…",
    open: (row) => { if (row.trace) location.hash = address("trace", { id: row.trace }); },
  });
  const keep = () => history.replaceState(null, "", address("open", { q: filter, age: least || "" }));
  main.append(
    h("div", { class: "tools" },
      h("input", {
        type: "search", placeholder: "Filter  /", "aria-label": "Filter", value: filter, spellcheck: "false",
        oninput: (event) => { filter = event.target.value; keep(); draw(); },
      }),
      choice("Age", AGES, least, (age) => { least = age; keep(); draw(); })),
    list.element, silent,
  );

  function draw() {
    if (!answer) return;
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    const all = [...answer.calls, ...(answer.swept || [])];
    const roots = joined(all).filter((call) => call.age >= least && words.every((word) => text(call).includes(word)));
    const rows = inOrder(roots);
    list.say(all.length ? "No open call is like that." : "No call is open.");
    list.set(rows.slice(0, MOST_ROWS));
    const more = rows.length - MOST_ROWS + (answer.more || 0);
    silent.replaceChildren(
      ...(more > 0 ? [h("li", {}, `${count(more)} more: the oldest are shown.`)] : []),
      ...answer.silent.map((one) => h("li", {}, `${who(one)} did not answer; heard ${duration(one.heard)} ago.`)),
    );
    const number = inOrder(joined(all)).length;
    badge.textContent = count(number);
    badge.hidden = !number;
  }

  return {
    title: "Open calls",
    topics: { calls: (value) => { answer = value; draw(); } },
    keys: (event) => list.keys(event),
    leave: () => { badge.hidden = true; },
  };
}

// Both sides of a call as one, and who has made it.
export function joined(rows) {
  const calls = new Map();
  for (const row of rows) {
    const span = String(row.span_id || (row.told ? row.id : ""));
    // Without a trace both sides know a call by its message's id.
    const key = row.trace_id && span ? `${row.trace_id} ${span}` : row.told ? `${row.process} ${row.id} ${row.side || ""}` : String(row.id);
    // Of what a process answers only what it carries out tells what it waits for.
    const side = row.side || (row.waits_for ? "server" : "client");
    const call = calls.get(key) || { key, trace: row.trace_id || "", span, age: 0, made: [], from: "", to: "", waits: "", parent: "" };
    calls.set(key, call);
    call.service ||= String(row.service || (side === "server" ? row.name : ""));
    call.method ||= String(row.method || "?");
    call.age = Math.max(call.age, Number(row.age) || 0);
    call.parent ||= String(row.parent_id || "");
    call.subcalls = row.waits_for?.calls || call.subcalls;
    if (side === "server" || side === "received") {
      call.to = who(row);
      call.from ||= String(row.program || row.caller || "");
      call.waits = waitsFor(row);
      call.isThere = true;
    } else {
      call.from = who(row);
      call.to ||= String(row.peer || row.to || "");
      call.asked = waitsFor(row);
    }
  }
  return nested(calls);
}

function nested(calls) {
  const all = [...calls.values()];
  const makers = new Map();
  for (const call of all) {
    if (call.parent && call.trace) makers.set(call, calls.get(`${call.trace} ${call.parent}`));
    for (const made of call.subcalls || []) {
      const below = calls.get(`${made.trace_id || call.trace} ${made.span_id}`);
      if (below && !makers.get(below)) makers.set(below, call);
    }
  }
  for (const [call, maker] of makers) {
    if (!maker || leadsTo(maker, call, makers)) continue;
    maker.made.push(call);
    call.isMade = true;
  }
  for (const call of all) call.waits ||= inWords(call);
  return all.filter((call) => !call.isMade).sort((one, other) => other.age - one.age);
}

// Where no process says what a call waits for, but only that it is open.
function inWords(call) {
  if (call.made.length) return namesOf(call.made);
  return call.isThere ? "its handler" : call.asked || `${call.to ? `an answer of ${call.to}` : "an answer"}; nobody tells that it came there`;
}

function namesOf(calls) {
  const names = calls.slice(0, 3).map((one) => called(one.service, one.method)).join(", ");
  return calls.length > 3 ? `${names}, …` : names;
}

function leadsTo(from, call, makers) {
  for (let one = from, steps = 0; one && steps < 1000; one = makers.get(one), steps += 1) if (one === call) return true;
  return false;
}

function inOrder(roots) {
  const rows = [];
  const waiting = roots.map((call) => [call, 0]).reverse();
  while (waiting.length) {
    const [call, depth] = waiting.pop();
    rows.push({ ...call, depth });
    const made = [...call.made].sort((one, other) => one.age - other.age);
    for (const below of made) waiting.push([below, depth + 1]);
  }
  return rows;
}

// In the words of `mesh ps`.
function waitsFor(row) {
  if (typeof row.waits === "string") return row.waits;
  const told = row.waits_for;
  if (!told || typeof told !== "object") return String(row.at || "");
  const waits = (number) => (number === 1 ? "1 waits" : `${count(number)} wait`);
  const words = {
    worker: () => `a place in its pool: ${told.running} of ${told.most} run, ${waits(told.waiting)}`,
    credit: () => `its client reads nothing (${duration(told.seconds)})`,
    calls: () => namesOf(told.calls || []),
    line: () => told.line,
    nothing: () => `blocks its loop, ${told.blocks}`,
    loop: () => `its loop, which ${told.method || "something beside its handlers"} blocks${told.at ? `, ${told.at}` : ""}`,
  };
  const said = String(words[told.kind]?.() || row.at || "");
  return row.wanted === false ? `for nobody: ${said || "its caller is gone"}` : said;
}

function who(row) {
  return row.host ? `${row.name || "?"}@${row.host}:${row.pid}` : String(row.name || "?");
}

function text(call) {
  return `${called(call.service, call.method)} ${call.from} ${call.to} ${call.trace} ${call.made.map(text).join(" ")}`.toLowerCase();
}

function columns() {
  return [
    { key: "age", label: "Age", right: true, text: (row) => duration(row.age), tone: (row) => (row.age >= 10 ? "bad" : row.age >= 1 ? "warn" : "") },
    {
      key: "call", label: "Call", class: "name",
      text: (row) => `${row.depth ? `${" ".repeat((Math.min(row.depth, 12) - 1) * 2)}└ ` : ""}${called(row.service, row.method)}`,
    },
    { key: "waits", label: "Waits for", class: "wrap", text: (row) => row.waits },
    { key: "from", label: "From", priority: 3, class: "name", text: (row) => row.from || "–" },
    { key: "to", label: "At", priority: 2, class: "name", text: (row) => row.to || "–" },
    { key: "trace", label: "Trace", priority: 3, class: "mono", text: (row) => row.trace.slice(0, 8), link: (row) => (row.trace ? address("trace", { id: row.trace }) : "") },
  ];
}
