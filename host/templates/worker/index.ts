/** A chat: a Durable Object for each room, and the Worker that finds it. */
import { DurableObject } from "cloudflare:workers";

interface Env {
  CHAT_ROOM: DurableObjectNamespace<ChatRoom>;
}

/** One message. */
interface Line {
  by: string;
  text: string;
}

/** The newest lines are kept, and shown to those who come later. */
const MAX_LINES = 100;
const MAX_TEXT = 1000;

// Fields of this class would be a cache: they are lost when the room sleeps. Its sockets stay open.
export class ChatRoom extends DurableObject<Env> {
  override async fetch(request: Request): Promise<Response> {
    if (request.headers.get("upgrade") !== "websocket") return Response.json(await this.lines());
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    // The host has verified the user. The attachment stays with the socket while the room sleeps.
    server.serializeAttachment({ name: request.user?.name ?? "somebody" });
    for (const line of await this.lines()) server.send(JSON.stringify(line));
    return new Response(null, { status: 101, webSocket: client });
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    if (typeof message !== "string" || message === "" || message.length > MAX_TEXT) return;
    const { name } = socket.deserializeAttachment() as { name: string };
    const line = { by: name, text: message };
    await this.ctx.storage.put("lines", [...(await this.lines()), line].slice(-MAX_LINES));
    // Sent only after the line is on disk.
    for (const each of this.ctx.getWebSockets()) each.send(JSON.stringify(line));
  }

  private async lines(): Promise<Line[]> {
    return (await this.ctx.storage.get<Line[]>("lines")) ?? [];
  }
}

export default {
  fetch(request, env) {
    const name = /^\/rooms\/([\w-]{1,64})$/.exec(new URL(request.url).pathname)?.[1];
    if (name === undefined) return new Response("there is nothing here", { status: 404 });
    return env.CHAT_ROOM.getByName(name).fetch(request);
  },
} satisfies ExportedHandler<Env>;
