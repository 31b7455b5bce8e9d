// Loaded into Azurite before its own code. Azurite keeps its tables in memory and writes them every five seconds, so a
// kill -9 would take back what it has acknowledged, which no blob service does. With this, an answer to a request that
// changed something goes out only when the tables are on disk.
"use strict";
const http = require("http");
const Module = require("module");

const tables = [];
const load = Module._load;
Module._load = function (name, ...rest) {
  const loaded = load.call(this, name, ...rest);
  if (name !== "lokijs" || loaded.isDurable) return loaded;
  const Durable = function (...args) {
    const table = new loaded(...args);
    tables.push(table);
    return table;
  };
  Object.setPrototypeOf(Durable, loaded);
  Durable.prototype = loaded.prototype;
  Durable.isDurable = true;
  Durable.default = Durable;
  return Durable;
};

const end = http.ServerResponse.prototype.end;
http.ServerResponse.prototype.end = function (...args) {
  const changes = this.req && !["GET", "HEAD"].includes(this.req.method) && this.statusCode < 400;
  if (!changes || this.isSaved) return end.apply(this, args);
  this.isSaved = true;
  const saved = tables.map((table) => new Promise((done) => table.saveDatabase(done)));
  Promise.all(saved).then(() => end.apply(this, args));
  return this;
};
