/** The stored messages: one key each, whose order is that of the messages. */
import type { User } from "./user.js";

export interface ChatMessage {
  id: string;
  userId: string;
  userName: string;
  content: string;
  timestamp: number;
  /** 1, 2, 3 … without gaps. */
  seq: number;
  clientId?: string;
}

const PREFIX = "message:";

/** The digits of a number in a key: those of the largest safe integer. */
const DIGITS = 16;

/** The newest messages that are kept. */
const KEPT = 10_000;

/** Old messages that a new one removes. */
const REMOVED_AT_ONCE = 2;

/** The most bytes of messages in one answer: an eighth less than the longest frame. */
const MAX_BYTES = 896 * 1024;

const keyOf = (seq: number): string =>
  PREFIX + String(seq).padStart(DIGITS, "0");

export class History {
  readonly #storage: DurableObjectStorage;
  /** The newest number; 0 in an empty room. A cache. */
  #last = 0;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  async load(): Promise<void> {
    const newest = await this.#storage.list<ChatMessage>({
      prefix: PREFIX,
      reverse: true,
      limit: 1,
    });
    this.#last = [...newest.values()][0]?.seq ?? 0;
  }

  get last(): number {
    return this.#last;
  }

  async append(
    user: User,
    content: string,
    clientId?: string,
  ): Promise<ChatMessage> {
    const seq = ++this.#last;
    const message: ChatMessage = {
      id: crypto.randomUUID(),
      userId: user.id,
      userName: user.name,
      content,
      timestamp: Date.now(),
      seq,
      ...(clientId === undefined ? {} : { clientId }),
    };
    await this.#storage.put(keyOf(seq), message);
    if (seq > KEPT) {
      const old = await this.#storage.list({
        prefix: PREFIX,
        end: keyOf(seq - KEPT + 1),
        limit: REMOVED_AT_ONCE,
      });
      await this.#storage.delete([...old.keys()]);
    }
    return message;
  }

  /** A page, oldest first: the newest messages, or those just before or after a number. Fewer if they are long. */
  async page(
    limit: number,
    { before, after }: { before?: number; after?: number } = {},
  ) {
    const isForward = after !== undefined;
    const found = await this.#storage.list<ChatMessage>({
      prefix: PREFIX,
      ...(after === undefined ? {} : { start: keyOf(after + 1) }),
      ...(before === undefined ? {} : { end: keyOf(before) }),
      reverse: !isForward,
      limit: limit + 1, // one more, to learn whether there are more
    });
    const messages: ChatMessage[] = [];
    let bytes = 0;
    for (const message of found.values()) {
      bytes += byteLength(message);
      if (
        messages.length === limit ||
        (bytes > MAX_BYTES && messages.length > 0)
      )
        break;
      messages.push(message);
    }
    const hasMore = messages.length < found.size;
    return { messages: isForward ? messages : messages.reverse(), hasMore };
  }
}

const byteLength = (message: ChatMessage): number =>
  new TextEncoder().encode(JSON.stringify(message)).length + 1;
