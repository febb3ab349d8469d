/** The routes before a chat room: they know nothing of Dormouse but `request.user`. */
import { Hono } from "hono";

interface Env {
  CHAT_ROOM: DurableObjectNamespace;
}

type User = { id: string; name: string };

const app = new Hono<{ Bindings: Env; Variables: { user: User } }>();

app.get("/health", (c) => c.json({ ok: true }));
app.get("/throws", () => {
  throw new Error("a bug");
});

app.use("/rooms/*", async (c, next) => {
  const { user } = c.req.raw as Request & { user?: User };
  if (!user) return c.text("who are you?", 401);
  c.set("user", user);
  await next();
});

const room = (c: { env: Env }, name: string) => c.env.CHAT_ROOM.get(c.env.CHAT_ROOM.idFromName(name));

app.get("/rooms/:id/ws", async (c) => {
  if (c.req.header("Upgrade") !== "websocket") return c.text("a socket is needed", 426);
  const url = new URL(c.req.url);
  url.pathname = "/ws";
  url.searchParams.set("userId", c.get("user").id);
  return room(c, c.req.param("id")).fetch(new Request(url.toString(), c.req.raw));
});

app.get("/rooms/:id/messages", (c) => room(c, c.req.param("id")).fetch("http://room/messages"));

app.post("/rooms/:id/messages", async (c) => {
  const body = JSON.stringify(await c.req.json());
  return room(c, c.req.param("id")).fetch("http://room/messages", { method: "POST", body });
});

export default app;
