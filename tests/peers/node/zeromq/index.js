// Stands in for zeromq 4, whose binary is not in its package: version 6 brings its own, and a layer
// with the old interface that lacks only bindSync.
"use strict";

const compat = require("zeromq6/v5-compat");

compat.Socket.prototype.bindSync = function (endpoint) {
  return this.bind(endpoint);
};

module.exports = compat;
