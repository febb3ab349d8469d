/**
 * Rooms of Durable Object classes for tests. Classes and functions go into the realm as text, so they cannot use what is
 * around them.
 */
import { fileURLToPath } from "node:url";

import { engineRoom, isEngine } from "./engine.js";
import { Instance } from "./instance.js";
import { TestRoom } from "./test-room.js";
import { DENIED, World } from "./world.js";

const BUNDLE = fileURLToPath(new URL("../realm/durable-objects.js", import.meta.url));

export interface Options {
  onError?: "keep" | "rollback";
  remember?: string[];
  identity?: { query: Record<string, "id" | "name"> };
  namespaces?: Record<string, string>;
  vars?: Record<string, unknown>;
  outbound?: boolean;
}

/** A room of this class. */
export const roomOf = (Class: object, options: Options = {}, world = new World()): TestRoom => {
  const name = (Class as { name?: string }).name || "Room"; // a class that esbuild has moved into a variable lost it
  if (isEngine) {
    const room = engineRoom("durable-objects", `{ ${name}: (${String(Class)}) }.${name}`, options);
    if (world.calls !== DENIED) room.world.calls = world.calls;
    return room;
  }
  const entry = `serve({ ${name}: (${String(Class)}) }.${name}, ${JSON.stringify(options)});`;
  return new TestRoom((host) => new Instance(host, BUNDLE, entry), world);
};

/** Several rooms that reach each other, by namespace. */
export class TestHost {
  readonly rooms = new Map<string, TestRoom>();
  readonly #classes: Record<string, object>;
  readonly #options: Options;
  readonly #waiting: string[] = [];

  constructor(classes: Record<string, object>) {
    this.#classes = classes;
    this.#options = { namespaces: Object.fromEntries(Object.keys(classes).map((name) => [name, name])) };
  }

  room(namespace: string, name: string): TestRoom {
    const address = `${namespace}/${name}`;
    let room = this.rooms.get(address);
    if (!room) {
      const world = new World(namespace, name);
      world.calls = (to, other, request) => this.#call(address, to, other, request);
      room = roomOf(this.#classes[namespace] as object, this.#options, world);
      this.rooms.set(address, room);
    }
    return room;
  }

  #call(from: string, namespace: string, name: string, request: any): unknown {
    if (!(namespace in this.#classes) || name === "") return "no-such-room";
    const to = `${namespace}/${name}`;
    if (to === from || this.#waiting.includes(to)) return "deadlock";
    this.#waiting.push(from);
    try {
      return this.room(namespace, name).rawRequest({
        ...request,
        headers: [...request.headers, ["dormouse-caller", from]],
      });
    } catch {
      return "failed";
    } finally {
      this.#waiting.pop();
    }
  }
}

/** What a function of a test gets in the realm. */
export interface Inside<Env = any> {
  ctx: DurableObjectState;
  storage: DurableObjectStorage;
  env: Env;
  /** Lives as long as the instance. */
  memory: Record<string, any>;
}

/** Runs functions as requests, in an object without any code of its own. */
const Subject = class {
  ctx: any;
  env: any;
  memory = {};

  constructor(ctx: any, env: any) {
    this.ctx = ctx;
    this.env = env;
  }

  async fetch(request: any): Promise<any> {
    const { source, argument } = await request.json();
    const { ctx, env, memory } = this;
    try {
      const run = (0, eval)(`(${source})`);
      const value = await run({ ctx, env, memory, storage: ctx.storage }, argument);
      return Response.json({ value: value ?? null });
    } catch (error: any) {
      return Response.json({ error: `${error.name}: ${error.message}\n${error.stack}` });
    }
  }

  alarm(): void {}
};

/** Fails with the error of a function that failed inside. */
const valueOf = (text: string): any => {
  const { value, error } = JSON.parse(text);
  if (error !== undefined) throw new Error(`inside the room: ${error}`);
  return value;
};

/** A room in which a test runs functions. */
export class Lab {
  readonly room: TestRoom;

  constructor(room = roomOf(Subject)) {
    this.room = room;
  }

  /** Runs a function in the room, as one turn. It may use `assert`; its argument and its result are JSON. */
  run<A, R>(f: (inside: Inside, argument: A) => R | Promise<R>, argument?: A): R {
    const body = JSON.stringify({ source: String(f), argument });
    const { status, text } = this.room.request({ body });
    if (status !== 200) throw new Error(`${status} ${text}: ${this.room.world.logged.join("; ")}`);
    return valueOf(text);
  }
}

export { Subject };
