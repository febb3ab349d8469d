/**
 * One component for all classes of the tests, because the host compiles each component: the class is a text in the
 * configuration of the room, and it is made when the room wakes.
 */
import * as host from "dormouse:host";
import type { Hooks } from "dormouse:host";

import { assert, isDeepEqual } from "../realm/assert.js";

export const serveLab = (names: object, hooksFor: (Class: any, options: any) => Hooks): void => {
  Object.assign(globalThis, names, { assert, isDeepEqual });
  let hooks: Hooks;
  const prepare = (): Hooks => {
    const Class = (0, eval)(`(${host.config("test.class")})`);
    return (hooks ??= hooksFor(Class, JSON.parse(host.config("test.options") ?? "{}")));
  };
  const pass =
    (name: keyof Hooks) =>
    (...args: unknown[]): any =>
      (prepare()[name] as (...args: unknown[]) => unknown)(...args);
  host.serve({
    world: "connected-room",
    outbound: true,
    wake: pass("wake"),
    connect: pass("connect"),
    message: pass("message"),
    close: pass("close"),
    timer: pass("timer"),
    request: pass("request"),
    exportUser: pass("exportUser"),
    eraseUser: pass("eraseUser"),
    dataVersion: 2,
    migrate: pass("migrate"),
    idle: () => prepare().idle?.() ?? false,
  });
};
