/** `?show=` selects one of the components below. */

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Calls } from "./Calls.tsx";
import { Refreshed } from "./Refreshed.tsx";
import { Socket } from "./Socket.tsx";

const SHOWN = { calls: Calls, refreshed: Refreshed, socket: Socket };

const Shown = SHOWN[new URLSearchParams(location.search).get("show") as keyof typeof SHOWN];
createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Shown />
  </StrictMode>,
);
