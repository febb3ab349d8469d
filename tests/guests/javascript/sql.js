// A test room in JavaScript with SQL: a message is the body of a function, whose result is the answer.
import * as host from "dormouse:host";

const sql = (query, ...bindings) => host.sqlObjects(host.sqlExec(query, bindings));
const value = (query, ...bindings) => host.sqlNext(host.sqlExec(query, bindings))?.[0];
/** The error of a function that must fail. */
const error = (f) => {
  try {
    f();
  } catch (thrown) {
    return `${thrown.name}: ${thrown.message}`;
  }
  return "no error";
};
/** Runs a function in a transaction of SQL. */
const transaction = (f) => {
  const number = host.sqlBegin();
  try {
    f();
  } catch (thrown) {
    host.sqlRollBack(number);
    return thrown.message;
  }
  host.sqlCommit(number);
};
/** Lives as long as the instance. */
const memory = {};

export default class {
  connect() {}

  async message(sender, text) {
    const names = ["host", "sql", "value", "error", "transaction", "memory"];
    const answer = await new Function(...names, text)(host, sql, value, error, transaction, memory);
    host.send(sender, JSON.stringify(answer ?? null));
  }
}
