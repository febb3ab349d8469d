import { useEffect, useState } from "react";
import { DormouseProvider, useRoomSocket } from "@dormouse/client/react";
import type { PurseCalls } from "../rooms/purse.ts";

declare global {
  /** The test pays with it. Resolves with the answer, or with the code of the error. */
  function pay(number: number): Promise<number | string>;
}

/** A page that calls a room. */
export function Calls() {
  return (
    <DormouseProvider credentials={() => ({ devToken: "ana:Ana" })}>
      <Purse />
    </DormouseProvider>
  );
}

function Purse() {
  const { call, isConnected } = useRoomSocket<unknown, never, PurseCalls>({ namespace: "PURSES", name: "any" });
  const [paid, setPaid] = useState(0);
  useEffect(() => {
    globalThis.pay = async (number) => {
      try {
        const { count } = await call("pay", { number }, { timeoutMs: 60_000 });
        setPaid((paid) => paid + 1);
        return count;
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
  }, [call]);
  return (
    <>
      <p>{isConnected ? "connected" : "not connected"}</p>
      <output aria-label="paid">{paid}</output>
    </>
  );
}
