// The call graph of the last minutes, laid out by dagre and drawn as SVG.

import * as dagre from "./vendor/dagre.esm.js";
import { address, choice, h, setText, svg } from "./dom.js";
import { duration, rate, share } from "./format.js";

const MINUTES = [[1, "1 min"], [5, "5 min"], [60, "1 h"]];
const MOST_NODES = 150;
const MOST_EDGES = 400;
const LETTER = 7.3;
const LEAST_SCALE = 0.8;
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
      place.scrollLeft = (place.scrollWidth - place.clientWidth) / 2;
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
  // Of what did not end in this time there is nothing to tell here.
  const ended = graph.edges.filter((edge) => edge.rate > 0);
  const known = new Map(graph.nodes.filter((node) => node.rate > 0).map((node) => [node.service, node]));
  for (const edge of ended) {
    for (const service of [edge.caller, edge.service]) {
      if (!known.has(service)) known.set(service, { service, rate: 0, p99: 0, error_share: 0, processes: 0 });
    }
  }
  const all = [...known.values()].sort((one, other) => other.rate - one.rate);
  const nodes = all.slice(0, MOST_NODES).sort((one, other) => one.service.localeCompare(other.service));
  const kept = new Set(nodes.map((node) => node.service));
  const between = ended.filter((edge) => kept.has(edge.caller) && kept.has(edge.service));
  const edges = between.sort((one, other) => other.rate - one.rate).slice(0, MOST_EDGES);
  edges.sort((one, other) => one.caller.localeCompare(other.caller) || one.service.localeCompare(other.service));
  return { nodes, edges, left: all.length - nodes.length + ended.length - edges.length };
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

  const lines = edges.map((edge) => {
    const [from, to] = [numbers.get(edge.caller), numbers.get(edge.service)];
    const at = plan.edge(from, to);
    const path = from === to ? loop(at.points) : curve(plan.node(from), at.points, plan.node(to), down);
    return drawEdge(at, path, edge, from, to);
  });
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
  // No smaller than that it can be read: what is larger than the page is scrolled within its frame.
  element.style.minWidth = `${Math.round(width * LEAST_SCALE)}px`;
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

function drawEdge(at, line, edge, from, to) {
  const path = svg("path", { d: line, class: "edge", "marker-end": "url(#arrow)" });
  const text = svg("text", { x: at.x, y: at.y + 4 });
  const back = svg("rect", { x: at.x - LABEL.width / 2, y: at.y - LABEL.height / 2, width: LABEL.width, height: LABEL.height, rx: 4 });
  const tip = svg("title");
  const label = svg("a", { href: address("rates", { by: "edge", q: `${edge.caller} ${edge.service}.` }), class: "label" }, tip, back, text);
  return {
    path,
    label,
    from,
    to,
    update(now, most) {
      const bad = now.error_share > 0.001;
      const figures = `${rate(now.rate)}/s · ${duration(now.p99)}${bad ? ` · ${share(now.error_share)}` : ""}`;
      setText(text, figures);
      const wide = Math.min(figures.length * 6.1 + 10, LABEL.width + 24);
      back.setAttribute("width", wide);
      back.setAttribute("x", at.x - wide / 2);
      path.style.strokeWidth = `${1.2 + 3 * Math.sqrt(now.rate / most)}px`;
      for (const part of [path, label]) part.dataset.tone = bad ? "bad" : "";
      setText(tip, `${now.caller} → ${now.service}\n${rate(now.rate)} calls/s, p99 ${duration(now.p99)}, ${share(now.error_share)} fail`);
    },
  };
}

// From side to side of the two boxes, through dagre's points, and level in each of them.
function curve(from, points, to, down) {
  const [along, across, size] = down ? ["y", "x", "height"] : ["x", "y", "width"];
  const sign = to[along] >= from[along] ? 1 : -1;
  const side = (node, way) => ({ [along]: node[along] + (way * node[size]) / 2, [across]: node[across] });
  const way = [side(from, sign), ...points.slice(1, -1), side(to, -sign)];
  let path = `M${at(way[0])}`;
  for (let i = 1; i < way.length; i += 1) {
    const middle = (way[i - 1][along] + way[i][along]) / 2;
    path += `C${at({ ...way[i - 1], [along]: middle })} ${at({ ...way[i], [along]: middle })} ${at(way[i])}`;
  }
  return path;
}

function loop(points) {
  return `M${at(points[0])}${points.slice(1).map((point) => `L${at(point)}`).join("")}`;
}

function at(point) {
  return `${point.x.toFixed(1)} ${point.y.toFixed(1)}`;
}

function shown(node) {
  return node.service || "(unnamed)";
}

function clipped(text, width) {
  const most = Math.floor(width / LETTER);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
