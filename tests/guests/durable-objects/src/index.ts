import type { Batcher } from "./batcher";
import type { Counter } from "./counter";
import type { Greeter } from "./greeter";
import type { WebSocketHibernationServer } from "./hibernation";
import type { Notes } from "./notes";
import type { RateLimiter } from "./rate-limiter";
import type { WebSocketServer } from "./sockets";

export { Batcher } from "./batcher";
export { Counter } from "./counter";
export { Greeter } from "./greeter";
export { WebSocketHibernationServer } from "./hibernation";
export { Notes } from "./notes";
export { RateLimiter } from "./rate-limiter";
export { WebSocketServer } from "./sockets";

declare global {
  interface Env {
    COUNTERS: DurableObjectNamespace<Counter>;
    RATE_LIMITER: DurableObjectNamespace<RateLimiter>;
    BATCHER: DurableObjectNamespace<Batcher>;
    HIBERNATION: DurableObjectNamespace<WebSocketHibernationServer>;
    SOCKETS: DurableObjectNamespace<WebSocketServer>;
    NOTES: DurableObjectNamespace<Notes>;
    GREETER: DurableObjectNamespace<Greeter>;
    GREETING: string;
  }
}

const corsHeaders = {
  "Access-Control-Allow-Origin": "*",
  "Access-Control-Allow-Methods": "GET,HEAD,POST,OPTIONS",
  "Access-Control-Max-Age": "86400",
};

/** Requests that this instance of the Worker has seen. */
let served = 0;

export default {
  async fetch(request: Request, env: Env, ctx: ExecutionContext): Promise<Response> {
    const url = new URL(request.url);
    const [, program, name = "A"] = url.pathname.split("/");
    if (request.method === "OPTIONS") {
      return new Response(null, {
        headers: {
          ...corsHeaders,
          "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers") ?? "",
        },
      });
    }
    switch (program) {
      case "counter": {
        const stub = env.COUNTERS.get(env.COUNTERS.idFromName(name));
        let count: number | null = null;
        switch (url.pathname.split("/")[3]) {
          case "increment":
            count = await stub.increment();
            break;
          case "decrement":
            count = await stub.decrement();
            break;
          case undefined:
            count = await stub.getCounterValue();
            break;
          default:
            return new Response("Not found", { status: 404 });
        }
        return new Response(`Durable Object '${name}' count: ${count}`);
      }
      case "limited": {
        const ip = request.headers.get("X-Client-IP");
        if (ip === null) {
          return new Response("Could not determine client IP", { status: 400 });
        }
        try {
          const stub = env.RATE_LIMITER.get(env.RATE_LIMITER.idFromName(ip));
          const milliseconds_to_next_request = await stub.getMillisecondsToNextRequest();
          if (milliseconds_to_next_request > 0) {
            return new Response("Rate limit exceeded", { status: 429 });
          }
        } catch (error) {
          return new Response("Could not connect to rate limiter", { status: 502 });
        }
        return new Response("Call some upstream resource...");
      }
      case "batcher": {
        const answer = await env.BATCHER.getByName(name).fetch(request);
        const response = new Response(answer.body, answer);
        response.headers.set("Access-Control-Allow-Origin", "*");
        return response;
      }
      case "hibernation":
      case "sockets": {
        const upgradeHeader = request.headers.get("Upgrade");
        if (!upgradeHeader || upgradeHeader !== "websocket") {
          return new Response("Worker expected Upgrade: websocket", { status: 426 });
        }
        const namespace: DurableObjectNamespace = program === "sockets" ? env.SOCKETS : (env.HIBERNATION as never);
        return namespace.get(namespace.idFromName(name)).fetch(request);
      }
      case "served":
        return new Response(String(++served));
      case "overflow":
        return new Response((await (async () => JSON.parse("[".repeat(100_000)))()) as string);
      case "notes":
        return env.NOTES.getByName(name).fetch(request);
      case "greeter": {
        const who = url.searchParams.get("who") ?? "";
        const [first, second] = ["first", "second"].map((name) => env.GREETER.getByName(name));
        try {
          const [one, two] = await Promise.all([first!.sayHello(who), second!.pass("first", who)]);
          ctx.waitUntil(second!.lastGreeted());
          return Response.json({ one, two, last: await first!.lastGreeted(), at: one.at.getTime() });
        } catch (error) {
          return Response.json({ error: (error as Error).message, remote: (error as { remote?: boolean }).remote }, { status: 400 });
        }
      }
      case "ids": {
        const unique = env.NOTES.newUniqueId({ jurisdiction: "eu" });
        const again = env.NOTES.idFromString(unique.toString());
        const named = env.NOTES.jurisdiction("eu").idFromName("a");
        return Response.json({
          length: unique.toString().length,
          isEqual: again.equals(unique),
          name: [unique.name ?? null, named.name],
          stub: env.NOTES.get(named).id.equals(named),
          other: unique.equals(env.NOTES.newUniqueId()),
        });
      }
      default:
        return new Response("Not found", { status: 404 });
    }
  },
} satisfies ExportedHandler<Env>;
