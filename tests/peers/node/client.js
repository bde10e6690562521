// An unchanged zerorpc-node client that does what it reads, one order a line; see ../python_client.py.
"use strict";

const readline = require("readline");
const msgpack = require("msgpack-lite");
const zerorpc = require("zerorpc");

const [endpoint, heartbeat, timeout] = process.argv.slice(2);

const client = new zerorpc.Client({ heartbeatInterval: heartbeat * 1000, timeout: Number(timeout) });
client.on("error", (error) => console.error("error", error));
client.connect(endpoint);

const describe = (error) => [error.constructor.name, error.name, error.message, error.stack];

function call(order, done) {
  client.invoke(order.method, ...order.args, (error, value) => {
    done(error ? { error: describe(error) } : { value });
  });
}

function stream(order, done) {
  const items = [];
  client.invoke(order.method, ...order.args, (error, value, more) => {
    if (error) return done({ items, error: describe(error) });
    if (more) items.push(value);
    else done({ items });
  });
}

function many(order, done) {
  const values = new Array(order.each.length);
  let missing = values.length;
  order.each.forEach((args, index) => {
    client.invoke(order.method, ...args, (error, value) => {
      if (error) return done({ error: describe(error) });
      values[index] = value;
      missing -= 1;
      if (missing === 0) done({ value: values });
    });
  });
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const order = msgpack.decode(Buffer.from(line, "hex"));
  const begun = Date.now();
  let answered = false;
  ({ call, stream, many })[order.do](order, (answer) => {
    if (answered) return;
    answered = true;
    answer.seconds = (Date.now() - begun) / 1000;
    console.log(`answer ${msgpack.encode(answer).toString("hex")}`);
  });
});
console.log("ready");
