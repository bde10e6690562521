// A table whose rows stay the same elements while their values change, so that focus and selection stay, too.

import { h, setText } from "./dom.js";

// columns: { key, label, value(row), text(row), right, priority (1 stays longest), link(row), tone(row), title }.
// Of `keep`, key(row) tells rows apart. open(row): on Enter or a click.
export function table({ label, columns, key, open, sort, empty }) {
  let rows = [];
  let order = { ...sort };
  let chosen = "";
  const shown = new Map();
  const heads = columns.map((column) => {
    const attributes = { scope: "col", class: classes({ ...column, class: "" }), title: column.title };
    if (!column.value) return h("th", attributes, column.label);
    return h("th", attributes, h("button", { type: "button", onclick: () => by(column) }, column.label));
  });
  const body = h("tbody");
  const nothing = h("p", { class: "nothing", hidden: true }, empty || "");
  const whole = h("div", { class: "scroll" },
    h("table", { "aria-label": label }, h("thead", {}, h("tr", {}, heads)), body));

  function classes(column) {
    return [column.right ? "right" : "", column.priority ? `p${column.priority}` : "", column.class || ""].join(" ").trim();
  }

  function by(column) {
    const down = order.key === column.key ? !order.down : Boolean(column.right);
    order = { key: column.key, down };
    draw();
  }

  function make(row) {
    const cells = columns.map((column) => h("td", { class: classes(column) }));
    const element = h("tr", { tabindex: "-1" }, cells);
    const made = { element, cells, row };
    element.addEventListener("click", (event) => {
      if (!event.target.closest("a") && !String(getSelection())) open?.(made.row);
    });
    element.addEventListener("focus", () => focused(element));
    return made;
  }

  function focused(element) {
    for (const one of body.querySelectorAll('[tabindex="0"]')) one.tabIndex = -1;
    element.tabIndex = 0;
  }

  function write(made, row) {
    made.row = row;
    columns.forEach((column, i) => {
      const cell = made.cells[i];
      const text = column.text(row);
      const link = column.link?.(row);
      if (column.draw) column.draw(cell, row);
      else if (link) {
        const anchor = cell.querySelector("a") || cell.appendChild(h("a", { tabindex: "-1" }));
        anchor.setAttribute("href", link);
        setText(anchor, text);
      } else setText(cell, text);
      if (column.tone) cell.dataset.tone = column.tone(row) || "";
      if (column.tip) cell.title = column.tip(row) || "";
    });
    made.element.classList.toggle("chosen", key(row) === chosen);
  }

  function draw() {
    const column = columns.find((one) => one.key === order.key);
    if (column) {
      const sign = order.down ? -1 : 1;
      rows.sort((one, other) => sign * compare(column.value(one), column.value(other)) || compare(key(one), key(other)));
    }
    columns.forEach((one, i) => {
      if (one.value) heads[i].setAttribute("aria-sort", one.key !== order.key ? "none" : order.down ? "descending" : "ascending");
    });
    const left = new Set(shown.keys());
    let before = null;
    for (const row of rows) {
      const name = key(row);
      left.delete(name);
      let made = shown.get(name);
      if (!made) {
        made = make(row);
        shown.set(name, made);
      }
      write(made, row);
      const place = before ? before.nextSibling : body.firstChild;
      if (place !== made.element) {
        const had = document.activeElement === made.element;
        body.insertBefore(made.element, place);
        if (had) made.element.focus({ preventScroll: true });
      }
      before = made.element;
    }
    for (const name of left) {
      shown.get(name).element.remove();
      shown.delete(name);
    }
    if (!body.querySelector('[tabindex="0"]') && body.firstChild) body.firstChild.tabIndex = 0;
    nothing.hidden = rows.length > 0;
  }

  return {
    element: h("div", { class: "table" }, whole, nothing),
    set(some) {
      rows = some;
      draw();
    },
    choose(name) {
      chosen = name;
      draw();
    },
    say(text) {
      setText(nothing, text);
    },
    // Arrows, Home, End and Enter.
    keys(event) {
      const all = [...body.children];
      if (!all.length) return false;
      const at = all.indexOf(document.activeElement);
      const steps = { ArrowDown: at + 1, ArrowUp: at < 0 ? all.length - 1 : at - 1, Home: 0, End: all.length - 1 };
      if (event.key in steps) {
        const next = all[Math.min(Math.max(steps[event.key], 0), all.length - 1)];
        next.focus();
        next.scrollIntoView({ block: "nearest" });
        return true;
      }
      if (event.key === "Enter" && at >= 0) {
        const row = [...shown.values()].find((made) => made.element === all[at]);
        open?.(row.row);
        return true;
      }
      return false;
    },
  };
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), "en", { numeric: true });
}
