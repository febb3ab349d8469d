/**
 * `@dormouse/durable-objects`. Classes and Workers have Cloudflare's types: install `@cloudflare/workers-types`, and name
 * both packages in `types` of the tsconfig.
 */
/// <reference types="@cloudflare/workers-types" />

/** A user, as the host verified it. A client cannot choose either field. */
export interface User {
  /** Stable and unique. */
  readonly id: string;
  /** The name to display. */
  readonly name: string;
}

declare global {
  interface Request<CfHostMetadata = unknown, Cf = CfProperties<CfHostMetadata>> {
    /** The user who asks; absent without a valid identity. In a Worker and in an object. */
    readonly user?: User;
  }
}

/** What `env` has, by name. */
export interface Bindings {
  /** A binding, and the namespace of its rooms. */
  namespaces?: Record<string, string>;
  /** Other entries. The operator's `config` has precedence. */
  vars?: Record<string, unknown>;
}

/** How a class is served. */
export interface Options extends Bindings {
  /**
   * After a handler has thrown: `keep` logs it, and what it wrote stays, as on Cloudflare. `rollback` undoes the turn, and
   * makes the object anew. A thrown `alarm()` is always undone, and tried again. Default: `keep`.
   */
  onError?: "keep" | "rollback";
  /** Fields with a `Map` or a `Set` that are stored while the room sleeps. Costs one encoding a turn. */
  remember?: string[];
  /** Query parameters that get the verified user; what a client wrote there is replaced. */
  identity?: { query: Record<string, "id" | "name"> };
  /** Whether the class may reach servers with `fetch`, as far as the operator allows. */
  outbound?: boolean;
}

/** Serves a Durable Object class as a room. Called once, at the top level of the bundle. */
export function serve(Class: new (ctx: DurableObjectState, env: any) => object, options?: Options): void;

/** Serves a Worker as the router. Called once, at the top level of the bundle. */
export function serveWorker(worker: object, bindings?: Bindings): void;

/** Thrown by a call that Dormouse does not have. Its message says what to do. */
export class UnsupportedError extends Error {}
