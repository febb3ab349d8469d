import { Activity, type ReactNode } from "react";
import { describe, expect, test, vi } from "vitest";
import { ChatRoom, type ChatRoomLabels, type ChatRoomProps, DormouseProvider } from "../../react/index.js";
import type { ChatMessage } from "../../src/index.js";
import { FakeSocket } from "./fake-socket.js";
import { NOON, doing, enter, frame, http, message, show, stored, tick } from "./stage.js";

const DAY = 24 * 60 * 60_000;

const around = (child: ReactNode) => (
  <DormouseProvider credentials={() => ({ devToken: "1:Ana" })}>{child}</DormouseProvider>
);

/** The room as a user sees it on the page. */
class Reader {
  readonly page: HTMLElement;
  readonly again: (props: Partial<ChatRoomProps>) => void;
  readonly leave: () => void;

  constructor(props: Partial<ChatRoomProps>) {
    const draw = (newest: Partial<ChatRoomProps>) => around(<ChatRoom roomId="garden" {...newest} />);
    const shown = show(draw(props));
    this.page = shown.page;
    this.again = (newest) => shown.show(draw(newest));
    this.leave = shown.unmount;
  }

  get field(): HTMLTextAreaElement {
    return this.one("textarea") as HTMLTextAreaElement;
  }

  /** The lines of the list: days, and messages without their author. */
  get lines(): string[] {
    const lines = this.all(".dormouse-day, .dormouse-message");
    return lines.map((line) => (line.querySelector(".dormouse-bubble") ?? line).textContent);
  }

  get rows(): HTMLElement[] {
    return this.all(".dormouse-message");
  }

  get light(): string {
    return this.one(".dormouse-light").textContent;
  }

  get activity(): string {
    return this.one(".dormouse-activity").textContent;
  }

  /** The announcements for screen readers. */
  get announced(): string[] {
    return this.all(".dormouse-visually-hidden[aria-live=polite] > p").map(({ textContent }) => textContent);
  }

  all(selector: string): HTMLElement[] {
    return [...this.page.querySelectorAll<HTMLElement>(selector)];
  }

  one(selector: string): HTMLElement {
    const [found] = this.all(selector);
    if (!found) throw new Error(`nothing on the page is ${selector}`);
    return found;
  }

  button(name: string): HTMLButtonElement | undefined {
    const buttons = this.all("button") as HTMLButtonElement[];
    return buttons.find((button) => (button.getAttribute("aria-label") ?? button.textContent) === name);
  }

  async press(name: string): Promise<void> {
    const button = this.button(name);
    if (!button) throw new Error(`there is no button ${name}`);
    await doing(() => button.click());
    await frame();
  }

  async type(text: string): Promise<void> {
    const { field } = this;
    // Bypasses React, which ignores a value that it has set itself.
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value")?.set?.call(field, text);
    await doing(() => field.dispatchEvent(new InputEvent("input", { bubbles: true })));
  }

  /** Whether the key kept its default action. */
  async key(key: string, more: KeyboardEventInit = {}): Promise<boolean> {
    const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
    await doing(() => this.field.dispatchEvent(event));
    return !event.defaultPrevented;
  }

  async say(text: string): Promise<void> {
    await this.type(text);
    await this.key("Enter");
    await frame();
  }
}

async function inRoom(messages: ChatMessage[] = [], props: Partial<ChatRoomProps> = {}) {
  const reader = new Reader(props);
  await tick();
  const socket = enter(messages);
  await frame();
  return { reader, socket };
}

/** The messages that were sent, without typing notices. */
function sent(socket: FakeSocket) {
  return socket.frames.filter(({ type }) => type === "message");
}

async function receives(socket: FakeSocket, ...frames: unknown[]) {
  for (const received of frames) socket.receive(received);
  await frame();
}

