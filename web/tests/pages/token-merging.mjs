// The page of token merging: its numbers against the command line tool's, its layers against the legend, each control, and bad pictures.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { canvas, made } from "../pictures.mjs";
import { after, number, onAPhone, slide, state } from "../visitor.mjs";

const asset = (name) => fileURLToPath(new URL(`../../../cli/assets/${name}`, import.meta.url));
const TIMEOUT = 240_000;

export async function test({ page, address, screenshot, native }) {
  page.setDefaultTimeout(TIMEOUT);
  await page.goto(`${address}token-merging/`);
  await page.waitForFunction(() => document.body.dataset.runs === "1" && document.body.dataset.state !== "running");
  assert.equal(await state(page), "ready", await page.textContent("#error"));
  assert.equal(await page.getAttribute("[data-sample=scene-03]", "aria-pressed"), "true");
  await screenshot("token-merging");

  await slide(page, "samples", 0);
  await matchesTheTool(page, native, "scene-03", 0);
  await after(page, () => page.click("[data-sample=scene-10]"));
  await matchesTheTool(page, native, "scene-10", 0);
  await layers(page, screenshot);
  await timing(page);
  await after(page, () => page.click("[data-sample=chelsea]"));
  // The browser and the tool scale photos by filters of their own.
  await matchesTheTool(page, native, "chelsea", 0.03);
  await screenshot("token-merging-photo");
  await pictures(page, screenshot);
  await lossAndCancel(page);

  await onAPhone(page, () => screenshot("token-merging-phone"));
}


/** Rows and agreement of a picture are those of `gristmill segment`, up to a share of all. */
async function matchesTheTool(page, native, name, slack) {
  const folder = await mkdtemp(join(tmpdir(), "gristmill-"));
  try {
    const said = await native(["segment", asset(name.startsWith("scene") ? `scenes/${name}.png` : `${name}.png`), join(folder, "classes.png")]);
    const [, rows, all, agreement] = /(\d+) of (\d+) rows kept .*?, ([\d.]+) % of the pixels/.exec(said) ?? [];
    assert.match(await page.textContent("#rows"), new RegExp(` of ${all}$`));
    assert.ok(Math.abs((await number(page, "rows")) - rows) <= slack * all, `${name}: ${await number(page, "rows")} rows, the tool has ${rows}`);
    const difference = Math.abs(100 * (await number(page, "agreement")) - agreement);
    // A pixel whose two best classes are all but equal may go either way on another adapter.
    assert.ok(difference <= 0.1 + 100 * slack, `${name}: agreement is off by ${difference}: ${said}`);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Every layer has its legend, whose amounts add up; the canvas shows the layer, as strongly as the slider says. */
async function layers(page, screenshot) {
  const amounts = async () => {
    const cells = await page.$$eval("#legend td[data-entry]", (cells) => cells.map((cell) => [cell.dataset.entry, Number(cell.dataset.value)]));
    return Object.fromEntries(cells);
  };
  const sum = (entries) => Object.values(entries).reduce((sum, amount) => sum + amount, 0);
  const seen = [];
  for (const layer of ["clusters", "merged", "plain", "differences"]) {
    await page.selectOption("#layer", layer);
    assert.equal(await page.getAttribute("#picture", "data-layer"), layer);
    const entries = await amounts();
    if (layer === "clusters") {
      assert.equal(sum(entries), 576, "every token is in one entry");
      assert.equal(entries["kept, framed"], await number(page, "kept"));
      assert.equal((await number(page, "rows")) - 1, entries["kept, framed"] + Object.keys(entries).length - 1, "class token, kept tokens, a row for each cluster");
    } else {
      assert.ok(Math.abs(sum(entries) - 1) < 1e-9, `${layer}: ${JSON.stringify(entries)}`);
    }
    if (layer === "differences") assert.ok(Math.abs(entries["the same class"] - (await number(page, "agreement"))) < 1e-12);
    if (layer === "merged") assert.deepEqual(Object.keys(entries), ["ground", "disc", "square", "triangle", "ring", "cross"]);
    const pixels = await canvas(page, "#picture");
    assert.ok(!seen.some((other) => Buffer.compare(other, pixels) === 0), `${layer} looks like another layer`);
    seen.push(pixels);
    await screenshot(`token-merging-${layer}`);
  }
  // Without opacity every layer is the picture alone.
  await slide(page, "opacity", 0);
  const bare = await canvas(page, "#picture");
  await page.selectOption("#layer", "merged");
  assert.equal(Buffer.compare(bare, await canvas(page, "#picture")), 0);
  await slide(page, "opacity", 100);
  assert.notEqual(Buffer.compare(bare, await canvas(page, "#picture")), 0);
  await slide(page, "opacity", 70);
  await page.selectOption("#layer", "clusters");
}

/** More timed runs give times again; what is counted does not change. A busy machine may need another try. */
async function timing(page) {
  const before = [await number(page, "rows"), await number(page, "agreement")];
  await slide(page, "samples", 1);
  for (let attempt = 0; ; attempt++) {
    await after(page, () => page.click("#again"));
    assert.deepEqual([await number(page, "rows"), await number(page, "agreement")], before, "the same in every run");
    const [merged, plain, speedup] = [await number(page, "merged"), await number(page, "plain"), await number(page, "speedup")];
    assert.ok(merged > 0 && plain > 0 && Math.abs(speedup - plain / merged) < 1e-9);
    if (speedup > 1) break;
    assert.ok(attempt < 2, `a quarter of the rows takes longer: ${speedup}`);
  }
  await slide(page, "samples", 0);
}

/** One colour has nothing to tell apart; transparent counts as white; huge and no pictures are handled. */
async function pictures(page, screenshot) {
  const drop = async (name, width, height, colour) => {
    const buffer = await made(page, width, height, colour);
    await after(page, () => page.setInputFiles("#file", { name, mimeType: "image/png", buffer }));
  };
  await drop("huge.png", 4096, 4096, "#fff");
  const white = [await number(page, "rows"), await page.textContent("#finding")];
  assert.match(white[1], /^huge:/);
  await drop("glass.png", 300, 200, "rgb(10 20 30 / 0%)");
  assert.equal(await number(page, "rows"), white[0], "transparent is white");

  await page.setInputFiles("#file", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("not a picture") });
  await page.waitForSelector("#error:not([hidden])");
  assert.match(await page.textContent("#error"), /notes\.txt: this browser can't read it as a picture/);
  await screenshot("token-merging-error");
  const buffer = await made(page, 4100, 4100, "#fff");
  await page.setInputFiles("#file", { name: "larger.png", mimeType: "image/png", buffer });
  await page.waitForFunction(() => document.querySelector("#error").textContent.includes("16.8 megapixels; this page takes up to 16.8"));
}

/** Cancel ends a run; a lost device is replaced and the page goes on. */
async function lossAndCancel(page) {
  await slide(page, "samples", 4);
  await page.click("[data-sample=scene-00]");
  await page.waitForSelector("#cancel", { state: "visible" });
  await page.click("#cancel");
  await page.waitForSelector("body[data-state=ready]");
  assert.equal(await page.textContent("#status"), "Cancelled.");
  await slide(page, "samples", 0);

  await page.evaluate(() => globalThis.gristmill.destroyDevice());
  await page.waitForSelector("body[data-losses='1']");
  await after(page, () => page.click("[data-sample=scene-03]"));
  assert.match(await page.textContent("#finding"), /^scene-03: \d+ of 577 rows kept/);
}
