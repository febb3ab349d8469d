/** A room whose calls change something: each of them must do so once. */
import { call, type CallsOf, ClientError, is, Room } from "@dormouse/room";

export default class Purse extends Room<{ state: { paid: number[] } }> {
  override calls = {
    pay: call(is.object({ number: is.integer({ min: 1 }) }), (_, { number }) => {
      const paid = this.storage.get("paid") ?? [];
      if (number === 13) throw new ClientError("unlucky", "13 is not paid");
      this.storage.put("paid", [...paid, number]);
      return { count: paid.length + 1 };
    }),
  };

  override request(): number[] {
    return this.storage.get("paid") ?? [];
  }
}

export type PurseCalls = CallsOf<Purse>;
