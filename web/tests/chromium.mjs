// The page in headless Chromium, on the software adapter where there is no GPU.

import { chromium } from "playwright-core";
import { fileURLToPath } from "node:url";
import { dist as shipped, serve } from "../serve.mjs";

/** The package under test. */
const dist = process.env.DIST || shipped;

export const golden = fileURLToPath(new URL("../../tests/golden", import.meta.url));

const FLAGS = [
  "--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

/** Opens the page and calls `work(page)` when it is ready; closes everything afterwards. */
export async function withPage(work) {
  const server = await serve({ "/": dist, "/golden/": golden });
  const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  try {
    const page = await browser.newPage();
    page.on("console", (message) => message.type() === "error" && console.error(`page: ${message.text()}`));
    await page.goto(server.address);
    await page.waitForFunction(() => document.body.dataset.state, null, { timeout: 60_000 });
    if (await page.evaluate(() => document.body.dataset.state === "error")) {
      throw new Error(`the page did not start: ${await page.textContent("#status")}`);
    }
    return await work(page, browser);
  } finally {
    await browser.close();
    server.close();
  }
}
