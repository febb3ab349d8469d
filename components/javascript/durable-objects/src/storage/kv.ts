/** `ctx.storage.kv`: the same keys as `ctx.storage`, without promises. */
import * as host from "dormouse:host";

import { checkKey } from "./keys.js";
import { entries, type ListOptions } from "./list.js";
import { remove, write } from "./write.js";

export class SyncKv {
  #listings = 0;

  get(key: string): unknown {
    return host.getValue(checkKey(key));
  }

  put(key: string, value: unknown): void {
    write(checkKey(key), value);
  }

  delete(key: string): boolean {
    return remove(checkKey(key));
  }

  /** Only the newest iterator goes on, as on Cloudflare. */
  list(options: ListOptions = {}): IterableIterator<[string, unknown]> {
    const mine = ++this.#listings;
    return this.#whileCurrent(entries(options), mine);
  }

  *#whileCurrent(inner: Iterable<[string, unknown]>, mine: number): IterableIterator<[string, unknown]> {
    for (const entry of inner) {
      yield entry;
      if (mine !== this.#listings) {
        throw new Error(
          "kv.list() iterator was invalidated because a new call to kv.list() was started. " +
            "Only one kv.list() iterator can exist at a time.",
        );
      }
    }
  }
}