describe("the list", () => {
  test("shows the history, with a line for each day", async () => {
    const { reader } = await inRoom([
      message(1, { timestamp: new Date(2025, 11, 31, 23).getTime() }),
      message(2, { timestamp: new Date(2026, 0, 2, 1).getTime() }),
      message(3, { timestamp: NOON - DAY }),
      message(4, { timestamp: NOON - 2_000 }),
      message(5, { timestamp: NOON - 1_000 }),
    ]);
    expect(reader.lines).toEqual([
      "December 31, 2025",
      "words 1",
      "Friday, January 2",
      "words 2",
      "Yesterday",
      "words 3",
      "Today",
      "words 4",
      "words 5",
    ]);
  });

  test("the names of days change at midnight", async () => {
    const { reader } = await inRoom([message(1)]);
    expect(reader.lines[0]).toBe("Today");
    vi.setSystemTime(NOON + DAY);
    await tick(60_000);
    expect(reader.lines[0]).toBe("Yesterday");
    vi.setSystemTime(NOON + 2 * DAY);
    await doing(() => document.dispatchEvent(new Event("visibilitychange")));
    expect(reader.lines[0]).toBe("Wednesday, May 20");
  });

  test("shows author and time, and a group for each author", async () => {
    const { reader } = await inRoom([message(1), message(2), message(3, { userId: "3", userName: "çağla" })]);
    expect(reader.all(".dormouse-name").map(({ textContent }) => textContent)).toEqual(["Bo", "Bo", "çağla"]);
    expect(reader.all(".dormouse-avatar").map(({ textContent }) => textContent)).toEqual(["B", "B", "Ç"]);
    expect(reader.rows.map(({ dataset }) => dataset.opens)).toEqual(["true", undefined, "true"]);
    expect(reader.all("time").map((time) => time.getAttribute("datetime"))).toEqual(
      [1, 2, 3].map((seq) => new Date(NOON - 60_000 + seq).toISOString()),
    );
  });

  test("recognises our own messages by the credentials", async () => {
    const { reader } = await inRoom([message(1), message(2, { userId: "1", userName: "Ana" })]);
    expect(reader.rows.map(({ dataset }) => dataset.own)).toEqual([undefined, "true"]);
  });

  test("says why it is empty", async () => {
    const reader = new Reader({});
    await tick();
    expect(reader.one(".dormouse-empty").textContent).toBe("On the way to the room …");
    const socket = enter();
    await frame();
    expect(reader.one(".dormouse-empty").textContent).toBe("Nobody has said anything yet.");
    await receives(socket, { type: "message", message: message(1) });
    expect(reader.all(".dormouse-empty")).toEqual([]);
  });

  test("says that the room was never entered", async () => {
    const reader = new Reader({});
    await tick();
    FakeSocket.last.accept();
    FakeSocket.last.drop(4403);
    await frame();
    expect(reader.one(".dormouse-empty").textContent).toBe("Not in the room.");
  });

  test("shows messages of two users who chose the same clientId", async () => {
    const { reader, socket } = await inRoom();
    await reader.say("mine");
    const echo = stored(socket, 1);
    const theirs = message(2, { content: "theirs", clientId: echo.clientId ?? "" });
    const others = message(3, { content: "others", userId: "3", clientId: echo.clientId ?? "" });
    await receives(socket, ...[echo, theirs, others].map((one) => ({ type: "message", message: one })));
    expect(reader.lines).toEqual(["Today", "mine", "theirs", "others"]);
  });

  test("keeps unchanged rows when others come in", async () => {
    const { reader, socket } = await inRoom([message(1)]);
    const [first] = reader.rows;
    let touched = 0;
    const observer = new MutationObserver((changes) => (touched += changes.length));
    observer.observe(first as HTMLElement, { attributes: true, childList: true, subtree: true, characterData: true });
    await receives(socket, { type: "message", message: message(2) }, { type: "typing", userId: "2", userName: "Bo" });
    expect(reader.rows[0]).toBe(first);
    expect(touched + observer.takeRecords().length).toBe(0);
  });
});

describe("messages of others", () => {
  test("is text and never markup", async () => {
    const content = `<img src=x onerror="alert(1)"><script>alert(1)</script>&amp;`;
    const { reader } = await inRoom([message(1, { content, userName: "<b>Bo</b>" })]);
    expect(reader.lines).toEqual(["Today", content]);
    expect(reader.all("img, script, b")).toEqual([]);
    expect(reader.one(".dormouse-name").textContent).toBe("<b>Bo</b>");
  });

  test("has links only for web addresses, without referrer", async () => {
    const content = "see https://example.test/a?b=1. Not javascript:alert(1), not data:text/html,x";
    const { reader } = await inRoom([
      message(1, { content }),
      message(2, { content: "javascript://example.test/%0aalert(1)" }),
    ]);
    expect(reader.lines).toEqual(["Today", content, "javascript://example.test/%0aalert(1)"]);
    const links = reader.all("a") as HTMLAnchorElement[];
    expect(links.map((link) => link.getAttribute("href"))).toEqual(["https://example.test/a?b=1"]);
    expect(links[0]?.target).toBe("_blank");
    expect(links[0]?.rel).toBe("noopener noreferrer nofollow");
  });
});

