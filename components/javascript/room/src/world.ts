/** What the component of a room imports: `connected.ts` adds the calls and posts to others. */

let isConnected = false;

export const connect = (): void => {
  isConnected = true;
};

export const world = (): "room" | "connected-room" => (isConnected ? "connected-room" : "room");
