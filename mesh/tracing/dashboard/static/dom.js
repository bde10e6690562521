// Elements. All text that comes from elsewhere gets into the page by these, as text and never as HTML.

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A group of buttons of which one is chosen. options: [[value, label], …].
export function choice(label, options, chosen, onchoose) {
  const buttons = options.map(([value, text]) =>
    h("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => choose(value) }, text));
  function choose(value) {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(options[i][0] === value)));
    onchoose(value);
  }
  return h("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}

export function field(label, input) {
  return h("label", { class: "field" }, h("span", {}, label), input);
}

export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value != null));
  let answer;
  try {
    answer = await fetch(`api/${path}?${query}`);
  } catch {
    throw new Error("the dashboard itself does not answer: is `mesh dashboard` still running?");
  }
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(value.error || `${answer.status} ${answer.statusText}`);
  return value;
}

// One value of the address's query, as #/traces?service=users.
export function parameters() {
  return new URLSearchParams(location.hash.split("?")[1] || "");
}

export function address(view, values = {}) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value != null));
  const text = query.toString();
  return `#/${view}${text ? `?${text}` : ""}`;
}