describe("our own messages", () => {
  test("are there at once, then stored, in the same element", async () => {
    const { reader, socket } = await inRoom([message(1)]);
    await reader.say("mine");
    const row = reader.rows[1];
    expect(row?.dataset).toMatchObject({ own: "true", state: "sending" });
    expect(row?.textContent).toContain("Sending…");
    await receives(socket, { type: "message", message: stored(socket, 2) });
    expect(reader.lines).toEqual(["Today", "words 1", "mine"]);
    expect(reader.rows[1]).toBe(row);
    expect(row?.dataset.state).toBeUndefined();
    expect(row?.textContent).not.toContain("Sending…");
  });

  test.each([49, 50, 51, 100])("keep their element as number %i of the room as well", async (seq) => {
    const { reader, socket } = await inRoom(Array.from({ length: 5 }, (_, index) => message(seq - 5 + index)));
    await reader.say("mine");
    const row = reader.rows.at(-1);
    await receives(socket, { type: "message", message: stored(socket, seq) });
    expect(reader.lines.at(-1)).toBe("mine");
    expect(reader.rows.at(-1)).toBe(row);
  });

  test("keep their element when a history shows that they are stored", async () => {
    const { reader, socket } = await inRoom([message(1)]);
    await reader.say("mine");
    const row = reader.rows[1];
    const echo = stored(socket, 2);
    socket.drop();
    await tick(500);
    enter([echo], { resumed: true });
    await frame();
    expect(reader.rows[1]).toBe(row);
    expect(reader.lines).toEqual(["Today", "words 1", "mine"]);
  });

  test("are queued without a connection, and sent with the next one", async () => {
    const { reader, socket } = await inRoom();
    socket.drop();
    await reader.say("from the tunnel");
    expect(reader.rows[0]?.dataset.state).toBe("queued");
    expect(reader.rows[0]?.textContent).toContain("Kept until the room is back");
    await tick(500);
    enter([], { resumed: true });
    await frame();
    expect(FakeSocket.last.frames).toMatchObject([{ content: "from the tunnel" }]);
    expect(reader.rows[0]?.textContent).toContain("Sending…");
  });

  async function refused() {
    const { reader, socket } = await inRoom();
    await reader.say("hello");
    const [{ clientId }] = sent(socket);
    await receives(socket, { type: "error", code: "rate-limited", message: "too fast", clientId });
    return { reader, socket };
  }

  test("that failed say why, and can be tried again", async () => {
    const { reader, socket } = await refused();
    expect(reader.rows[0]?.dataset.state).toBe("failed");
    expect(reader.rows[0]?.textContent).toContain("Not sent: too fast");
    await reader.press("Try again");
    expect(sent(socket)).toHaveLength(2);
    expect(reader.rows[0]?.textContent).toContain("Sending…");
    expect(reader.button("Try again")).toBeUndefined();
    await receives(socket, { type: "message", message: stored(socket, 1) });
    expect(reader.rows[0]?.dataset.state).toBeUndefined();
  });

  test("that failed can be discarded", async () => {
    const { reader, socket } = await refused();
    await reader.press("Discard");
    expect(reader.rows).toEqual([]);
    expect(sent(socket)).toHaveLength(1);
  });

  test("that fail once more are announced", async () => {
    const { reader, socket } = await refused();
    socket.drop(4403);
    await frame();
    await reader.press("Try again");
    expect(reader.announced).toContain("Still not sent");
    expect(reader.rows[0]?.dataset.state).toBe("failed");
  });
});

test("two users of a room have different colours", async () => {
  // Both prefer the sixth colour.
  const { reader } = await inRoom([
    message(1, { userId: "ana" }),
    message(2, { userId: "名前" }),
    message(3, { userId: "ana" }),
  ]);
  const hues = reader.all(".dormouse-avatar").map(({ dataset }) => dataset["hue"]);
  expect(hues).toEqual(["6", "7", "6"]);
});

