// The page of super-resolution: its numbers against the command line tool's and against sums of our own, each control, and bad pictures.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { canvas, detail, made, pixels } from "../pictures.mjs";
import { after, number, onAPhone, slide, state } from "../visitor.mjs";

const scene = fileURLToPath(new URL("../../../cli/assets/scenes/scene-03.png", import.meta.url));
/** Of its middle, in multiples of the network's window, so that no padding takes part in the mask. */
const [WIDTH, HEIGHT] = [96, 64];
const TIMEOUT = 240_000;

export async function test({ page, address, screenshot, native }) {
  page.setDefaultTimeout(TIMEOUT);
  await page.goto(`${address}super-resolution/`);
  await page.waitForFunction(() => document.body.dataset.runs === "1" && document.body.dataset.state !== "running");
  assert.equal(await state(page), "ready", await page.textContent("#error"));
  const report = await page.evaluate(() => globalThis.gristmill.report);
  assert.equal(await page.isChecked("#part"), report.adapter.type === "Cpu", "a software adapter gets the middle part");
  assert.ok((await number(page, "psnr-network")) > (await number(page, "psnr-bicubic")) + 0.5, "better than bicubic by half a dB");
  assert.equal(await number(page, "tiles"), 1);
  await screenshot("super-resolution");

  const folder = await mkdtemp(join(tmpdir(), "gristmill-"));
  try {
    const file = join(folder, "detail.png");
    await writeFile(file, await detail(page, await readFile(scene), WIDTH, HEIGHT));
    await numbersMatchTheTool(page, native, folder, file);
    await settingsCount(page, file);
    await psnrIsRight(page, file);
    await screenshot("super-resolution-mask");
  } finally {
    await rm(folder, { recursive: true });
  }
  await lineAndZoom(page);
  await badPictures(page, screenshot);
  await opacity(page);
  await cancelling(page);
  await onAPhone(page, () => screenshot("super-resolution-phone"));
}


/** A detail at its own size: mask, shares and pixels are what `gristmill upscale` makes of the same file. */
async function numbersMatchTheTool(page, native, folder, file) {
  await after(page, () => page.setInputFiles("#file", file));
  await after(page, () => page.uncheck("#half"));
  assert.equal(await page.isVisible("#psnr-network"), false, "no PSNR without a truth");

  const [large, mask] = [join(folder, "large.png"), join(folder, "mask.png")];
  const said = await native(["upscale", file, large, "--mask", mask]);
  const [, pure, saved] = /(\d+) % of the pixels pure: ([\d.]+) % of the multiplications saved/.exec(said) ?? [];
  assert.equal((100 * (await number(page, "pure-share"))).toFixed(0), pure, said);
  assert.equal((100 * (await number(page, "saved-share"))).toFixed(1), saved, said);
  assert.equal(await number(page, "tiles"), Number(/(\d+) tiles/.exec(said)?.[1]), said);

  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  assert.equal(download.suggestedFilename(), "detail-x2.png");
  const [ours, theirs] = [await pixels(page, await readFile(await download.path())), await pixels(page, await readFile(large))];
  assert.equal(ours.length, theirs.length);
  const differences = ours.map((value, index) => Math.abs(value - theirs[index]));
  const off = differences.filter((difference) => difference > 1).length;
  assert.ok(off <= ours.length / 1000, `${off} of ${ours.length} values differ by more than a step from the tool's`);

  const overlay = await canvas(page, ".overlay");
  const expected = await pixels(page, await readFile(mask));
  const wrong = overlay.filter((value, index) => index % 4 === 3 && value > 0 !== expected[index - 3] > 0).length;
  assert.equal(wrong, 0, "the mask is the tool's, to the pixel");
}

/** Colours and window give the mask that the kernel by itself gives; Pure-Pass can be left out. */
async function settingsCount(page, file) {
  const rgb = [...(await pixels(page, await readFile(file)))].filter((_, at) => at % 4 < 3);
  for (const [colors, window] of [[4, 8], [64, 8], [16, 32], [7, 5]]) {
    // Two sliders at once are one run.
    await after(page, async () => {
      await slide(page, "colors", colors);
      await slide(page, "window", window);
    });
    const expected = await page.evaluate(async ({ rgb, shape, colors, window }) => {
      const img = { shape, data: Uint8Array.from(rgb) };
      const { mask } = await globalThis.gristmill.purePassMask({ img }, { colors, window });
      return mask.data.reduce((sum, pure) => sum + pure, 0) / mask.data.length;
    }, { rgb, shape: [HEIGHT, WIDTH, 3], colors, window });
    assert.ok(Math.abs((await number(page, "pure-share")) - expected) < 1e-9, `${colors} colours, window ${window}: expected ${expected}`);
  }
  const withPurePass = await canvas(page, ".right");
  await after(page, () => page.uncheck("#pure-pass"));
  assert.equal(await page.isVisible("#pure-share"), false);
  assert.ok(await page.isDisabled("#colors"));
  const without = await canvas(page, ".right");
  assert.ok(without.some((value, index) => value !== withPurePass[index]), "Pure-Pass changes the picture");
  await after(page, () => page.check("#pure-pass"));
}

