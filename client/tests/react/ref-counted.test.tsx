import { expect, test, vi } from "vitest";
import { RefCounted } from "../../react/ref-counted.js";
import { tick } from "./stage.js";

function counted() {
  const target = { open: vi.fn(), close: vi.fn() };
  const lifecycle = { opened: vi.fn(), closed: vi.fn() };
  return { target, lifecycle, one: new RefCounted(target, lifecycle) };
}

test("nothing is opened before somebody takes it", async () => {
  const { target, lifecycle } = counted();
  await tick(999);
  expect(target.open).not.toHaveBeenCalled();
  expect(lifecycle.opened).not.toHaveBeenCalled();
});

test("what two have taken is opened once, and closed when both have given target back", async () => {
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

test("what is given back is not closed before the next task", () => {
  const { target, lifecycle, one } = counted();
  one.acquire()();
  expect(target.close).not.toHaveBeenCalled();
  expect(lifecycle.closed).not.toHaveBeenCalled();
});

test("what is taken again within the same task is neither closed nor opened again", async () => {
  const { target, lifecycle, one } = counted();
  one.acquire()();
  one.acquire();
  await tick(10_000);
  expect(target.close).not.toHaveBeenCalled();
  expect(target.open).toHaveBeenCalledOnce();
  expect(lifecycle.closed).not.toHaveBeenCalled();
});

test("what nobody ever takes is let go after a second", async () => {
  const { target, lifecycle } = counted();
  await tick(999);
  expect(lifecycle.closed).not.toHaveBeenCalled();
  await tick(1);
  expect(lifecycle.closed).toHaveBeenCalledOnce();
  expect(target.close).toHaveBeenCalledOnce();
  expect(vi.getTimerCount()).toBe(0);
});

test("what was taken in time stays open after that second", async () => {
  const { target, lifecycle, one } = counted();
  await tick(999);
  one.acquire();
  await tick(10_000);
  expect(target.close).not.toHaveBeenCalled();
  expect(lifecycle.closed).not.toHaveBeenCalled();
});

test("what has ended begins anew when target is taken again", async () => {
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

test("what nobody took in time can still be taken", async () => {
  const { target, lifecycle, one } = counted();
  await tick(5_000);
  one.acquire();
  await tick(5_000);
  expect(target.open).toHaveBeenCalledOnce();
  expect(lifecycle.opened).toHaveBeenCalledOnce();
  expect(target.close).toHaveBeenCalledOnce(); // the time before target was taken
});