describe("the field", () => {
  test("Enter sends and empties it", async () => {
    const { reader, socket } = await inRoom();
    await reader.type("hello");
    expect(await reader.key("Enter")).toBe(false);
    expect(sent(socket)).toMatchObject([{ content: "hello" }]);
    expect(reader.field.value).toBe("");
    expect(document.activeElement).toBe(reader.field);
  });

  test("so does the button", async () => {
    const { reader, socket } = await inRoom();
    await reader.type("hello");
    await reader.press("Send");
    expect(sent(socket)).toMatchObject([{ content: "hello" }]);
    expect(reader.field.value).toBe("");
  });

  test.each([
    ["Shift and Enter", { shiftKey: true }],
    ["Enter that ends a composed word", { isComposing: true }],
    ["Enter that ends a composed word in Safari, which says so by the old code alone", { keyCode: 229 }],
  ])("%s sends nothing, and does what it does in any field", async (_, more) => {
    const { reader, socket } = await inRoom();
    await reader.type("hello");
    expect(await reader.key("Enter", more)).toBe(true);
    expect(reader.field.value).toBe("hello");
    expect(sent(socket)).toEqual([]);
  });

  test("other keys send nothing", async () => {
    const { reader, socket } = await inRoom();
    await reader.type("hello");
    expect(await reader.key("a")).toBe(true);
    expect(sent(socket)).toEqual([]);
  });

  test("blank text is not sent, and is not typing", async () => {
    const { reader, socket } = await inRoom();
    await reader.say("  \n ");
    expect(socket.frames).toEqual([]);
    expect(reader.rows).toEqual([]);
  });

  test("typing notices are sent", async () => {
    const { reader, socket } = await inRoom();
    await reader.type("h");
    await reader.type("he");
    expect(socket.frames).toEqual([{ type: "typing" }]);
  });

  test("restores the text after a refusal", async () => {
    const { reader, socket } = await inRoom();
    socket.drop(4403);
    await frame();
    await reader.say("too late");
    expect(reader.field.value).toBe("too late");
    expect(reader.rows).toEqual([]);
    expect(reader.announced).toContain("Not sent: not connected to the room");
  });

  test("restores the text if too many messages wait", async () => {
    const { reader, socket } = await inRoom();
    socket.drop(1001, "retry-after=60");
    await frame();
    for (let count = 0; count < 100; count += 1) {
      await reader.type(`words ${count}`);
      await reader.key("Enter");
    }
    await frame();
    expect(reader.field.value).toBe("");
    await reader.say("one too many");
    expect(reader.field.value).toBe("one too many");
    expect(reader.rows).toHaveLength(100);
    expect(reader.announced).toContain("Not sent: 100 messages are pending already");
  });

  test("keeps newer text instead of restoring the old one", async () => {
    const { reader, socket } = await inRoom();
    socket.drop(4403);
    await frame();
    await reader.type("first");
    await doing(() => {
      reader.field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
      Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value")?.set?.call(reader.field, "second");
      reader.field.dispatchEvent(new InputEvent("input", { bubbles: true }));
    });
    await frame();
    expect(reader.field.value).toBe("second");
  });

  test("stays empty if an accepted message fails later", async () => {
    const { reader, socket } = await inRoom();
    await reader.say("hello");
    await receives(socket, {
      type: "error",
      code: "rate-limited",
      message: "too fast",
      clientId: sent(socket)[0].clientId,
    });
    expect(reader.field.value).toBe("");
  });

  test("keeps a text that is too long until it is made shorter", async () => {
    const { reader, socket } = await inRoom();
    const left = () => document.getElementById(reader.field.getAttribute("aria-describedby") ?? "")?.textContent;
    const pasted = "x".repeat(2_340);
    await reader.type(pasted);
    expect(left()).toBe("340 too many");
    expect(reader.field.getAttribute("aria-invalid")).toBe("true");
    await reader.key("Enter");
    await frame();
    expect(reader.field.value).toBe(pasted);
    expect(sent(socket)).toEqual([]);
    expect(reader.announced).toContain("Not sent: 340 characters too many");
    await reader.type("x".repeat(2_000));
    expect([left(), reader.field.getAttribute("aria-invalid")]).toEqual(["0 left", null]);
    await reader.key("Enter");
    expect(sent(socket)).toMatchObject([{ content: "x".repeat(2_000) }]);
  });

  test("shows how much is left near the limit", async () => {
    const { reader } = await inRoom();
    const left = () => document.getElementById(reader.field.getAttribute("aria-describedby") ?? "")?.textContent;
    await reader.type("x".repeat(1_800));
    expect(left()).toBe("");
    await reader.type("x".repeat(1_801));
    expect(left()).toBe("199 left");
  });

  test("has a label, a placeholder, and the focus with autoFocus", async () => {
    const { reader } = await inRoom([], { title: "The garden" });
    expect(reader.field.labels?.[0]?.textContent).toBe("Message");
    expect(reader.field.placeholder).toBe("Message The garden");
    expect(document.activeElement).toBe(document.body);
    reader.again({ autoFocus: true });
    expect(document.activeElement).toBe(reader.field);
  });

  test("another room begins with an empty one", async () => {
    const { reader } = await inRoom([message(1)]);
    await reader.type("half written");
    reader.again({ roomId: "kitchen" });
    expect(reader.field.value).toBe("");
    expect(reader.rows).toEqual([]);
    await tick();
    expect(FakeSocket.living).toHaveLength(1);
  });
});

