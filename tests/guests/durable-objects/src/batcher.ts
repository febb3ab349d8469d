import { DurableObject } from "cloudflare:workers";

const SECONDS = 0.3;

/** Collects requests, and handles them together when an alarm fires. */
export class Batcher extends DurableObject {
  storage: DurableObjectStorage;
  count = 0;

  constructor(ctx: DurableObjectState, env: unknown) {
    super(ctx, env as never);
    this.storage = ctx.storage;
    this.ctx.blockConcurrencyWhile(async () => {
      const vals = await this.storage.list({ reverse: true, limit: 1 });
      this.count = vals.size == 0 ? 0 : parseInt(vals.keys().next().value as string);
    });
  }

  override async fetch(request: Request): Promise<Response> {
    if (new URL(request.url).pathname.endsWith("/batch")) {
      const done = (await this.storage.get<string[]>("0 done")) ?? [];
      return Response.json({ done, waiting: this.count, alarm: (await this.storage.getAlarm()) !== null });
    }
    this.count++;
    const currentAlarm = await this.storage.getAlarm();
    if (currentAlarm == null) {
      this.storage.setAlarm(Date.now() + 1000 * SECONDS);
    }
    await this.storage.put(this.count as unknown as string, await request.text());
    return new Response(JSON.stringify({ queued: this.count }), {
      headers: { "content-type": "application/json;charset=UTF-8" },
    });
  }

  override async alarm(info?: AlarmInvocationInfo): Promise<void> {
    const vals = await this.storage.list<string>();
    vals.delete("0 done");
    if (info?.retryCount === 0 && [...vals.values()].includes("fail once")) throw new Error("the upstream is away");
    await this.storage.deleteAll();
    await this.storage.put("0 done", Array.from(vals.values()));
    this.count = 0;
  }
}
