import { expect, test, vi } from "vitest";
import { RefCounted } from "../../react/ref-counted.js";
import { tick } from "./stage.js";

function counted() {
  const target = { open: vi.fn(), close: vi.fn() };
  const lifecycle = { opened: vi.fn(), closed: vi.fn() };
  return { target, lifecycle, one: new RefCounted(target, lifecycle) };
}

test("nothing is opened before it is acquired", async () => {
  const { target, lifecycle } = counted();
  await tick(999);
  expect(target.open).not.toHaveBeenCalled();
  expect(lifecycle.opened).not.toHaveBeenCalled();
});

test("two users share one open, and the last release closes", async () => {
  const { target, lifecycle, one } = counted();
  const first = one.acquire();
  const second = one.acquire();
  expect(target.open).toHaveBeenCalledOnce();
  expect(lifecycle.opened).toHaveBeenCalledOnce();
  first();
  await tick(10_000);
  expect(target.close).not.toHaveBeenCalled();
  second();
  await tick();
  expect(target.close).toHaveBeenCalledOnce();
  expect(lifecycle.closed).toHaveBeenCalledOnce();
  expect(target.open).toHaveBeenCalledOnce();
});

test("a release does not close before the next task", () => {
  const { target, lifecycle, one } = counted();
  one.acquire()();
  expect(target.close).not.toHaveBeenCalled();
  expect(lifecycle.closed).not.toHaveBeenCalled();
});

test("acquiring again in the same task neither closes nor opens", async () => {
  const { target, lifecycle, one } = counted();
  one.acquire()();
  one.acquire();
  await tick(10_000);
  expect(target.close).not.toHaveBeenCalled();
  expect(target.open).toHaveBeenCalledOnce();
  expect(lifecycle.closed).not.toHaveBeenCalled();
});

test("a value that is never acquired is closed after a second", async () => {
  const { target, lifecycle } = counted();
  await tick(999);
  expect(lifecycle.closed).not.toHaveBeenCalled();
  await tick(1);
  expect(lifecycle.closed).toHaveBeenCalledOnce();
  expect(target.close).toHaveBeenCalledOnce();
  expect(vi.getTimerCount()).toBe(0);
});

test("a value that is acquired in time stays open", async () => {
  const { target, lifecycle, one } = counted();
  await tick(999);
  one.acquire();
  await tick(10_000);
  expect(target.close).not.toHaveBeenCalled();
  expect(lifecycle.closed).not.toHaveBeenCalled();
});

test("a closed value opens again when it is acquired", async () => {
  const { target, lifecycle, one } = counted();
  one.acquire()();
  await tick();
  const release = one.acquire();
  expect(target.open).toHaveBeenCalledTimes(2);
  expect(lifecycle.opened).toHaveBeenCalledTimes(2);
  release();
  await tick();
  expect(target.close).toHaveBeenCalledTimes(2);
  expect(lifecycle.closed).toHaveBeenCalledTimes(2);
});

test("a value can be acquired after the second", async () => {
  const { target, lifecycle, one } = counted();
  await tick(5_000);
  one.acquire();
  await tick(5_000);
  expect(target.open).toHaveBeenCalledOnce();
  expect(lifecycle.opened).toHaveBeenCalledOnce();
  expect(target.close).toHaveBeenCalledOnce(); // the time before target was taken
});