describe("the activity line", () => {
  test("shows who is typing, by name", async () => {
    const { reader, socket } = await inRoom();
    await receives(socket, { type: "typing", userId: "2", userName: "Bo" });
    expect(reader.activity).toBe("Bo is typing");
    await receives(socket, { type: "typing", userId: "3", userName: "Cleo" });
    expect(reader.activity).toBe("Bo and Cleo are typing");
    await tick(3_000);
    expect(reader.activity).toBe("");
  });

  test("shows joins and leaves for four seconds, behind typing", async () => {
    const { reader, socket } = await inRoom();
    await receives(socket, { type: "user_joined", userId: "2", userName: "Bo", timestamp: 1 });
    expect(reader.activity).toBe("Bo came in");
    await tick(2_000);
    await receives(socket, { type: "user_left", userId: "2", userName: "Bo", timestamp: 1 });
    expect(reader.activity).toBe("Bo left");
    await receives(socket, { type: "typing", userId: "3", userName: "Cleo" });
    expect(reader.activity).toBe("Cleo is typing");
    await tick(3_000);
    expect(reader.activity).toBe("Bo left");
    await tick(1_000);
    expect(reader.activity).toBe("");
  });

  test("shows the same text for another four seconds", async () => {
    const { reader, socket } = await inRoom();
    const joined = { type: "user_joined", userId: "2", userName: "Bo", timestamp: 1 };
    await receives(socket, joined);
    await tick(3_000);
    await receives(socket, joined);
    await tick(3_000);
    expect(reader.activity).toBe("Bo came in");
  });

  test("shows a join for four seconds, also after another render", async () => {
    const { reader, socket } = await inRoom([], { labels: {} });
    await receives(socket, { type: "user_joined", userId: "2", userName: "Bo", timestamp: 1 });
    for (let second = 0; second < 5; second += 1) {
      reader.again({ labels: {} });
      await tick(1_000);
    }
    expect(reader.activity).toBe("");
  });

  test("uses the newest labels for a join", async () => {
    const old = vi.fn(() => "old");
    const { reader, socket } = await inRoom([], { labels: { joined: old } });
    reader.again({ labels: { joined: (userName) => `Hello ${userName}` } });
    await receives(socket, { type: "user_joined", userId: "2", userName: "Bo", timestamp: 1 });
    expect(reader.activity).toBe("Hello Bo");
    expect(old).not.toHaveBeenCalled();
  });

  test("does not keep a join while it is hidden", async () => {
    const draw = (mode: "visible" | "hidden") =>
      around(<Activity mode={mode}>{<ChatRoom roomId="garden" />}</Activity>);
    const shown = show(draw("visible"));
    await tick();
    const socket = enter();
    await receives(socket, { type: "user_joined", userId: "2", userName: "Bo", timestamp: 1 });
    shown.show(draw("hidden"));
    shown.show(draw("visible"));
    await tick(10_000);
    expect(shown.page.querySelector(".dormouse-activity")?.textContent).toBe("");
  });
});

describe("the light", () => {
  test("has a text for each state, and a button to reconnect", async () => {
    const reader = new Reader({});
    await tick();
    expect(reader.light).toBe("Connecting");
    expect(reader.one(".dormouse-light").dataset.state).toBe("connecting");
    FakeSocket.last.accept();
    await frame();
    expect(reader.light).toBe("Connected");
    FakeSocket.last.drop();
    await frame();
    expect(reader.light).toBe("Reconnecting");
    await tick(500);
    FakeSocket.last.accept();
    FakeSocket.last.drop(4403);
    await frame();
    expect(reader.light).toBe("Not allowed hereReconnect");
    await reader.press("Reconnect");
    FakeSocket.last.accept();
    FakeSocket.last.drop(4401);
    await tick(100);
    FakeSocket.last.drop(4401);
    await frame();
    expect(reader.light).toContain("Signed out");
  });

  test("counts down a long wait, which can be cut short", async () => {
    const { reader, socket } = await inRoom();
    socket.drop(1001, "retry-after=30");
    await frame();
    expect(reader.light).toBe("Back in a moment30 sTry now");
    await tick(10_000);
    expect(reader.light).toBe("Back in a moment20 sTry now");
    await reader.press("Try now");
    expect(FakeSocket.all).toHaveLength(2);
    expect(reader.light).toBe("Connecting");
  });

  test("never shows a longer wait than there is", async () => {
    const counted: number[] = [];
    const labels: Partial<ChatRoomLabels> = { seconds: (count) => `${counted.push(count)}` };
    const { socket } = await inRoom([], { labels });
    await tick(10_000);
    socket.drop(1001, "retry-after=5");
    for (let second = 0; second < 6; second += 1) await tick(1_000);
    FakeSocket.last.drop(1001, "retry-after=7");
    expect([...new Set(counted)]).toEqual([5, 4, 3, 7]); // no countdown for the last two seconds
  });

  test("shows no countdown below two seconds", async () => {
    const { reader, socket } = await inRoom();
    await tick(10_000);
    socket.drop();
    expect(reader.light).toBe("Reconnecting");
    await tick(400);
    expect(reader.light).toBe("Reconnecting");
  });

  test("is a status for screen readers, without the countdown", async () => {
    const { reader, socket } = await inRoom();
    socket.drop(1001, "retry-after=30");
    await frame();
    expect(reader.one("[role=status]").textContent).toBe("Back in a moment");
    expect(reader.one(".dormouse-countdown").getAttribute("aria-hidden")).toBe("true");
  });
});

