// What the slow and the failing calls of a method have in common that the others have not.

import { address, ask, choice, h } from "./dom.js";
import { called, count, duration, share } from "./format.js";

const MINUTES = [[15, "15 min"], [60, "1 h"], [1440, "24 h"]];
const EXAMPLES = 5;

export function whyView(main, query) {
  const [service, method] = [query.get("service") || "", query.get("method") || ""];
  const minutes = MINUTES.some(([value]) => String(value) === query.get("over")) ? Number(query.get("over")) : 60;
  let left = false;
  const place = h("div", { class: "groups" }, h("p", { class: "nothing" }, "Comparing…"));
  main.append(
    h("div", { class: "head" },
      h("a", { href: address("rates", { q: `${service}.${method}` }), class: "back", "aria-label": "Back to the rates" }, "‹"),
      h("div", {}, h("h1", {}, called(service, method)), h("p", { class: "dim" }, "What slow and failing calls have in common, of the newest 500 traces"))),
    h("div", { class: "tools" }, choice("Of the last", MINUTES, minutes, (over) => { location.hash = address("why", { service, method, over }); })),
    place);
  ask("why", { service, method, minutes }).then((told) => {
    if (!left) place.replaceChildren(...groups(told));
  }).catch((error) => {
    if (!left) place.replaceChildren(h("p", { class: "nothing" }, error.message));
  });
  return { title: "Why", topics: {}, leave: () => { left = true; } };
}

function groups(told) {
  if (!told.calls) return [h("p", { class: "nothing" }, "No call of it was recorded in this time.")];
  return [
    group(`Failing: ${count(told.failing.calls)} of ${count(told.calls)}`, told.failing, "None of the recorded calls failed."),
    group(`Slower than ${duration(told.slower)}: ${count(told.slow.calls)} of ${count(told.calls)}`, told.slow, "None was slow."),
  ];
}

function group(title, one, none) {
  const outcomes = Object.entries(one.outcomes || {}).filter(([name]) => name !== "OK").map(([name, number]) => `${name} ×${count(number)}`);
  const examples = (one.examples || []).slice(0, EXAMPLES).map((id) => h("a", { href: address("trace", { id }), class: "mono" }, id.slice(0, 8)));
  return h("section", { class: "chart" },
    h("h2", {}, title),
    !one.calls ? h("p", { class: "nothing" }, none) : [
      outcomes.length ? h("p", { "data-tone": "bad" }, outcomes.join(", ")) : null,
      one.common.length ? table(one.common) : h("p", { class: "note" }, "They have nothing in common that the others have not."),
      h("p", { class: "examples" }, "Examples: ", examples.flatMap((link) => [link, " "])),
    ]);
}

function table(rows) {
  const bar = (part, tone) => {
    const inner = h("i", { class: `part ${tone}` });
    inner.style.width = `${Math.min(Math.max(part, 0), 1) * 100}%`;
    return h("td", { class: "share" }, inner);
  };
  return h("table", { class: "parts common" },
    h("thead", {}, h("tr", {}, ["", "", "these", "", "others", ""].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, rows.map((row) => h("tr", {},
      h("th", { scope: "row" }, row.what), h("td", { class: "value" }, String(row.value)),
      h("td", { class: "right" }, share(row.share)), bar(row.share, "part-handler"),
      h("td", { class: "right" }, share(row.others)), bar(row.others, "")))));
}
