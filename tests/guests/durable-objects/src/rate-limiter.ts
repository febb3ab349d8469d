import { DurableObject } from "cloudflare:workers";

export class RateLimiter extends DurableObject {
  static milliseconds_per_request = 100;
  static milliseconds_for_updates = 300;
  static capacity = 3;

  tokens: number;

  constructor(ctx: DurableObjectState, env: unknown) {
    super(ctx, env as never);
    this.tokens = RateLimiter.capacity;
  }

  async getMillisecondsToNextRequest(): Promise<number> {
    this.checkAndSetAlarm();
    let milliseconds_to_next_request = RateLimiter.milliseconds_per_request;
    if (this.tokens > 0) {
      this.tokens -= 1;
      milliseconds_to_next_request = 0;
    }
    return milliseconds_to_next_request;
  }

  private async checkAndSetAlarm(): Promise<void> {
    const currentAlarm = await this.ctx.storage.getAlarm();
    if (currentAlarm == null) {
      this.ctx.storage.setAlarm(Date.now() + RateLimiter.milliseconds_for_updates);
    }
  }

  override async alarm(): Promise<void> {
    if (this.tokens < RateLimiter.capacity) {
      this.tokens = Math.min(RateLimiter.capacity, this.tokens + RateLimiter.milliseconds_for_updates);
      this.checkAndSetAlarm();
    }
  }
}
