import { useState } from "react";
import { useWebSocket } from "@dormouse/client/react";

/** A socket that can be mounted, rendered again and unmounted. */
export function Socket() {
  const [isMounted, setMounted] = useState(true);
  const [renders, setRenders] = useState(0);
  return (
    <>
      <button onClick={() => setMounted(!isMounted)}>{isMounted ? "Unmount" : "Mount"}</button>
      <button onClick={() => setRenders(renders + 1)}>Render</button>
      <output aria-label="renders">{renders}</output>
      {isMounted && <Mounted renders={renders} />}
    </>
  );
}

function Mounted({ renders }: { renders: number }) {
  const [log, setLog] = useState<string[]>([]);
  const { isConnected, send, disconnect, connect } = useWebSocket({
    url: "/api/realtime/rooms/bare/ws",
    credentials: () => ({ devToken: "ana:Ana" }),
    onOpen: () => setLog((log) => [...log, `open, ${renders} renders`]),
    onMessage: (frame) => setLog((log) => [...log, `${frame.type}, ${renders} renders`]),
    onClose: ({ code }) => setLog((log) => [...log, `close ${code}, ${renders} renders`]),
  });
  return (
    <>
      <p>{isConnected ? "connected" : "not connected"}</p>
      <button onClick={() => send({ type: "message", content: "hello" })}>Say hello</button>
      <button onClick={disconnect}>Disconnect</button>
      <button onClick={connect}>Connect</button>
      <ol aria-label="log">
        {log.map((line, index) => (
          <li key={index}>{line}</li>
        ))}
      </ol>
    </>
  );
}
