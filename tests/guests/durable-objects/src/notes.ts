import { DurableObject } from "cloudflare:workers";

/** Uses the parts of the storage API, and says what it saw. */
export class Notes extends DurableObject {
  /** `setAlarm` needs it. */
  override alarm(): void {}

  override async fetch(request: Request): Promise<Response> {
    const { storage } = this.ctx;
    switch (new URL(request.url).pathname.split("/").pop()) {
      case "fill":
        await storage.put({ "note:1": "one", "note:2": { text: "two", at: new Date(5) }, "other": new Map([["a", 1n]]) });
        storage.put("note:3", "three", { allowUnconfirmed: true });
        await storage.sync();
        return new Response(null, { status: 204 });
      case "list": {
        const range = await storage.list({ start: "note:2", end: "note:9" });
        const prefix = await storage.list({ prefix: "note:", limit: 2, reverse: true });
        const many = await storage.get(["note:1", "missing", "other"]);
        return Response.json({
          range: [...range.keys()],
          prefix: [...prefix.keys()],
          after: [...(await storage.list({ startAfter: "note:3" })).keys()],
          many: [...many.keys()],
          big: String((many.get("other") as Map<string, bigint>).get("a")),
          date: (range.get("note:2") as { at: Date }).at.getTime(),
        });
      }
      case "transaction": {
        await storage.transaction(async (txn) => {
          await txn.put("note:1", "changed");
          await txn.delete("note:2");
          txn.rollback();
        });
        const undone = await storage.get("note:1");
        try {
          storage.transactionSync(() => {
            storage.kv.put("note:1", "changed");
            throw new Error("no");
          });
        } catch {}
        return Response.json([undone, storage.kv.get("note:1"), await storage.delete(["note:1", "missing"])]);
      }
      case "clear":
        await storage.setAlarm(Date.now() + 60_000);
        await storage.deleteAll();
        await storage.deleteAlarm();
        return Response.json([(await storage.list()).size, await storage.getAlarm()]);
      default:
        return new Response("Not found", { status: 404 });
    }
  }
}
