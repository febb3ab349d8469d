/** `@dormouse/room`: rooms in TypeScript. Start with `Room`. */
export { type Call, call, type CallOptions, type Calls, type CallsOf } from "./calls.js";
export { type Check, type Checked, is, type Schema, type StandardSchema } from "./check.js";
export { access, context } from "./context.js";
export { ClientError, Refusal } from "./errors.js";
export { type Query, Request, Response } from "./http.js";
export { type Entry, List } from "./list.js";
export { type Close, Room, type RoomClass, type Types } from "./room.js";
export { serve } from "./serve.js";
export { everyone, type Permission, type Selection, type Socket, type User } from "./sockets.js";
export { type ListOptions, type Storage, storage } from "./storage.js";
export { type Timer, timers } from "./timers.js";
