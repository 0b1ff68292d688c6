// Every page of the site in headless Chromium, as a visitor uses it: one line per page and per manner. `node site.mjs [NAME..]` takes
// those whose names are given. Figures are compared with those of the `gristmill` command; screenshots go to $SCREENSHOTS.

import { execFile } from "node:child_process";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { dist } from "../serve.mjs";
import { withBrowser } from "./chromium.mjs";
import { manners } from "./manners.mjs";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const root = path("../..");
const gristmill = process.env.GRISTMILL || join(root, "target/debug/gristmill");
const screenshots = process.env.SCREENSHOTS || join(root, "target/screenshots");

/** What the command prints. */
async function native(args) {
  const { stdout } = await promisify(execFile)(gristmill, args, { cwd: root });
  return stdout;
}

await mkdir(screenshots, { recursive: true });
const files = (await readdir(path("pages"))).filter((file) => file.endsWith(".mjs")).sort();
const pages = await Promise.all(files.map(async (file) => [file.replace(".mjs", ""), (await import(`./pages/${file}`)).test]));
const asked = process.argv.slice(2);
const cases = [...pages, ...Object.entries(manners)].filter(([name]) => asked.length === 0 || asked.includes(name));

let failed = 0;
await withBrowser({ "/": dist }, async (browser, address) => {
  for (const [name, test] of cases) {
    const start = performance.now();
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    const page = await context.newPage();
    const uncaught = [];
    page.on("pageerror", (error) => uncaught.push(error.message));
    const screenshot = (picture) => page.screenshot({ path: join(screenshots, `${picture}.png`), fullPage: true });
    let detail = "", ok = true;
    try {
      detail = (await test({ page, address, screenshot, native, browser })) ?? "";
      if (uncaught.length) throw new Error(`nobody caught: ${uncaught.join("; ")}`);
    } catch (error) {
      ok = false;
      detail = (error.stack ?? String(error)).split("\n").slice(0, 6).join("\n       ");
      await screenshot(`failed-${name}`).catch(() => {});
    }
    await context.close();
    if (!ok) failed++;
    console.log(`${ok ? "ok    " : "FAILED"} ${name}${detail && `: ${detail}`} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  }
});
console.log(`${cases.length - failed} passed, ${failed} failed; screenshots in ${screenshots}`);
process.exitCode = failed ? 1 : 0;
