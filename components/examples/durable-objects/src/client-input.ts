/** Reads what clients send, and tells them what is wrong with it. The codes are those of the wire protocol. */

/** The client did something wrong. */
export class ClientError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status = 400,
  ) {
    super(message);
  }

  /** For the sender of a message. */
  frame(clientId: string | undefined): string {
    const { code, message } = this;
    return JSON.stringify({ type: "error", code, message, clientId });
  }

  /** For the sender of a request. */
  response(clientId?: string): Response {
    return problem(this.status, this.message, { code: this.code, clientId });
  }
}

const TITLES: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  404: "Not Found",
  422: "Unprocessable Content",
};

/** A problem document, RFC 9457. */
export const problem = (
  status: number,
  detail: string,
  members: object = {},
): Response =>
  Response.json(
    { type: "about:blank", title: TITLES[status], status, detail, ...members },
    { status, headers: { "content-type": "application/problem+json" } },
  );

/** An object that a client sent, whose fields have any type. */
export type Fields = Record<string, unknown>;

export const fieldsOf = (text: string): Fields => {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ClientError("bad_json", "this is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ClientError("bad_json", "send a JSON object");
  }
  return value as Fields;
};

/** The `clientId` of a text, for an error about it; `undefined` if none can be found. */
export const clientIdIn = (text: string): string | undefined => {
  try {
    return clientIdOf(fieldsOf(text));
  } catch {
    return undefined;
  }
};

const MAX_KEY_BYTES = 128;

export const clientIdOf = ({ clientId }: Fields): string | undefined =>
  clientId === undefined ? undefined : keyOf(clientId, "clientId");

/** A key that a client chose, so that a retry is recognised. */
export const keyOf = (value: unknown, name: string): string => {
  if (typeof value !== "string")
    throw new ClientError("bad_message", `${name} must be a string`);
  if (/\p{Surrogate}/u.test(value))
    throw new ClientError(
      "bad_message",
      `${name} must not have half a surrogate pair`,
    );
  const { length } = new TextEncoder().encode(value);
  if (length < 1 || length > MAX_KEY_BYTES)
    throw new ClientError("bad_message", `${name} must be 1 to 128 bytes`);
  return value;
};

/** A whole number in a query; `undefined` if it is absent. */
export const numberIn = (
  query: URLSearchParams,
  name: string,
): number | undefined => {
  const text = query.get(name);
  if (text === null) return undefined;
  const number = Number(text);
  if (!/^[0-9]+$/.test(text) || !Number.isSafeInteger(number)) {
    throw new ClientError("bad_message", `${name} must be a whole number`);
  }
  return number;
};
