// @ts-check
/**
 * Takes the pictures of the documents: the example on a desktop, light, and on a phone, dark; and the dashboard of a
 * server under load, which takes four minutes. `npm run pictures`
 */

import { fileURLToPath } from "node:url";
import { launch } from "./browser.js";
import { Operator, WITH_DASHBOARD } from "./operator.js";
import { Person } from "./people.js";
import { Server } from "./server.js";
import { serveSite } from "./site.js";

const PICTURE = fileURLToPath(new URL("../../example/chat-room.png", import.meta.url));
const DASHBOARD = fileURLToPath(new URL("../../../docs/dashboard.png", import.meta.url));

const server = await Server.start();
const [site, browser] = await Promise.all([serveSite("example", server.url), launch()]);
const hazel = await Person.comes(browser, site.url, "Hazel", {
  viewport: { width: 860, height: 600 },
  colorScheme: "light",
});
const bo = await Person.comes(browser, site.url, "Bo", { viewport: { width: 340, height: 600 }, colorScheme: "dark" });
await hazel.says("Who has the key to the pantry?");
await bo.says("I have. It is under the third acorn, as always.");
await bo.says("The list is at https://example.com/pantry");
await hazel.says("Thank you! The server was restarted while I wrote this, by the way.");
await bo.says("I did not notice.");
await hazel.page.getByText("I did not notice.").first().waitFor();
await hazel.field.pressSequentially("That is the");
await bo.page.getByText("Hazel is typing").waitFor();

const shots = await Promise.all(
  [hazel, bo].map(async ({ page }) => `data:image/png;base64,${(await page.screenshot()).toString("base64")}`),
);
const frame = await browser.newPage({ viewport: { width: 1296, height: 664 }, deviceScaleFactor: 1.5 });
await frame.setContent(`<body style="display: flex; gap: 32px; margin: 0; padding: 32px; background: #ece7e0">
  ${shots.map((shot) => `<img src="${shot}" style="border-radius: 12px; box-shadow: 0 8px 32px rgb(0 0 0 / 18%)">`).join("")}</body>`);
await frame.screenshot({ path: PICTURE });

const busy = await Server.start(WITH_DASHBOARD);
const bench = (
  /** @type {string} */ rooms,
  /** @type {string} */ members,
  /** @type {string} */ rate,
  /** @type {string} */ path,
) =>
  busy.run(
    "bench",
    "rooms",
    "--url",
    busy.url,
    "--rooms",
    rooms,
    "--members",
    members,
    "--rate",
    rate,
    "--duration",
    "10m",
    "--path",
    `/api/realtime/rooms/${path}-{room}/ws`,
  );
const operator = await Operator.comes(browser, busy.admin, {
  viewport: { width: 1280, height: 875 },
  deviceScaleFactor: 1.5,
});
const loads = [bench("8", "6", "2", "team")];
const later = (/** @type {number} */ seconds) => operator.page.waitForTimeout(seconds * 1_000);
await later(60);
loads.push(bench("12", "4", "3", "quiz"));
await later(60);
loads.push(bench("3", "20", "4", "stage"));
await later(60);
loads[1]?.stop();
await later(60);
await operator.page.screenshot({ path: DASHBOARD });
for (const load of loads) load.stop();

await browser.close();
await site.close();
await server.dispose();
await busy.dispose();
