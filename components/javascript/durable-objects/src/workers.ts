/** Stands in for the module `cloudflare:workers`. */
import { unsupported } from "./unsupported.js";

export { env } from "./env.js";
export { waitUntil } from "./state.js";

export class DurableObject<Env = unknown> {
  protected readonly ctx: unknown;
  protected readonly env: Env;

  constructor(ctx: unknown, env: Env) {
    this.ctx = ctx;
    this.env = env;
  }
}

export class WorkerEntrypoint<Env = unknown> {
  protected readonly ctx: unknown;
  protected readonly env: Env;

  constructor(ctx: unknown, env: Env) {
    this.ctx = ctx;
    this.env = env;
  }
}

export class WorkflowEntrypoint {
  constructor() {
    unsupported("WorkflowEntrypoint", "use an object with alarms");
  }
}

/** Modules may declare such classes; instances cannot be sent. */
export class RpcTarget {}

export class RpcStub {
  constructor() {
    unsupported("RpcStub", "pass data over RPC");
  }
}
