// The call graph of the last minutes, laid out by dagre and drawn as SVG.

import * as dagre from "./vendor/dagre.esm.js";
import { address, choice, h, setText, svg } from "./dom.js";
import { duration, rate, share } from "./format.js";

const MINUTES = [[1, "1 min"], [5, "5 min"], [60, "1 h"]];
const MOST_NODES = 150;
const MOST_EDGES = 400;
const LETTER = 7.3;
const LABEL = { width: 128, height: 20 };

export function graphView(main, query) {
  const minutes = MINUTES.some(([value]) => String(value) === query.get("over")) ? Number(query.get("over")) : 5;
  const place = h("div", { class: "graph" });
  const note = h("p", { class: "nothing" }, "Waiting for the first figures…");
  let graph = null;
  let drawn = "";
  let update = () => {};

  main.append(
    h("div", { class: "tools" },
      choice("Over the last", MINUTES, minutes, (over) => { location.hash = address("graph", { over }); }),
      h("p", { class: "legend" },
        h("span", {}, "Calls/s · p99"), h("span", { class: "key bad" }, "errors"), h("span", { class: "key" }, "wider: more calls"))),
    place, note,
  );

  function draw() {
    if (!graph) return;
    const { nodes, edges, left } = bounded(graph);
    note.hidden = nodes.length > 0 && !left;
    setText(note, nodes.length ? `${left} more are not drawn: those that are called least.` : "Nobody has told of a call in this time.");
    const down = place.clientWidth < 720;
    const shape = [down, ...nodes.map((node) => node.service), ...edges.map((edge) => `${edge.caller}\n${edge.service}`)].join("\n\n");
    if (shape !== drawn) {
      drawn = shape;
      const made = drawing(nodes, edges, down);
      place.replaceChildren(made.element);
      update = made.update;
    }
    update(nodes, edges);
  }

  const watcher = new ResizeObserver(draw);
  watcher.observe(place);
  return {
    title: "Graph",
    topics: { [`graph-${minutes}`]: (value) => { graph = value; draw(); } },
    leave: () => watcher.disconnect(),
  };
}

// As much as can be drawn: what is called most. Callers that nobody calls are nodes, too.
function bounded(graph) {
  const known = new Map(graph.nodes.map((node) => [node.service, node]));
  for (const edge of graph.edges) {
    for (const service of [edge.caller, edge.service]) {
      if (!known.has(service)) known.set(service, { service, rate: 0, p99: 0, error_share: 0, processes: 0 });
    }
  }
  const all = [...known.values()].sort((one, other) => other.rate - one.rate);
  const nodes = all.slice(0, MOST_NODES).sort((one, other) => one.service.localeCompare(other.service));
  const kept = new Set(nodes.map((node) => node.service));
  const between = graph.edges.filter((edge) => kept.has(edge.caller) && kept.has(edge.service));
  const edges = between.sort((one, other) => other.rate - one.rate).slice(0, MOST_EDGES);
  edges.sort((one, other) => one.caller.localeCompare(other.caller) || one.service.localeCompare(other.service));
  return { nodes, edges, left: all.length - nodes.length + graph.edges.length - edges.length };
}

function drawing(nodes, edges, down) {
  const plan = new dagre.Graph({ multigraph: false });
  plan.setGraph({ rankdir: down ? "TB" : "LR", nodesep: down ? 24 : 28, ranksep: down ? 48 : 64, edgesep: 16, marginx: 12, marginy: 12 });
  // Names may be any text, "__proto__" as well: numbers stand for them.
  const numbers = new Map(nodes.map((node, i) => [node.service, `n${i}`]));
  for (const node of nodes) {
    const width = Math.min(Math.max(shown(node).length * LETTER + 28, 124), 240);
    plan.setNode(numbers.get(node.service), { width, height: 50 });
  }
  for (const edge of edges) plan.setEdge(numbers.get(edge.caller), numbers.get(edge.service), { ...LABEL, labelpos: "c" });
  dagre.layout(plan);
  const { width, height } = plan.graph();

  const lines = edges.map((edge) => drawEdge(plan.edge(numbers.get(edge.caller), numbers.get(edge.service)), edge, numbers));
  const boxes = nodes.map((node) => drawNode(plan.node(numbers.get(node.service)), node, numbers.get(node.service)));
  const arrow = svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" },
    svg("path", { d: "M0 0 8 4 0 8z", fill: "context-stroke" }));
  const element = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Call graph" },
    svg("defs", {}, arrow), lines.map((line) => line.path), boxes.map((box) => box.element), lines.map((line) => line.label));

  function light(number) {
    element.classList.toggle("lit", number !== null);
    const near = new Set([number]);
    for (const line of lines) {
      const touches = line.from === number || line.to === number;
      for (const part of [line.path, line.label]) part.classList.toggle("near", touches);
      if (touches) near.add(line.from).add(line.to);
    }
    for (const box of boxes) box.element.classList.toggle("near", near.has(box.number));
  }
  for (const box of boxes) {
    for (const event of ["mouseenter", "focus"]) box.element.addEventListener(event, () => light(box.number));
    for (const event of ["mouseleave", "blur"]) box.element.addEventListener(event, () => light(null));
  }
  return {
    element,
    update(newNodes, newEdges) {
      const most = Math.max(...newEdges.map((edge) => edge.rate), 1e-9);
      newNodes.forEach((node, i) => boxes[i].update(node));
      newEdges.forEach((edge, i) => lines[i].update(edge, most));
    },
  };
}

