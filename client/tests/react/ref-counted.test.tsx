import { expect, test, vi } from "vitest";
import { Held } from "../../react/ref-counted.js";
import { tick } from "./stage.js";

function held() {
  const it = { open: vi.fn(), close: vi.fn() };
  const life = { began: vi.fn(), ended: vi.fn() };
  return { it, life, held: new Held(it, life) };
}

test("nothing is opened before somebody takes it", async () => {
  const { it, life } = held();
  await tick(999);
  expect(it.open).not.toHaveBeenCalled();
  expect(life.began).not.toHaveBeenCalled();
});

test("what two have taken is opened once, and closed when both have given it back", async () => {
  const { it, life, held: shared } = held();
  const first = shared.take();
  const second = shared.take();
  expect(it.open).toHaveBeenCalledOnce();
  expect(life.began).toHaveBeenCalledOnce();
  first();
  await tick(10_000);
  expect(it.close).not.toHaveBeenCalled();
  second();
  await tick();
  expect(it.close).toHaveBeenCalledOnce();
  expect(life.ended).toHaveBeenCalledOnce();
  expect(it.open).toHaveBeenCalledOnce();
});

test("what is given back is not closed before the next task", () => {
  const { it, life, held: one } = held();
  one.take()();
  expect(it.close).not.toHaveBeenCalled();
  expect(life.ended).not.toHaveBeenCalled();
});

test("what is taken again within the same task is neither closed nor opened again", async () => {
  const { it, life, held: one } = held();
  one.take()();
  one.take();
  await tick(10_000);
  expect(it.close).not.toHaveBeenCalled();
  expect(it.open).toHaveBeenCalledOnce();
  expect(life.ended).not.toHaveBeenCalled();
});

test("what nobody ever takes is let go after a second", async () => {
  const { it, life } = held();
  await tick(999);
  expect(life.ended).not.toHaveBeenCalled();
  await tick(1);
  expect(life.ended).toHaveBeenCalledOnce();
  expect(it.close).toHaveBeenCalledOnce();
  expect(vi.getTimerCount()).toBe(0);
});

test("what was taken in time stays open after that second", async () => {
  const { it, life, held: one } = held();
  await tick(999);
  one.take();
  await tick(10_000);
  expect(it.close).not.toHaveBeenCalled();
  expect(life.ended).not.toHaveBeenCalled();
});

test("what has ended begins anew when it is taken again", async () => {
  const { it, life, held: one } = held();
  one.take()();
  await tick();
  const giveBack = one.take();
  expect(it.open).toHaveBeenCalledTimes(2);
  expect(life.began).toHaveBeenCalledTimes(2);
  giveBack();
  await tick();
  expect(it.close).toHaveBeenCalledTimes(2);
  expect(life.ended).toHaveBeenCalledTimes(2);
});

test("what nobody took in time can still be taken", async () => {
  const { it, life, held: one } = held();
  await tick(5_000);
  one.take();
  await tick(5_000);
  expect(it.open).toHaveBeenCalledOnce();
  expect(life.began).toHaveBeenCalledOnce();
  expect(it.close).toHaveBeenCalledOnce(); // the time before it was taken
});
