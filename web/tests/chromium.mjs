// Headless Chromium, on the software adapter where there is no GPU.

import { chromium } from "playwright-core";
import { fileURLToPath } from "node:url";
import { serve } from "../serve.mjs";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

/** The package under test. */
const packageFolder = process.env.PACKAGE || path("../package/dist");

export const golden = path("../../tests/golden");

const FLAGS = [
  "--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  // Without a GPU the browser's compositor must be SwiftShader's too, or a canvas that WebGPU draws into ends the GPU process.
  "--enable-features=Vulkan", "--use-vulkan=swiftshader", "--use-angle=vulkan",
];

/** A browser; `work(browser, address)` is told where `folders` are served. Closes everything afterwards. */
export async function withBrowser(folders, work, flags = FLAGS) {
  const server = await serve(folders);
  const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";
  const browser = await chromium.launch({ executablePath, args: flags });
  try {
    return await work(browser, server.address);
  } finally {
    await browser.close();
    server.close();
  }
}

/** An empty page of a server that has the package under /package/, and goldens, tests, weights and codebooks beside it. */
export function withPage(work) {
  const folders = { "/": path("empty"), "/package/": packageFolder, "/golden/": golden, "/tests/": path("."), "/assets/": path("../../cli/assets"), "/codebooks/": path("../../src/codec/codebooks") };
  return withBrowser(folders, async (browser, address) => {
    const page = await browser.newPage();
    page.on("console", (message) => message.type() === "error" && console.error(`page: ${message.text()}`));
    await page.goto(address);
    return work(page, browser);
  });
}