/** From half its size: both figures are the PSNR of brightness of what the canvases show against the file. */
async function psnrIsRight(page, file) {
  await after(page, () => page.check("#half"));
  const truth = await pixels(page, await readFile(file));
  for (const [id, selector] of [["psnr-bicubic", ".left"], ["psnr-network", ".right"]]) {
    const shown = await canvas(page, selector);
    assert.equal(shown.length, truth.length);
    let [squares, count] = [0, 0];
    for (let y = 2; y < HEIGHT - 2; y++) {
      for (let x = 2; x < WIDTH - 2; x++) {
        const at = (y * WIDTH + x) * 4;
        const difference = [65.481, 128.553, 24.966].reduce((sum, weight, c) => sum + (weight / 255) * (shown[at + c] - truth[at + c]), 0);
        squares += difference ** 2;
        count++;
      }
    }
    const expected = 10 * Math.log10((255 ** 2 * count) / squares);
    assert.ok(Math.abs((await number(page, id)) - expected) < 1e-6, `${id}: expected ${expected}`);
  }
  assert.equal(await page.isVisible(".overlay"), false);
  await page.check("#mask");
  assert.ok(await page.isVisible(".overlay"));
}

/** The line obeys the keyboard and the pointer; an enlarged picture can be moved. */
async function lineAndZoom(page) {
  await page.uncheck("#mask");
  const style = (name) => page.$eval(".frame", (frame, name) => frame.style.getPropertyValue(name), name);
  await page.focus("#split");
  await page.keyboard.press("Home");
  assert.equal(await style("--split"), "0%");
  const { width, height } = await page.locator(".frame").boundingBox();
  await page.click(".frame", { position: { x: width / 4, y: height / 2 } });
  assert.ok(Math.abs(parseFloat(await style("--split")) - 25) < 1, await style("--split"));
  await page.selectOption("#zoom", "4");
  const before = await style("--left");
  await page.focus(".frame");
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await style("--left"), before);
  await page.selectOption("#zoom", "1");
  assert.equal(await style("--left"), "0%");
}

/** What is no picture or too large is refused with the reason; the rest of the page goes on. */
async function badPictures(page, screenshot) {
  await page.setInputFiles("#file", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("not a picture") });
  await page.waitForSelector("#error:not([hidden])");
  assert.match(await page.textContent("#error"), /notes\.txt: this browser can't read it as a picture/);
  assert.equal(await state(page), "error");

  const png = await made(page, 4096, 4096, "#7a9");
  await page.setInputFiles("#file", { name: "huge.png", mimeType: "image/png", buffer: png });
  await page.waitForFunction(() => document.querySelector("#error").textContent.includes("16.8 megapixels"));
  assert.match(await page.textContent("#error"), /4096 × 4096 = 16\.8 megapixels; this page takes up to 4\.2\. Shrink it, for example to 2048 × 2048/);
  await screenshot("super-resolution-too-large");
  await page.click("#error button").then(() => page.waitForSelector("body[data-state=running]"));
  assert.match(await page.textContent("#picture-note"), /Shrunk from 4096 × 4096/);
  // Another picture takes over at once, with the middle part of it.
  await page.setInputFiles("#file", { name: "tiny.png", mimeType: "image/png", buffer: await made(page, 3, 2, "#08f") });
  await page.waitForFunction(() => /^1\s×\s1 /.test(document.querySelector("#size").textContent) && document.body.dataset.state === "ready");
  await after(page, () => page.setInputFiles("#file", { name: "film.gif", mimeType: "image/gif", buffer: animation() }));
  assert.equal(await page.textContent("#picture-note"), "Of an animation the first frame is used.");
}

/** A GIF file of two frames of 2 x 2 white pixels. */
function animation() {
  const text = (characters) => [...Buffer.from(characters, "latin1")];
  const frame = [0x21, 0xf9, 4, 0, 10, 0, 0, 0, 0x2c, 0, 0, 0, 0, 2, 0, 2, 0, 0, 2, 3, 4, 0, 5, 0];
  const head = [...text("GIF89a"), 2, 0, 2, 0, 0x80, 0, 0, 255, 255, 255, 0, 0, 0];
  return Buffer.from([...head, 0x21, 0xff, 11, ...text("NETSCAPE2.0"), 3, 1, 0, 0, 0, ...frame, ...frame, 0x3b]);
}

/** Opacity is enlarged beside the colours. */
async function opacity(page) {
  await after(page, () => page.uncheck("#half"));
  await after(page, async () =>
    page.setInputFiles("#file", { name: "glass.png", mimeType: "image/png", buffer: await made(page, 40, 24, "rgb(200 40 40 / 50%)") }),
  );
  const shown = await canvas(page, ".right");
  assert.equal(shown.length, 80 * 48 * 4);
  const alphas = shown.filter((_, index) => index % 4 === 3);
  assert.ok(alphas.every((alpha) => Math.abs(alpha - 128) <= 2), `${alphas.slice(0, 4)}`);
}

/** Cancel ends a run, and the next one is as good as the first. */
async function cancelling(page) {
  if (await page.isChecked("#part")) await page.uncheck("#part");
  const runs = await page.evaluate(() => Number(document.body.dataset.runs));
  await page.click("[data-sample=coffee]");
  await page.waitForSelector("body[data-state=running]");
  await page.waitForFunction(() => Number(document.querySelector("#progress").value) > 0 || document.body.dataset.state === "ready");
  if ((await state(page)) === "running") {
    await page.click("#cancel");
    await page.waitForSelector("body[data-state=ready]");
    assert.equal(await page.textContent("#status"), "Cancelled.");
  }
  assert.ok((await page.evaluate(() => Number(document.body.dataset.runs))) > runs);
  await page.check("#part");
  await after(page, () => page.check("#half"));
  assert.match(await page.textContent("#size"), /^128\s×\s128 → 256\s×\s256$/);
  assert.ok((await number(page, "psnr-network")) > (await number(page, "psnr-bicubic")));
}
