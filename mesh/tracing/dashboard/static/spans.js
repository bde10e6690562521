// The rows of a waterfall: spans under those that caused them, equal siblings folded into one.

import { called, count, duration } from "./format.js";

const HUES = 8;
const FEWEST = 4; // siblings of one name and outcome from which on they are folded

// A node is one span, or several equal ones: { spans, depth, open, children() }.
class Node {
  constructor(spans, depth, parent) {
    this.spans = spans;
    this.depth = depth;
    this.parent = parent;
    this.open = spans.length === 1;
    this.made = null;
  }

  get isFold() { return this.spans.length > 1; }

  get span() { return this.spans[0]; }

  get longest() { return this.spans.reduce((one, other) => ((other.took ?? 0) > (one.took ?? 0) ? other : one)); }

  get hasChildren() { return this.isFold || this.span.children.length > 0; }

  get children() {
    this.made ??= this.isFold
      ? this.spans.map((span) => new Node([span], this.depth + 1, this))
      : nodes(this.span.children, this.depth + 1, this);
    return this.made;
  }

  get label() {
    if (!this.isFold) return nameOf(this.span);
    return `${nameOf(this.span)} ×${count(this.spans.length)}, max ${duration(this.longest.took ?? 0)}`;
  }
}

export function nameOf(span) {
  return span.kind === "local" ? span.method : called(span.service, span.method);
}

function nodes(spans, depth, parent) {
  const groups = new Map();
  for (const span of spans) {
    const key = `${span.service}\n${span.method}\n${span.outcome}`;
    if (groups.has(key)) groups.get(key).push(span);
    else groups.set(key, [span]);
  }
  const made = [];
  for (const group of groups.values()) {
    if (group.length >= FEWEST) made.push(new Node(group, depth, parent));
    else for (const span of group) made.push(new Node([span], depth, parent));
  }
  return made.sort((one, other) => one.span.began - other.span.began);
}

const PARTS = ["hold", "lag", "hub", "queue", "handler", "back", "doubt", "credit"];

// A row as dashboard/packed.py makes it, with its times in seconds.
function unpacked(row, { texts, began }) {
  const [span, parent, kind, service, method, outcome, after, took, caller, callee, parts, detail] = row;
  const known = {};
  parts?.forEach((micro, i) => { if (micro !== null) known[PARTS[i]] = micro / 1e6; });
  return {
    span, parent, kind: texts[kind], service: texts[service], method: texts[method], outcome: texts[outcome],
    began: began + after / 1e6, took: took === null ? null : took / 1e6,
    caller, callee, parts: known, detail, children: [], isCritical: false,
  };
}

// Of a trace as the dashboard gives it. began, ended: of all, in seconds since 1970.
export class Trace {
  constructor(values) {
    Object.assign(this, values);
    this.spans = values.spans.map((row) => unpacked(row, values));
    for (const number of values.critical) this.spans[number].isCritical = true;
    this.began = Infinity;
    this.ended = -Infinity;
    for (const span of this.spans) {
      this.began = Math.min(this.began, span.began);
      this.ended = Math.max(this.ended, span.began + (span.took ?? 0));
    }
    if (!this.spans.length) this.began = this.ended = 0;
    this.ended = Math.max(this.ended, this.began + 1e-6);
    this.services = [...new Set(this.spans.map((span) => span.service).filter(Boolean))].sort();
    this.hues = new Map(this.services.map((service, i) => [service, i % HUES]));
    const roots = [];
    for (const span of this.spans) {
      const parent = this.spans[span.parent];
      if (parent) parent.children.push(span);
      else roots.push(span);
    }
    for (const span of this.spans) if (span.took === null) span.lasts = this.ended - span.began;
    this.roots = nodes(roots, 0, null);
  }

  // Which of the colours a span has: that of its service.
  hueOf(span) {
    return this.hues.get(span.service) ?? HUES - 1;
  }

  // All that are to be seen, from the top down. matches: of spans, or null for any.
  rows(matches) {
    const rows = [];
    if (matches) {
      for (const span of this.spans) if (matches(span)) rows.push(this.alone(span));
      return rows;
    }
    const waiting = [...this.roots].reverse();
    while (waiting.length) {
      const node = waiting.pop();
      rows.push(node);
      if (node.open && node.hasChildren) for (let i = node.children.length - 1; i >= 0; i -= 1) waiting.push(node.children[i]);
    }
    return rows;
  }

  alone(span) {
    this.singles ??= new Map();
    if (!this.singles.has(span)) {
      const node = new Node([span], 0, null);
      node.open = false;
      node.found = true;
      this.singles.set(span, node);
    }
    return this.singles.get(span);
  }
}