describe("the announcements", () => {
  test("are new messages of others", async () => {
    const { reader, socket } = await inRoom([message(1)]);
    expect(reader.announced).toEqual([]);
    await receives(socket, { type: "message", message: message(2) });
    await reader.say("mine");
    await receives(socket, { type: "message", message: stored(socket, 3) });
    expect(reader.announced).toEqual(["Bo: words 2"]);
    socket.drop();
    await tick(500);
    enter([message(4)], { resumed: true });
    await frame();
    expect(reader.announced).toEqual(["Bo: words 2"]);
  });

  test("are five at most, and removed after ten seconds", async () => {
    const { reader, socket } = await inRoom();
    await receives(
      socket,
      ...Array.from({ length: 7 }, (_, index) => ({ type: "message", message: message(index + 1) })),
    );
    expect(reader.announced).toEqual([3, 4, 5, 6, 7].map((seq) => `Bo: words ${seq}`));
    await tick(5_000);
    await receives(socket, { type: "message", message: message(8) });
    await tick(5_000);
    expect(reader.announced).toHaveLength(5);
    await tick(5_000);
    expect(reader.announced).toEqual([]);
  });

  test("include refusals of the server", async () => {
    const { reader, socket } = await inRoom();
    await receives(socket, { type: "error", code: "bad", message: "no such type" });
    await receives(socket, { type: "error", code: "rate-limited", message: "too fast", clientId: "some" });
    expect(reader.announced).toEqual(["no such type", "Not sent: too fast"]);
  });

  test("include a resync", async () => {
    const { reader, socket } = await inRoom([message(1)]);
    socket.drop();
    await tick(500);
    enter([message(900)], { resumed: false });
    await frame();
    expect(reader.announced).toEqual(["Much was said while you were away. These are the latest messages."]);
    expect(reader.lines).toEqual(["Today", "words 900"]);
  });
});

describe("older messages", () => {
  test("are loaded on demand, until there are no more", async () => {
    const { reader } = await inRoom([message(3)]);
    let answer = (_: Response) => {};
    http.mockReturnValueOnce(new Promise((resolve) => (answer = resolve)));
    await reader.press("Load older messages");
    expect(reader.button("Loading…")).toBeDefined();
    await reader.press("Loading…");
    reader.button("Loading…")?.focus();
    await doing(() => answer(Response.json({ messages: [message(1), message(2)], hasMore: false })));
    await frame();
    expect(http).toHaveBeenCalledOnce();
    expect(reader.lines).toEqual(["Today", "words 1", "words 2", "words 3"]);
    expect(reader.announced).toEqual(["2 older messages"]);
    expect(reader.all(".dormouse-older")).toEqual([]);
    expect(document.activeElement).toBe(reader.one(".dormouse-scroller")); // and not the top of the page
  });

  test("that fail to load are announced, and can be requested again", async () => {
    const { reader } = await inRoom([message(3)]);
    await reader.press("Load older messages");
    expect(reader.announced).toEqual(["The older messages could not be loaded"]);
    http.mockResolvedValueOnce(Response.json({ messages: [message(2)], hasMore: true }));
    await reader.press("Load older messages");
    expect(reader.announced.at(-1)).toBe("1 older message");
    expect(reader.button("Load older messages")).toBeDefined();
  });

  test("are not offered if there are none", async () => {
    const { reader } = await inRoom([message(1)]);
    expect(reader.all(".dormouse-older")).toEqual([]);
  });
});

