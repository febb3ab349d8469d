/** Sets the globals of Workers that the engine lacks. Imported before the code of the author. */
import { fetch } from "./fetch.js";
import { WebSocket, WebSocketPair, WebSocketRequestResponsePair } from "./sockets/web-socket.js";
import { clearTimeout, scheduler, setInterval, setTimeout } from "./timers.js";
import { unsupported } from "./unsupported.js";
import { Headers } from "./web/headers.js";
import { Request } from "./web/request.js";
import { Blob, File } from "./web/blob.js";
import * as events from "./web/events.js";
import { FormData } from "./web/form-data.js";
import { Response } from "./web/response.js";
import * as streams from "./web/streams.js";

/** A class or a function that fails when it is used. */
const absent = (name: string, instead: string) =>
  function () {
    unsupported(name, instead);
  };

/** An object that may be asked for, as `typeof caches` does, and that fails as soon as it is used. */
const absentObject = (name: string, instead: string) =>
  new Proxy(
    {},
    {
      get: (_target, key) => (typeof key === "symbol" ? undefined : unsupported(`${name}.${key}`, instead)),
    },
  );

const NO_SERVERS = "ask the server with fetch()";

Object.assign(globalThis, {
  Headers,
  Request,
  Response,
  Blob,
  File,
  FormData,
  Event: events.Event,
  EventTarget: events.EventTarget,
  CustomEvent: events.CustomEvent,
  MessageEvent: events.MessageEvent,
  CloseEvent: events.CloseEvent,
  ErrorEvent: events.ErrorEvent,
  AbortController: events.AbortController,
  AbortSignal: events.AbortSignal,
  ReadableStream: streams.ReadableStream,
  ReadableStreamDefaultReader: streams.ReadableStreamDefaultReader,
  ReadableStreamDefaultController: streams.ReadableStreamDefaultController,
  WritableStream: streams.WritableStream,
  WritableStreamDefaultWriter: streams.WritableStreamDefaultWriter,
  WritableStreamDefaultController: streams.WritableStreamDefaultController,
  TransformStream: streams.TransformStream,
  TransformStreamDefaultController: streams.TransformStreamDefaultController,
  IdentityTransformStream: streams.IdentityTransformStream,
  FixedLengthStream: streams.FixedLengthStream,
  TextEncoderStream: streams.TextEncoderStream,
  TextDecoderStream: streams.TextDecoderStream,
  CountQueuingStrategy: streams.CountQueuingStrategy,
  ByteLengthQueuingStrategy: streams.ByteLengthQueuingStrategy,
  WebSocket,
  WebSocketPair,
  WebSocketRequestResponsePair,
  setTimeout,
  setInterval,
  clearTimeout,
  clearInterval: clearTimeout,
  scheduler,
  fetch,
  EventSource: absent("EventSource", NO_SERVERS),
  HTMLRewriter: absent("HTMLRewriter", "rewrite the text"),
  CompressionStream: absent("CompressionStream", "let the proxy in front compress"),
  DecompressionStream: absent("DecompressionStream", "send data that is not compressed"),
  caches: absentObject("caches", "keep it in ctx.storage"),
  navigator: { userAgent: "Cloudflare-Workers" },
});
