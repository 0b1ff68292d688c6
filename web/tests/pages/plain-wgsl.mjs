// The plain-WGSL example: the kernel runs from its two files, what it decodes is the command line tool's picture, and what is shown is what ran.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

export async function test({ page, address, screenshot, native }) {
  const ended = () => page.waitForFunction(() => ["ready", "error"].includes(document.body.dataset.state), null, { timeout: 60_000 });
  const state = () => page.evaluate(() => document.body.dataset.state);
  const value = (id) => page.$eval(`#${id}`, (element) => Number(element.dataset.value));
  await page.goto(`${address}plain-wgsl/`);
  await ended();
  assert.equal(await state(), "ready", await page.textContent("#error"));
  assert.equal(await value("size"), 600 * 400 * 3);
  assert.equal(await value("workgroups"), 10 * 25, "ten strips of four patches, 25 rows of patches");
  assert(await value("difference") < 1e-6);
  assert(await value("milliseconds") > 0);

  // The command line tool decodes the same file. A sample within 1e-4 of a half step may be one byte off (docs of `LowRankVq`).
  const decoded = join(mkdtempSync(join(tmpdir(), "plain-wgsl-")), "coffee.png");
  await native(["decode", here("../../site/plain-wgsl/coffee.gvq"), decoded]);
  const { worst, different } = await page.evaluate(async (png) => {
    const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const expected = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
    const canvas = document.getElementById("picture");
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) throw new Error(`${canvas.width} x ${canvas.height} pixels`);
    const shown = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let [worst, different] = [0, 0];
    shown.forEach((byte, n) => {
      worst = Math.max(worst, Math.abs(byte - expected[n]));
      different += byte !== expected[n];
    });
    return { worst, different };
  }, (await readFile(decoded)).toString("base64"));
  assert(worst <= 1 && different < 100, `${different} bytes differ from the native picture, by up to ${worst}`);

  assert.equal(await page.textContent("#source"), await readFile(here("../../site/plain-wgsl/main.js"), "utf8"), "main.js is shown, and was not bundled");
  assert.equal(JSON.parse(await page.textContent("#metadata")).kernel, "lowrank_vq/decode");
  assert.match(await page.textContent("#wgsl"), /fn main\(/);
  await page.click("#again");
  await ended();
  assert.equal(await state(), "ready");
  await screenshot("plain-wgsl");

  // A kernel that computes something else is found out: the check can fail.
  await page.route("**/lowrank_vq-decode.p16_f16.wgsl", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: (await response.text()).replaceAll("params.gain", "(0.99 * params.gain)") });
  });
  await page.click("#again");
  await ended();
  assert.equal(await state(), "error");
  assert.match(await page.textContent("#error"), /differ by 0\.0/);
  await page.unroute("**/lowrank_vq-decode.p16_f16.wgsl");

  // Without WebGPU the page says so.
  await page.addInitScript(() => Object.defineProperty(Navigator.prototype, "gpu", { get: () => undefined, configurable: true }));
  await page.goto(`${address}plain-wgsl/`);
  await ended();
  assert.match(await page.textContent("#error"), /No WebGPU here/);
}
