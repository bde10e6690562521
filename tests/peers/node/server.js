// An unchanged zerorpc-node server. Arguments: endpoint (with its port), heartbeat in seconds.
"use strict";

const zerorpc = require("zerorpc");

const [endpoint, heartbeat] = process.argv.slice(2);
let calls = 0;
let openStreams = 0;

function odd(text) {
  const error = new Error(text);
  error.name = "Odd";
  return error;
}

// To answer a caller that fell silent meanwhile throws.
function unlessGone(answer) {
  try {
    answer();
    return true;
  } catch (gone) {
    return false;
  }
}

function sendRange(number, pauseMs, reply) {
  let next = 0;
  openStreams += 1;
  (function step() {
    const there = unlessGone(() => {
      for (let batch = 0; batch < (pauseMs ? 1 : 50) && next < number; batch += 1) reply(null, next++, true);
      if (next >= number) reply();
    });
    if (there && next < number) setTimeout(step, pauseMs);
    else openStreams -= 1;
  })();
}

const server = new zerorpc.Server(
  {
    echo: function (value, reply) {
      calls += 1;
      reply(null, value);
    },
    add: function (a, b, reply) {
      calls += 1;
      reply(null, a + b);
    },
    nothing: function (reply) {
      calls += 1;
      reply(null, null);
    },
    calls: function (reply) {
      reply(null, calls);
    },
    fail: function (kind, text, reply) {
      calls += 1;
      if (kind === "TypeError") throw new TypeError(text);
      reply(kind === "Odd" ? odd(text) : text);
    },
    wait: function (seconds, reply) {
      calls += 1;
      setTimeout(() => unlessGone(() => reply(null, "waited")), seconds * 1000);
    },
    die: function (reply) {
      process.kill(process.pid, "SIGKILL");
    },
    open_streams: function (reply) {
      reply(null, openStreams);
    },
    count: function (number, reply) {
      // A stream without items has to begin with its end, which reply() alone would send as OK.
      if (number > 0) sendRange(number, 0, reply);
      else {
        reply(null, undefined, true);
        reply();
      }
    },
    endless: function (reply) {
      sendRange(2 ** 31, 1, reply);
    },
    slowly: function (number, seconds, reply) {
      sendRange(number, seconds * 1000, reply);
    },
    fail_after: function (number, reply) {
      for (let item = 0; item < number; item += 1) reply(null, item, true);
      reply(new RangeError(`after ${number}`));
    },
    // Small items, produced slower than they are read, and then large ones.
    growing: function (small, large, bytes, reply) {
      let sent = 0;
      const body = "x".repeat(bytes);
      (function step() {
        const there = unlessGone(() => {
          for (let batch = 0; batch < 10 && sent < small + large; batch += 1) {
            reply(null, sent < small ? "" : body, true);
            sent += 1;
          }
          if (sent >= small + large) reply();
        });
        if (there && sent < small + large) setTimeout(step, 1);
      })();
    },
    items: function (values, reply) {
      for (const value of values) reply(null, value, true);
      reply();
    },
  },
  heartbeat * 1000,
);

server.on("error", (error) => console.error("error", error));
server._socket._zmqSocket.on("bind", () => console.log(`ready ${endpoint}`));
server.bind(endpoint);
