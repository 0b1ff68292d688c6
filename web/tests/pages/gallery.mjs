// The gallery: its cards lead somewhere, it names the adapter, and it shows which builds run there.

import assert from "node:assert/strict";
import { onAPhone } from "../visitor.mjs";

export async function test({ page, address, screenshot }) {
  await page.goto(address);
  await page.waitForSelector("body[data-state=ready]");
  const links = await page.$$eval(".card a", (links) => links.map((link) => link.href));
  assert.equal(links.length, 6);
  for (const link of links) {
    const response = await page.request.get(link);
    assert.equal(response.status(), 200, link);
    assert.match(await response.text(), /<title>[^<]+Gristmill<\/title>/, link);
  }
  assert.equal(await page.locator(".card svg[aria-hidden=true]").count(), 6, "a drawing on every card");

  // The adapter, without loading the package.
  await page.waitForSelector("#adapter[data-adapter=found]");
  assert.match(await page.textContent("#adapter"), /\d+ MiB/);
  const loaded = () => page.evaluate(() => performance.getEntriesByType("resource").some(({ name }) => name.endsWith(".wasm")));
  assert.equal(await loaded(), false, "the gallery loads no wasm unasked");
  await screenshot("gallery");

  await page.click("#builds");
  await page.waitForSelector("#kernels:not([hidden]) tr[data-kernel=attention]");
  const rows = await page.$$eval("#kernels tr[data-kernel]", (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
  assert.ok(rows.length >= 12, `${rows.length} kernels`);
  for (const cells of rows) assert.ok(cells.length === 3 && cells.every((text) => text), `${cells}`);
  await screenshot("gallery-builds");

  // By keyboard: the first stop skips the header, the second is the brand.
  await page.goto(address);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");

  // On a phone nothing is wider than the screen.
  await onAPhone(page, () => screenshot("gallery-phone"));
}
