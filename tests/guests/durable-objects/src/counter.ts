import { DurableObject } from "cloudflare:workers";

export class Counter extends DurableObject {
  async getCounterValue(): Promise<number> {
    return (await this.ctx.storage.get<number>("value")) || 0;
  }

  async increment(amount = 1): Promise<number> {
    let value = (await this.ctx.storage.get<number>("value")) || 0;
    value += amount;
    await this.ctx.storage.put("value", value);
    return value;
  }

  async decrement(amount = 1): Promise<number> {
    return this.increment(-amount);
  }
}
