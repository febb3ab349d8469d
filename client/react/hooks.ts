/** Internal hooks: values that outlive renders, and state of objects outside React. */

import {
  type RefObject,
  useCallback,
  useEffect,
  useInsertionEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import type { RefCounted } from "./ref-counted.js";

/**
 * A value that stays the same until a part of its key changes. Unlike `useMemo`, it survives hot reload and is never
 * discarded to save memory: either would cost a connection.
 */
export function useKeyed<Value>(key: readonly unknown[], make: () => Value): Value {
  const [kept, keep] = useState(() => ({ key, value: make() }));
  if (key.every((part, index) => Object.is(part, kept.key[index]))) return kept.value;
  const fresh = { key, value: make() };
  keep(fresh);
  return fresh.value;
}

/** The latest props for callbacks that run later, so that an inline function does not cause a reconnect. */
export function useLatest<Value>(value: Value): RefObject<Value> {
  const latest = useRef(value);
  useInsertionEffect(() => {
    latest.current = value;
  });
  return latest;
}

/** A shared object that is open while the component is mounted. All components with the same key share it. */
export function useRefCounted<
  Value extends { open(): void; close(): void },
  Asked extends RefCounted<Value> | undefined,
>(key: readonly unknown[], ask: () => Asked): Asked {
  const [round, askAgain] = useState(0);
  const shared = useKeyed([...key, round], ask);
  useEffect(() => {
    if (shared?.isReplaced) return askAgain((last) => last + 1);
    return shared?.acquire();
  }, [shared]);
  return shared;
}

interface Source<Events> {
  on<Type extends keyof Events>(type: Type, listener: (event: Events[Type]) => void): () => void;
}

/** The shortest time between two updates of a component, ms: one frame. A busy room changes more often. */
const FRAME_MS = 16;

/**
 * State of an event emitter, read again after each of the given events.
 *
 * @param read Its fields are compared one by one, so a field must be the same object until it changes.
 */
export function useEmitterState<Events, Shown extends object>(
  source: Source<Events> | undefined,
  types: readonly (keyof Events)[],
  read: () => Shown,
): Shown {
  const last = useRef<Shown>(undefined);
  const subscribe = useCallback(
    (changed: () => void) => {
      const paced = pace(changed);
      const ends = types.map((type) => source?.on(type, paced.call));
      return () => {
        paced.cancel();
        for (const end of ends) end?.();
      };
    },
    // `types` is a constant in the caller.
    [source],
  );
  const show = () => {
    const shown = read();
    return last.current && isSame(last.current, shown) ? last.current : (last.current = shown);
  };
  return useSyncExternalStore(subscribe, show, show);
}

/** Calls at once, and then at most once a frame. The last call is never lost. */
function pace(call: () => void) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let calledAt = -Infinity;
  return {
    call() {
      if (timer !== undefined) return;
      const wait = calledAt + FRAME_MS - performance.now();
      if (wait > 0) {
        timer = setTimeout(run, wait);
      } else {
        run();
      }
    },
    cancel() {
      clearTimeout(timer);
    },
  };

  function run() {
    timer = undefined;
    calledAt = performance.now();
    call();
  }
}

function isSame<Shown extends object>(a: Shown, b: Shown): boolean {
  const keys = Object.keys(b) as (keyof Shown)[];
  return keys.every((key) => Object.is(a[key], b[key]));
}
