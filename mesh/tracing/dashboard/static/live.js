// What the dashboard tells once a second. The connection follows the view, and rests while the page is hidden.

const listeners = new Map(); // topic → function(value)
const newest = new Map(); // topic → its last message, as long as the connection stays
let source = null;
let topics = "";
let silence = null;
let state = () => {};

export function onState(listener) {
  state = listener;
}

// wanted: { topic: function(value, at) }; "status" is always among them.
export function follow(wanted) {
  listeners.clear();
  for (const [topic, listener] of Object.entries(wanted)) listeners.set(topic, listener);
  open([...listeners.keys()].filter((topic) => topic !== "past").sort().join(","));
  // A view that asks for what another one had is not empty for a second.
  for (const message of newest.values()) hand(...message);
}

function open(names) {
  if (source && names === topics) return;
  close();
  topics = names;
  if (document.hidden) return;
  source = new EventSource(`api/live?topics=${encodeURIComponent(topics)}`);
  const mine = source;
  for (const topic of ["past", ...topics.split(",")]) {
    mine.addEventListener(topic, (event) => {
      if (mine === source) take(topic, event.data);
    });
  }
  mine.onopen = expectMore;
  mine.onerror = () => {
    state({ dashboard: false });
    // A browser tries again by itself, but not where it was refused, as with too many pages.
    if (mine.readyState === EventSource.CLOSED && mine === source) {
      source = null;
      setTimeout(() => { if (!source) open(topics); }, 3000);
    }
  };
}

function close() {
  clearTimeout(silence);
  if (source) source.close();
  source = null;
}

function expectMore() {
  clearTimeout(silence);
  silence = setTimeout(() => state({ dashboard: false }), 25_000);
}

function take(topic, data) {
  expectMore();
  const message = JSON.parse(data);
  if (topic !== "past" && topic !== "history") newest.set(topic, [topic, message]);
  if (topic === "status") state({ dashboard: true, error: message.error || "", status: message.value });
  hand(topic, message);
}

function hand(topic, message) {
  if (topic === "past") listeners.get("past")?.(message);
  else if (message.error === undefined) listeners.get(topic)?.(message.value, message.at);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) close();
  else if (!source && topics) open(topics);
});
