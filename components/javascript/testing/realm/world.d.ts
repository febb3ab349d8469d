/**
 * The bridge between the realm of an instance and the test that plays the host. Only primitive values cross it: bytes are
 * strings with a character for each byte, records are JSON.
 */
declare const __world: {
  building(): boolean;
  /** Ends the turn, as a trap of the contract does. */
  trap(reason: string): void;
  log(level: number, line: string): void;
  context(): string;
  config(key: string): string | undefined;
  randomBytes(length: number): string;
  get(key: string): string | undefined;
  put(key: string, value: string): string | null;
  remove(key: string): boolean;
  /** JSON of pairs of a key and a value. */
  list(range: string): string;
  sockets(filter: string): string;
  socket(id: string): string | undefined;
  setTags(id: string, tags: string): string | null;
  setAttachment(id: string, bytes: string): string | null;
  send(ids: string, message: string, eventId: string | undefined): string | null;
  close(id: string, code: number, reason: string): string | null;
  setAutoResponse(request: string | null, reply: string): string | null;
  setTimer(name: string, at: number, payload: string): string | null;
  timers(): string;
  cancelTimer(name: string): boolean;
  autoRespondedAt(id: string): number | undefined;
  call(namespace: string, name: string, request: string): string;
  fetch(origin: string, request: string): string;
  post(to: string, request: string): string | null;
  waitingPosts(): number;
};
