// @ts-check
import { describe, expect, test, vi } from "vitest";
import { renewalDelay } from "../../src/renewal.js";
import { eventsOf, jwt, pass, useFakeTime } from "./helpers.js";
import { connected as connectedAnyhow, connecting } from "./room-socket-helpers.js";

useFakeTime();

const MINUTE = 60_000;

/** A socket without pings. @param {Parameters<typeof connectedAnyhow>[0]} options */
const connected = (options) => connectedAnyhow({ probe: false, ...options });

/** @param {number} seconds How long it is valid. @param {string} [name] */
const tokenFor = (seconds, name = "a") => jwt({ sub: "ana", jti: name, exp: Date.now() / 1000 + seconds });

/**
 * The credentials of a page: its current token, or a new one on request.
 *
 * @param {number} seconds How long each is valid.
 */
function issuer(seconds) {
  let count = 0;
  let token = tokenFor(seconds, "0");
  /** @type {(import("../../src/credentials.js").CredentialsRequest)[]} */
  const asked = [];
  return {
    asked,
    get token() {
      return token;
    },
    credentials(/** @type {import("../../src/credentials.js").CredentialsRequest} */ how) {
      asked.push(how);
      if (how.refused || how.expiring) token = tokenFor(seconds, String((count += 1)));
      return { token };
    },
  };
}

/** @param {Awaited<ReturnType<typeof connected>>} all The tokens that were shown on the open socket. */
const shown = ({ network }) => network.last.frames.filter(({ type }) => type === "identity").map(({ token }) => token);

/** @param {Awaited<ReturnType<typeof connected>>} all */
function answers({ network }) {
  network.last.onSend = () => network.last.say({ type: "identity", expiresAt: 1 });
}

describe("when", () => {
  test.each([
    [60 * MINUTE, 0, 48 * MINUTE],
    [60 * MINUTE, 1, 42 * MINUTE],
    [2 * MINUTE, 0, 90_000],
    [MINUTE, 0, 30_000],
    [20_000, 0, 10_000],
    [20_000, 1, 8_000],
  ])("a token of %i ms is renewed, with random %d, after %i ms", (left, chance, delay) => {
    expect(renewalDelay(left, chance)).toBeCloseTo(delay);
  });

  test("it is too late, it is not", () => {
    for (const left of [2_000, 1, 0, -1, -Infinity, NaN]) expect(renewalDelay(left, 0)).toBeUndefined();
  });

  test("it is good for years, no timer overflows", () => {
    expect(renewalDelay(1e15, 1)).toBe(24 * 60 * MINUTE);
    expect(renewalDelay(Infinity, 1)).toBe(24 * 60 * MINUTE);
  });
});

