import { DurableObject } from "cloudflare:workers";

export class WebSocketHibernationServer extends DurableObject {
  sessions: Map<WebSocket, { [key: string]: string }>;

  constructor(ctx: DurableObjectState, env: unknown) {
    super(ctx, env as never);
    this.sessions = new Map();
    this.ctx.getWebSockets().forEach((ws) => {
      const attachment = ws.deserializeAttachment();
      if (attachment) {
        this.sessions.set(ws, { ...attachment });
      }
    });
    this.ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
  }

  override async fetch(request: Request): Promise<Response> {
    const name = new URL(request.url).searchParams.get("name");
    if (!name) {
      return new Response("Say who you are: ?name=…", { status: 400, headers: { "retry-after": "never" } });
    }
    const webSocketPair = new WebSocketPair();
    const [client, server] = Object.values(webSocketPair) as [WebSocket, WebSocket];
    this.ctx.acceptWebSocket(server, [name, "all"]);
    server.serializeAttachment({ name });
    this.sessions.set(server, { name });
    return new Response(null, { status: 101, webSocket: client });
  }

  override async webSocketMessage(ws: WebSocket, message: ArrayBuffer | string): Promise<void> {
    const session = this.sessions.get(ws)!;
    if (message === "pinged?") {
      const at = this.ctx.getWebSocketAutoResponseTimestamp(ws);
      ws.send(`pinged: ${at !== null && Math.abs(at.getTime() - Date.now()) < 60_000}`);
      return;
    }
    if (message === "tags?") {
      ws.send(`${this.ctx.getTags(ws).join()}: ${this.ctx.getWebSockets(session["name"]).length} of ${this.ctx.getWebSockets("all").length}`);
      return;
    }
    if (message === "going away") {
      ws.close(1001, "as you say");
      return;
    }
    this.sessions.forEach((_, connectedWs) => {
      if (connectedWs !== ws) {
        connectedWs.send(`${session["name"]}: ${message}. Total connections: ${this.sessions.size}`);
      }
    });
  }

  override async webSocketClose(ws: WebSocket, code: number, _reason: string, _wasClean: boolean): Promise<void> {
    ws.close(code, "Durable Object is closing WebSocket");
    this.sessions.delete(ws);
  }
}
