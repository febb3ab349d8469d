// @ts-check
/** Takes the README's picture: the example on a desktop, light, and on a phone, dark. `npm run pictures` */

import { fileURLToPath } from "node:url";
import { launch } from "./browser.js";
import { Person } from "./people.js";
import { Server } from "./server.js";
import { serveSite } from "./site.js";

const PICTURE = fileURLToPath(new URL("../../example/chat-room.png", import.meta.url));

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

await browser.close();
await site.close();
await server.dispose();