describe("scrolling", () => {
  /** The list is higher than the page, and the reader has scrolled up. */
  async function wentUp(first = 1) {
    const { reader, socket } = await inRoom([message(first)]);
    const scroller = reader.one(".dormouse-scroller");
    Object.defineProperties(scroller, {
      scrollHeight: { value: 1_000, configurable: true },
      clientHeight: { value: 100 },
    });
    await receives(socket, { type: "message", message: message(first + 1) });
    expect(scroller.scrollTop).toBe(1_000);
    scroller.scrollTop = 500;
    await doing(() => scroller.dispatchEvent(new Event("scroll")));
    return { reader, socket, scroller };
  }

  test("a reader who scrolled up sees the number of new messages", async () => {
    const { reader, socket, scroller } = await wentUp();
    expect(reader.button("To the latest")).toBeDefined();
    await receives(socket, { type: "message", message: message(3) });
    expect(reader.button("1 new message")).toBeDefined();
    await receives(socket, { type: "message", message: message(4) }, { type: "message", message: message(5) });
    expect(scroller.scrollTop).toBe(500);
    await reader.press("3 new messages");
    expect(scroller.scrollTop).toBe(1_000);
    expect(reader.all(".dormouse-newer")).toEqual([]);
  });

  test("scrolling down resets the number of new messages", async () => {
    const { reader, socket, scroller } = await wentUp();
    await receives(socket, { type: "message", message: message(3) });
    scroller.scrollTop = 880;
    await doing(() => scroller.dispatchEvent(new Event("scroll")));
    expect(reader.all(".dormouse-newer")).toEqual([]);
    scroller.scrollTop = 300;
    await doing(() => scroller.dispatchEvent(new Event("scroll")));
    expect(reader.button("To the latest")).toBeDefined();
  });

  test("sending a message scrolls down, and it does not count as new", async () => {
    const { reader, socket, scroller } = await wentUp();
    await reader.say("mine");
    expect(scroller.scrollTop).toBe(1_000);
    expect(reader.all(".dormouse-newer")).toEqual([]);
    scroller.scrollTop = 500;
    await doing(() => scroller.dispatchEvent(new Event("scroll")));
    await receives(socket, { type: "message", message: stored(socket, 3) });
    expect(reader.button("To the latest")).toBeDefined();
  });

  test("a list after a resync is shown from its end", async () => {
    const { reader, socket, scroller } = await wentUp();
    await receives(socket, { type: "message", message: message(3) });
    socket.drop();
    await tick(500);
    enter([message(900)], { resumed: false });
    await frame();
    expect(scroller.scrollTop).toBe(1_000);
    expect(reader.all(".dormouse-newer")).toEqual([]);
  });

  test("visible messages stay in place as older ones are added", async () => {
    const { reader, scroller } = await wentUp(1_001);
    const heights = vi.spyOn(Element.prototype, "getBoundingClientRect");
    // The first message stood at 10 and stands at 210 once two others are above it.
    heights.mockImplementation(() => new DOMRect(0, reader.rows.length > 2 ? 210 : 10, 0, 0));
    scroller.scrollTop = 0;
    await doing(() => scroller.dispatchEvent(new Event("scroll")));
    http.mockResolvedValueOnce(Response.json({ messages: [message(999), message(1_000)], hasMore: true }));
    await reader.press("Load older messages");
    expect(reader.rows).toHaveLength(4);
    expect(scroller.scrollTop).toBe(200);
  });
});