describe("a token that will expire", () => {
  test("is renewed on the open socket, hidden from the layer above", async () => {
    const ana = issuer(3_600);
    const all = await connected({ credentials: ana.credentials });
    answers(all);
    await pass(41 * MINUTE);
    expect(shown(all)).toEqual([]);
    await pass(2 * MINUTE);
    expect(shown(all)).toEqual([ana.token]);
    await pass(42 * MINUTE);
    expect(shown(all).length).toBe(2);
    expect(ana.asked).toEqual([
      { refused: false },
      { refused: false, expiring: true },
      { refused: false, expiring: true },
    ]);
    expect(all.received).toEqual([]);
    expect(all.network.sockets.length).toBe(1);
    expect(all.room.state).toBe("open");
  });

  test("is not asked for once the room was left", async () => {
    const ana = issuer(3_600);
    const { room } = await connected({ credentials: ana.credentials });
    room.close();
    await pass(120 * MINUTE);
    expect(ana.asked.length).toBe(1);
  });

  test("that arrives for a closed connection is not sent later", async () => {
    /** @type {(credentials: { token: string }) => void} */
    let give = () => {};
    const first = tokenFor(3_600);
    const all = await connected({
      credentials: ({ expiring }) => (expiring ? new Promise((resolve) => (give = resolve)) : { token: first }),
    });
    await pass(42 * MINUTE);
    const late = give;
    all.room.reconnect();
    await pass(0);
    all.network.last.accept();
    late({ token: tokenFor(3_600, "b") });
    await pass(MINUTE / 2);
    expect(all.network.sockets.length).toBe(2);
    expect(shown(all)).toEqual([]);
  });

  test("that is not replaced is requested more and more often", async () => {
    const first = tokenFor(600);
    const credentials = vi.fn((/** @type {import("../../src/credentials.js").CredentialsRequest} */ { refused }) => ({
      token: refused ? tokenFor(600, "b") : first,
    }));
    const all = await connected({ credentials });
    await pass(599_000);
    expect(shown(all)).toEqual([]);
    const renewals = credentials.mock.calls.filter(([{ expiring }]) => expiring).length;
    expect(renewals).toBeGreaterThan(3);
    expect(renewals).toBeLessThan(15);
    all.network.last.drop(4401, "identity expired");
    await pass(0);
    expect(credentials).toHaveBeenLastCalledWith({ refused: true });
    expect(all.network.sockets.length).toBe(2);
    expect(all.room.state).toBe("connecting");
  });

  test("whose issuer fails for a moment is requested again", async () => {
    const ana = issuer(600);
    let fails = 2;
    const all = await connected({
      credentials: (asked) => {
        if (asked.expiring && fails-- > 0) throw new Error("offline");
        return ana.credentials(asked);
      },
    });
    answers(all);
    await pass(590_000);
    expect(shown(all)).toEqual([ana.token]);
    expect(all.room.state).toBe("open");
  });

  test("that was refused after its renewal does not count as fresh", async () => {
    const ana = issuer(3_600);
    const all = await connected({
      credentials: (asked) => (asked.refused ? { token: ana.token } : ana.credentials(asked)),
    });
    answers(all);
    await pass(43 * MINUTE);
    expect(shown(all)).toEqual([ana.token]);
    all.network.last.drop(4401);
    await pass(0);
    expect(all.room.snapshot).toMatchObject({ state: "closed", close: { code: 4401, reason: "no fresh credentials" } });
  });

  test("that the server refuses is dropped without an event", async () => {
    const ana = issuer(3_600);
    const all = await connected({ credentials: ana.credentials });
    const refusal = '{"type":"error","code":"invalid_token","message":"it has expired"}';
    all.network.last.say(refusal);
    expect(all.received).toEqual([refusal]);
    all.network.last.onSend = () => all.network.last.say(refusal);
    await pass(59 * MINUTE);
    expect(shown(all).length).toBe(1);
    expect(all.received).toEqual([refusal]);
    expect(all.room.state).toBe("open");
  });

  test("is sent once to a server without renewal", async () => {
    const ana = issuer(600);
    const all = await connected({ credentials: ana.credentials });
    const says = '{"type":"error","code":"unknown_type","message":"what?"}';
    all.network.last.onSend = () => all.network.last.say(says);
    await pass(590_000);
    expect(shown(all).length).toBe(1);
    expect(all.received).toEqual([says]);
    all.network.last.drop(4401);
    await pass(0);
    all.network.last.accept();
    await pass(590_000);
    expect(shown(all)).toEqual([]);
  });

  test("is scheduled again for each connection", async () => {
    const ana = issuer(600);
    const all = await connected({ credentials: ana.credentials });
    await pass(300_000);
    all.network.last.drop();
    await pass(500);
    expect(ana.asked.length).toBe(2);
    all.network.last.accept();
    answers(all);
    await pass(250_000);
    expect(shown(all)).toEqual([ana.token]);
  });
});

describe("nothing is shown on an open socket", () => {
  test.each([
    ["a token that does not say when it ends", () => ({ token: jwt({ sub: "ana" }) })],
    ["a token that is no JWT", () => ({ token: "opaque" })],
    ["a token with an end that is no number", () => ({ token: jwt({ exp: "soon" }) })],
    ["a token that by this clock is over", () => ({ token: tokenFor(-1) })],
    ["a ticket", () => ({ ticket: "t" })],
    ["a dev token", () => ({ devToken: "ana:Ana" })],
    ["a cookie", () => undefined],
  ])("with %s", async (_, credentials) => {
    const asks = vi.fn(credentials);
    const all = await connected({ credentials: asks });
    await pass(24 * 60 * MINUTE);
    expect(asks).toHaveBeenCalledTimes(1);
    expect(all.network.last.sent).toEqual([]);
  });

  test("with renew: false", async () => {
    const ana = issuer(600);
    const all = await connected({ credentials: ana.credentials, renew: false });
    const states = eventsOf(all.room, "state");
    await pass(700_000);
    expect(shown(all)).toEqual([]);
    all.network.last.say({ type: "identity", expiresAt: 1 });
    expect(all.received.length).toBe(1);
    expect(states).toEqual([]);
  });

  test("before it is open", async () => {
    const ana = issuer(60);
    const { network } = await connecting({ credentials: ana.credentials, timing: { connectTimeoutMs: 120_000 } });
    await pass(100_000);
    expect(network.last.sent).toEqual([]);
    expect(ana.asked).toEqual([{ refused: false }]);
  });
});
