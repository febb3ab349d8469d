import { DurableObject } from "cloudflare:workers";

/** A WebSocket server without hibernation. */
export class WebSocketServer extends DurableObject {
  currentlyConnectedWebSockets = 0;

  override async fetch(_request: Request): Promise<Response> {
    const webSocketPair = new WebSocketPair();
    const [client, server] = Object.values(webSocketPair) as [WebSocket, WebSocket];
    server.accept();
    this.currentlyConnectedWebSockets += 1;

    server.addEventListener("message", (event: MessageEvent) => {
      server.send(`[Durable Object] currentlyConnectedWebSockets: ${this.currentlyConnectedWebSockets}, ${event.data}`);
    });
    server.addEventListener("close", async (cls: CloseEvent) => {
      this.currentlyConnectedWebSockets -= 1;
      await this.ctx.storage.put("last close", cls.code);
      server.close(cls.code, "Durable Object is closing WebSocket");
    });

    return new Response(null, { status: 101, webSocket: client });
  }
}