function drawNode(at, node, number) {
  const [x, y] = [at.x - at.width / 2, at.y - at.height / 2];
  const name = svg("text", { x: at.x, y: at.y - 5, class: "service" }, clipped(shown(node), at.width - 20));
  const figures = svg("text", { x: at.x, y: at.y + 13, class: "figures" });
  const tip = svg("title");
  const element = svg("a", { href: address("rates", { q: node.service }), class: "node" },
    tip, svg("rect", { x, y, width: at.width, height: at.height, rx: 7 }), name, figures);
  return {
    element,
    number,
    update(now) {
      const calls = now.rate ? `${rate(now.rate)}/s · ${duration(now.p99)}` : "calls only";
      setText(figures, calls);
      element.dataset.tone = now.error_share > 0.001 ? "bad" : now.rate ? "" : "source";
      setText(tip, `${shown(now)}\n${calls}\n${share(now.error_share)} fail\n${now.processes} processes`);
    },
  };
}

function drawEdge(at, edge, numbers) {
  const path = svg("path", { d: curve(at.points), class: "edge", "marker-end": "url(#arrow)" });
  const text = svg("text", { x: at.x, y: at.y + 4 });
  const back = svg("rect", { x: at.x - LABEL.width / 2, y: at.y - LABEL.height / 2, width: LABEL.width, height: LABEL.height, rx: 4 });
  const tip = svg("title");
  const label = svg("a", { href: address("rates", { by: "edge", q: `${edge.caller} ${edge.service}.` }), class: "label" }, tip, back, text);
  const [from, to] = [numbers.get(edge.caller), numbers.get(edge.service)];
  return {
    path,
    label,
    from,
    to,
    update(now, most) {
      const bad = now.error_share > 0.001;
      const line = `${rate(now.rate)}/s · ${duration(now.p99)}${bad ? ` · ${share(now.error_share)}` : ""}`;
      setText(text, line);
      const wide = Math.min(line.length * 6.1 + 10, LABEL.width + 24);
      back.setAttribute("width", wide);
      back.setAttribute("x", at.x - wide / 2);
      path.style.strokeWidth = `${1.2 + 3 * Math.sqrt(now.rate / most)}px`;
      for (const part of [path, label]) part.dataset.tone = bad ? "bad" : "";
      setText(tip, `${now.caller} → ${now.service}\n${rate(now.rate)} calls/s, p99 ${duration(now.p99)}, ${share(now.error_share)} fail`);
    },
  };
}

// Through the middles between dagre's points, so that it has no corners.
function curve(points) {
  const at = (point) => `${point.x.toFixed(1)} ${point.y.toFixed(1)}`;
  let path = `M${at(points[0])}`;
  for (let i = 1; i < points.length - 1; i += 1) {
    const next = points[i + 1];
    const end = i === points.length - 2 ? next : { x: (points[i].x + next.x) / 2, y: (points[i].y + next.y) / 2 };
    path += `Q${at(points[i])} ${at(end)}`;
  }
  return points.length < 3 ? `${path}L${at(points.at(-1))}` : path;
}

function shown(node) {
  return node.service || "(unnamed)";
}

function clipped(text, width) {
  const most = Math.floor(width / LETTER);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
