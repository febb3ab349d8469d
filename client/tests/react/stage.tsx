/**
 * Where the hooks and components are played: a page without a network, time that moves when the test says so, and
 * after each test the question whether anything was left behind.
 */

import { type ReactElement, type ReactNode, StrictMode, act } from "react";
import { type Root, createRoot } from "react-dom/client";
import { type MockInstance, afterEach, beforeEach, expect, vi } from "vitest";
import type { ChatMessage } from "../../src/index.js";
import { FakeSocket } from "./fake-socket.js";

declare global {
  var IS_REACT_ACT_ENVIRONMENT: boolean;
}

export const NOON = new Date(2026, 4, 20, 12).getTime();

/**
 * Longer than anything that may outlive its component: a connection closes in the next task, and a render that was
 * thrown away is forgotten after a second.
 */
const ALL_OVER_MS = 1_100;

const roots = new Set<Root>();
let complaints: MockInstance[] = [];

/** Answers HTTP requests; a test that makes none need not care. */
export const http = vi.fn<(url: string, init: RequestInit) => Promise<Response>>();

class NoResizeObserver {
  observe() {}
  unobserve() {}
  disconnect() {}
}

beforeEach(() => {
  vi.useFakeTimers({ now: NOON });
  vi.spyOn(Math, "random").mockReturnValue(1); // the longest wait of those that chance may pick
  complaints = [vi.spyOn(console, "error"), vi.spyOn(console, "warn")];
  for (const complaint of complaints) complaint.mockImplementation(() => {});
  http.mockReset().mockRejectedValue(new TypeError("there is no network"));
  FakeSocket.all.length = 0;
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("fetch", http);
  vi.stubGlobal("ResizeObserver", NoResizeObserver);
});

afterEach(async () => {
  for (const root of roots) act(() => root.unmount());
  roots.clear();
  document.body.replaceChildren();
  await tick(ALL_OVER_MS);
  const left = { sockets: FakeSocket.living.length, timers: vi.getTimerCount() };
  const logged = complaints.flatMap(({ mock }) => mock.calls.map((words) => words.map(String).join(" ")));
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  expect(logged, "the output on the console").toEqual([]);
  expect(left, "what was left behind").toEqual({ sockets: 0, timers: 0 });
});

/** Time goes by, and React draws what comes of it. */
export async function tick(ms = 0): Promise<void> {
  await act(() => vi.advanceTimersByTimeAsync(ms));
}

/** Long enough for every component to be notified of a change, and of the next one at once. */
export async function frame(): Promise<void> {
  await tick(40);
}

export interface Shown {
  page: HTMLElement;
  show: (element: ReactNode) => void;
  unmount: () => void;
}

export function show(element: ReactNode): Shown {
  const page = document.body.appendChild(document.createElement("div"));
  const root = createRoot(page);
  roots.add(root);
  act(() => root.render(element));
  return {
    page,
    show: (next) => act(() => root.render(next)),
    unmount: () => {
      roots.delete(root);
      act(() => root.unmount());
    },
  };
}

export interface Used<Props, Result> {
  /** The result of the hook in the newest render. */
  readonly now: Result;
  readonly renders: number;
  again: (props: Props) => void;
  unmount: () => void;
}

interface Surroundings {
  around?: (child: ReactElement) => ReactElement;
  strict?: boolean;
}

/** A component that does nothing but use a hook. */
export function use<Props, Result>(
  hook: (props: Props) => Result,
  first: Props,
  { around = (child) => child, strict = false }: Surroundings = {},
): Used<Props, Result> {
  const seen: Result[] = [];
  function User({ props }: { props: Props }) {
    seen.push(hook(props));
    return null;
  }
  const draw = (props: Props) => {
    const drawn = around(<User props={props} />);
    return strict ? <StrictMode>{drawn}</StrictMode> : drawn;
  };
  const shown = show(draw(first));
  return {
    get now() {
      return seen.at(-1) as Result;
    },
    get renders() {
      return seen.length;
    },
    again: (props) => shown.show(draw(props)),
    unmount: shown.unmount,
  };
}

/** Runs an action of the page, and what React renders after it. Does not wait for a returned promise. */
export async function doing<Result>(what: () => Result): Promise<{ result: Result }> {
  const done: Result[] = [];
  await act(async () => void done.push(what()));
  return { result: done[0] as Result };
}

/** The newest socket opens into a room that holds these messages. */
export function enter(messages: readonly ChatMessage[] = [], more: { resumed?: boolean } = {}): FakeSocket {
  const socket = FakeSocket.last;
  socket.accept();
  socket.receive({ type: "history", messages, ...more });
  return socket;
}

export function message(seq: number, more: Partial<ChatMessage> = {}): ChatMessage {
  return {
    id: `id ${seq}`,
    seq,
    userId: "2",
    userName: "Bo",
    content: `words ${seq}`,
    timestamp: NOON - 60_000 + seq,
    ...more,
  };
}

/** The stored form of the newest frame that a socket has sent. */
export function stored(socket: FakeSocket, seq: number, more: Partial<ChatMessage> = {}): ChatMessage {
  const { content, clientId } = socket.frames.findLast(({ type }) => type === "message");
  return message(seq, { userId: "1", userName: "Ana", content, clientId, ...more });
}
