/** Bodies as bytes and as texts. */
import * as host from "dormouse:host";

export type WholeData = string | Uint8Array | null;

export const bytesOf = (data: WholeData): Uint8Array =>
  data === null ? new Uint8Array() : typeof data === "string" ? host.utf8(data) : data;

export const textOf = (data: WholeData): string =>
  data === null ? "" : typeof data === "string" ? data : host.text(data).replace(/^\ufeff/, "");
