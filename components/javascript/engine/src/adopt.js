// Registers the default export of a bundle that has not called `serve`. Three forms are taken:
// - a value with a function under `Symbol.for("dormouse.serve")`, which registers the hooks itself, as kits do;
// - a class: its object is made when the room wakes, and its methods are the hooks;
// - an object: its methods are the hooks.
export default (definition, serve) => {
  const own = definition[Symbol.for("dormouse.serve")];
  if (typeof own === "function") return own.call(definition, definition);
  if (typeof definition !== "function") {
    const hooks = {};
    for (const name in definition) {
      const value = definition[name];
      hooks[name] = typeof value === "function" ? (...values) => definition[name](...values) : value;
    }
    return serve(hooks);
  }
  let room;
  const events = [
    "connect", "message", "close", "timer", "request", "route", "exportUser", "eraseUser", "idle", "unsettled",
  ];
  const { world, dataVersion, outbound } = definition;
  const hooks = { world, dataVersion, outbound };
  // The object is made in `wake`: there is no room before it. A router has no `wake`.
  const awake = () => (room ??= new definition());
  if (world !== "router" && world !== "connected-router") {
    hooks.wake = () => {
      awake();
    };
  }
  for (const name of events) {
    if (typeof definition.prototype[name] === "function") hooks[name] = (...values) => awake()[name](...values);
  }
  if (typeof definition.migrate === "function") hooks.migrate = (from) => definition.migrate(from);
  return serve(hooks);
};