describe("around the list", () => {
  test("the room has a heading, which names it", async () => {
    const { reader } = await inRoom();
    const section = reader.one("section");
    const heading = reader.one("h2");
    expect(heading.textContent).toBe("garden");
    expect(section.getAttribute("aria-labelledby")).toBe(heading.id);
    reader.again({ title: "The garden", headingLevel: 4, className: "mine", children: <i>aside</i> });
    expect(reader.one("h4").textContent).toBe("The garden");
    expect(reader.all("h2")).toEqual([]);
    expect(section.className).toBe("dormouse-chat mine");
    expect(reader.one("header i").textContent).toBe("aside");
    expect(FakeSocket.all).toHaveLength(1);
  });

  test("labels can be replaced one by one", async () => {
    const labels: Partial<ChatRoomLabels> = {
      locale: "de",
      today: "Heute",
      send: "Senden",
      placeholder: (title) => `Nachricht an ${title}`,
      typing: (names) => `${names.join(" und ")} schreibt`,
      messageBy: (userName, content) => `${userName} sagt ${content}`,
    };
    const { reader, socket } = await inRoom([message(1, { timestamp: new Date(2026, 0, 2).getTime() }), message(2)], {
      labels,
    });
    expect(reader.lines).toEqual(["Freitag, 2. Januar", "words 1", "Heute", "words 2"]);
    expect(reader.button("Senden")).toBeDefined();
    expect(reader.field.placeholder).toBe("Nachricht an garden");
    await receives(socket, { type: "typing", userId: "2", userName: "Bo" });
    expect(reader.activity).toBe("Bo schreibt");
    await receives(socket, { type: "message", message: message(3) });
    expect(reader.announced).toEqual(["Bo sagt words 3"]);
    expect(reader.light).toBe("Connected");
  });

  test("the list, the field and the status share one connection", async () => {
    const { reader } = await inRoom([message(1)]);
    expect(FakeSocket.all).toHaveLength(1);
    reader.leave();
    await tick(20);
    expect(FakeSocket.living).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("a reader who may not write", () => {
  test("sees a sentence instead of the field, until a new token", async () => {
    const { reader, socket } = await inRoom([message(1)]);
    await reader.type("half a sentence");
    await receives(socket, { type: "permissions", permissions: ["read"] });
    expect(reader.all("textarea, .dormouse-send")).toEqual([]);
    expect(reader.one(".dormouse-read-only").textContent).toBe("You may read this room, and not write in it.");
    await receives(socket, { type: "permissions", permissions: ["read", "write"] });
    expect(reader.all(".dormouse-read-only")).toEqual([]);
    expect(reader.field.value).toBe("half a sentence");
  });

  test("reads it in another language", async () => {
    const { reader, socket } = await inRoom([], { labels: { readOnly: "Nur lesen." } });
    await receives(socket, { type: "permissions", permissions: ["read"] });
    expect(reader.one(".dormouse-read-only").textContent).toBe("Nur lesen.");
  });
});

describe("a moderator", () => {
  const MODERATOR = { type: "permissions", permissions: ["read", "write", "moderate"] };
  const at = NOON;

  test("has tools at each message, and nobody else has them", async () => {
    const { reader, socket } = await inRoom([message(1), message(2, { userId: "1", userName: "Ana" })]);
    expect(reader.all(".dormouse-moderation, summary")).toEqual([]);
    await receives(socket, MODERATOR);
    expect(reader.all(".dormouse-link").map((tool) => tool.getAttribute("aria-label") ?? tool.textContent)).toEqual([
      "Delete the message of Bo",
      "Mute Bo",
      "10 minutes",
      "1 hour",
      "1 day",
      "End the mute",
      "Delete the message of Ana",
    ]);
    await receives(socket, { type: "permissions", permissions: ["read", "write"] });
    expect(reader.all(".dormouse-moderation")).toEqual([]);
  });

  test("deletes a message, and the focus stays in its row", async () => {
    const { reader, socket } = await inRoom([message(1, { content: "rude" }), message(2)]);
    await receives(socket, MODERATOR);
    const deleted = { id: "id 1", seq: 1, by: "1", at };
    http.mockImplementation(async () => Response.json({ success: true, deleted }));
    reader.button("Delete the message of Bo")?.focus();
    await reader.press("Delete the message of Bo");
    const [url, init] = http.mock.lastCall ?? [];
    expect([new URL(url ?? "").pathname, init?.method]).toEqual([
      "/api/realtime/rooms/garden/messages/id%201",
      "DELETE",
    ]);
    expect(reader.lines).toEqual(["Today", "Message deleted", "words 2"]);
    expect(reader.page.innerHTML).not.toContain("rude");
    expect(reader.rows[0]?.contains(document.activeElement)).toBe(true);
    expect(reader.announced).toContain("A message of Bo was deleted");
    await receives(socket, { type: "deleted", ...deleted });
    expect(reader.announced.filter((text) => text.includes("deleted"))).toHaveLength(1);
    expect(reader.all("summary")).toHaveLength(2);
  });

  test("reads that a message could not be deleted", async () => {
    const { reader, socket } = await inRoom([message(1)]);
    await receives(socket, MODERATOR);
    http.mockImplementation(async () => Response.json({ detail: "no" }, { status: 403 }));
    await reader.press("Delete the message of Bo");
    expect(reader.announced).toContain("Not deleted");
    expect(reader.lines).toEqual(["Today", "words 1"]);
  });

  test("mutes a user for a time", async () => {
    const { reader, socket } = await inRoom([message(1)]);
    await receives(socket, MODERATOR);
    const mute = { user: "2", until: NOON + 3_600_000, seconds: 3_600, by: "1" };
    http.mockImplementation(async () => Response.json({ success: true, mute }));
    const choice = reader.one("details") as HTMLDetailsElement;
    choice.open = true;
    await reader.press("1 hour");
    expect(http.mock.lastCall?.[1].body).toBe('{"user":"2","seconds":3600}');
    expect(reader.announced).toContain("Bo is muted");
    expect([choice.open, document.activeElement?.textContent]).toEqual([false, "Mute"]);
    await reader.press("End the mute");
    expect(reader.announced).toContain("Bo may send messages again");
  });
});

describe("a muted user", () => {
  test("sees the end of the mute instead of the field until then", async () => {
    const { reader, socket } = await inRoom([message(1)]);
    await reader.type("half a sentence");
    await receives(socket, { type: "muted", user: "1", until: 5, seconds: 60, by: "9" });
    expect(reader.all("textarea, .dormouse-send")).toEqual([]);
    expect(reader.one(".dormouse-read-only").textContent).toMatch(/^A moderator has muted you until .*12:01/);
    await tick(60_000);
    await frame();
    expect(reader.all(".dormouse-read-only")).toEqual([]);
    expect(reader.field.value).toBe("half a sentence");
  });

  test("sees a message that was deleted while the page was away", async () => {
    const { reader, socket } = await inRoom([message(1, { content: "rude" }), message(2)]);
    socket.drop(1001, "retry-after=1");
    await tick(1_000);
    FakeSocket.last.accept();
    const deleted = [{ id: "id 1", seq: 1, by: "9", at: NOON }];
    FakeSocket.last.receive({ type: "history", messages: [], resumed: true, deleted });
    await frame();
    expect(reader.lines).toEqual(["Today", "Message deleted", "words 2"]);
  });
});
