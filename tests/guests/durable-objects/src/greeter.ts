import { DurableObject } from "cloudflare:workers";

export interface Greeting {
  text: string;
  at: Date;
}

/** Called by RPC, from the Worker and from another object. */
export class Greeter extends DurableObject<Env> {
  async sayHello(name: string): Promise<Greeting> {
    if (!name) {
      throw new TypeError("a name is needed");
    }
    this.ctx.waitUntil(this.ctx.storage.put("last", name));
    return { text: `${this.env.GREETING}, ${name}! This is ${this.ctx.id.name ?? "nobody"}.`, at: new Date(0) };
  }

  async lastGreeted(): Promise<string | undefined> {
    return this.ctx.storage.get<string>("last");
  }

  async pass(to: string, name: string): Promise<string> {
    const stub = this.env.GREETER.get(this.env.GREETER.idFromName(to));
    const { text } = await stub.sayHello(name);
    return `${to} says: ${text}`;
  }
}
