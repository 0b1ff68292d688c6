// The page of the low-rank codec: its files and figures against the command line tool's, every control, files of the visitor's, and bad ones.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { canvas, detail, made, pixels } from "../pictures.mjs";
import { after, number, onAPhone, slide, state } from "../visitor.mjs";

const chelsea = fileURLToPath(new URL("../../../cli/assets/chelsea.png", import.meta.url));
const TIMEOUT = 240_000;
/** Sides that no patch divides. */
const [WIDTH, HEIGHT] = [150, 107];
/** The slider's last place, past the sides of our pictures. */
const OWN = 10;

export async function test({ page, address, screenshot, native }) {
  page.setDefaultTimeout(TIMEOUT);
  const folder = await mkdtemp(join(tmpdir(), "gristmill-"));
  try {
    await page.goto(`${address}vq-codec/`);
    await page.waitForFunction(() => document.body.dataset.runs === "1" && document.body.dataset.state !== "running");
    assert.equal(await state(page), "ready", await page.textContent("#error"));
    const software = await page.evaluate(() => globalThis.gristmill.report.adapter.type === "Cpu");
    assert.equal(await page.textContent("#size"), software ? "256 × 170" : "451 × 300");
    await screenshot("vq-codec");

    const file = join(folder, "detail.png");
    await writeFile(file, await detail(page, await readFile(chelsea), WIDTH, HEIGHT));
    await slide(page, "longest", OWN);
    await after(page, () => page.setInputFiles("#file", file));
    await numbersMatchTheTool(page, native, folder, file);
    await sidesCount(page);
    await filesOfTheVisitor(page, native, folder, file, screenshot);
    await film(page, screenshot);
    await badFiles(page, folder, screenshot);
    await opacity(page);
    await cancelling(page);
    await lossOfTheDevice(page);
    await onAPhone(page, () => screenshot("vq-codec-phone"));
    await smallAdapter(page, address);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function downloaded(page) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  return { name: download.suggestedFilename(), file: await readFile(await download.path()) };
}

/** PSNR of all samples, by our own sum. */
function psnr(one, other) {
  let squares = 0;
  one.forEach((value, index) => (squares += index % 4 < 3 ? (value - other[index]) ** 2 : 0));
  return 10 * Math.log10((255 ** 2 * one.length * 0.75) / squares);
}

/** How many bytes of two pictures differ, and by how much at most. */
function differences(one, other) {
  assert.equal(one.length, other.length);
  return one.reduce(({ worst, count }, value, index) => {
    const difference = Math.abs(value - other[index]);
    return { worst: Math.max(worst, difference), count: count + (difference > 0) };
  }, { worst: 0, count: 0 });
}

/**
 * Every preset, with and without sweeps and codebook: the size of the file is the tool's to the byte, and so are rate and ratio as the
 * tool rounds them. PSNR is within 0.02 dB: where two codewords leave nearly the same error, the rounding of an adapter decides.
 */
async function numbersMatchTheTool(page, native, folder, picture) {
  const seen = new Map();
  for (const [preset, sweeps, inline] of [["A", 4, false], ["B", 4, true], ["B", 0, false], ["B", 8, false], ["C", 4, false]]) {
    await slide(page, "sweeps", sweeps);
    await page.setChecked("#inline", inline);
    await after(page, () => page.check(`#preset-${preset}`).then(() => slide(page, "sweeps", sweeps)));
    const gvq = join(folder, "tool.gvq");
    const said = await native(["encode", picture, gvq, "--preset", preset, "--sweeps", String(sweeps), ...(inline ? ["--inline"] : [])]);
    const [, bytes, rate, ratio] = /(\d+) bytes, ([\d.]+) bits per pixel, ([\d.]+) times smaller/.exec(said);
    const [, quality] = /PSNR ([\d.]+) dB/.exec(said);
    const what = `preset ${preset}, ${sweeps} sweeps: the tool says ${said}`;
    assert.equal(await number(page, "bytes"), Number(bytes), what);
    assert.equal((await number(page, "bits-per-pixel")).toFixed(3), rate, what);
    assert.equal((await number(page, "ratio")).toFixed(1), ratio, what);
    const shown = await number(page, "psnr");
    assert.ok(Math.abs(shown - Number(quality)) < 0.02 + 0.005, `${what}the page ${shown}`);
    seen.set(`${preset}${sweeps}`, shown);

    // PSNR is that of the canvases; the file is what decodes to the right one.
    const [left, right] = [await canvas(page, ".left"), await canvas(page, ".right")];
    assert.equal(differences(left, await pixels(page, await readFile(picture))).count, 0, "the original is the file's pixels");
    assert.ok(Math.abs(psnr(left, right) - shown) < 1e-6);
    const { name, file } = await downloaded(page);
    assert.equal(name, "detail.gvq");
    assert.equal(file.length, Number(bytes));
    await writeFile(join(folder, "page.gvq"), file);
    await native(["decode", join(folder, "page.gvq"), join(folder, "page.png")]);
    const { worst, count } = differences(right, await pixels(page, await readFile(join(folder, "page.png"))));
    assert.ok(worst <= 1 && count <= right.length / 1000, `${what}${count} bytes differ, by up to ${worst}`);
  }
  assert.ok(seen.get("B0") < seen.get("B4") && seen.get("B4") < seen.get("B8") + 0.01, "sweeps bring something");
  assert.ok(seen.get("C4") < seen.get("B4"), "a third of the size is worse");
  await after(page, () => page.check("#preset-B"));
  assert.ok((await number(page, "jpeg")) > (await number(page, "psnr")), "JPEG is better at this rate, and the page says so");
}

/** The longer side in pixels, kept as the picture's own where that is shorter. */
async function sidesCount(page) {
  await after(page, () => slide(page, "longest", 1));
  assert.equal(await page.textContent("#size"), "96 × 68");
  assert.equal(await page.textContent("output[for=longest]"), "96 pixels");
  await after(page, () => slide(page, "longest", 7));
  assert.equal(await page.textContent("#size"), `${WIDTH} × ${HEIGHT}`);
  assert.equal(await page.textContent("output[for=longest]"), `its own, ${WIDTH} pixels`);
}

/** A .gvq file of the tool's decodes to the tool's picture; one with a codebook of its own asks for that. */
async function filesOfTheVisitor(page, native, folder, picture, screenshot) {
  const [gvq, png, own] = ["tool.gvq", "tool.png", "own.safetensors"].map((name) => join(folder, name));
  const sameAsTool = async (codebook = []) => {
    await native(["decode", gvq, png, ...codebook]);
    const { worst, count } = differences(await canvas(page, "#decoded"), await pixels(page, await readFile(png)));
    assert.ok(worst <= 1 && count <= (WIDTH * HEIGHT * 4) / 1000, `${count} bytes differ, by up to ${worst}`);
    assert.equal(await page.isVisible(".compare"), false, "there is no original");
    assert.equal(await page.isVisible("#psnr"), false);
    assert.equal(await number(page, "bytes"), (await readFile(gvq)).length);
  };
  for (const preset of ["C", "A"]) {
    await native(["encode", picture, gvq, "--preset", preset]);
    await after(page, () => page.setInputFiles("#file", gvq));
    await sameAsTool();
  }
  await screenshot("vq-codec-file");

  await native(["codebook", "train", picture, "--output", own, "--preset", "A", "--codewords", "64", "--blocks", "300", "--rounds", "1"]);
  await native(["encode", picture, gvq, "--preset", "A", "--codebook", own]);
  await after(page, () => page.setInputFiles("#file", gvq), "error");
  assert.match(await page.textContent("#error"), /tool\.gvq: .*codebook.*Drop the codebook \(\.safetensors\)/);
  assert.ok(await page.isDisabled("#download"));
  await after(page, () => page.setInputFiles("#file", own));
  await sameAsTool(["--codebook", own]);

  await native(["encode", picture, gvq, "--preset", "A", "--codebook", own, "--inline"]);
  await after(page, () => page.setInputFiles("#file", gvq));
  await sameAsTool();

  // Dropped anywhere.
  const dropped = [...(await readFile(gvq))];
  await after(page, () => page.evaluate((bytes) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([Uint8Array.from(bytes)], "dropped.gvq"));
    document.querySelector("main").dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
  }, dropped));
  assert.equal((await downloaded(page)).name, "dropped.gvq");
}

/** The film shows the picture, and its figures agree with each other. */
async function film(page, screenshot) {
  const expected = await canvas(page, "#decoded");
  for (let time = 0; time < 2; time++) {
    await after(page, () => page.click("#play"));
    const [fps, rate, frames] = [await number(page, "fps"), await number(page, "rate"), await number(page, "frames")];
    assert.ok(frames >= 1 && Math.abs(rate - (fps * WIDTH * HEIGHT) / 1e6) < 1e-9, `${frames} frames, ${fps} a second`);
    assert.ok(frames / fps >= 3 && frames / fps < 6, "for three seconds");
  }
  const shown = await page.$eval("#screen", (screen) => {
    const context = new OffscreenCanvas(screen.width, screen.height).getContext("2d");
    context.drawImage(screen, 0, 0);
    return Array.from(context.getImageData(0, 0, screen.width, screen.height).data);
  });
  const { worst, count } = differences(Uint8Array.from(shown), expected);
  assert.ok(worst <= 1 && count <= expected.length / 1000, `${count} bytes of the film differ, by up to ${worst}`);
  await screenshot("vq-codec-film");
  await after(page, async () => {
    await page.click("#play");
    await page.click("#cancel");
  });
  assert.equal(await page.textContent("#status"), "Cancelled.");
  assert.equal(await page.isVisible("#fps"), false);
}

/** What can't be used is refused with the reason; the rest of the page goes on. */
async function badFiles(page, folder, screenshot) {
  const refused = async (name, buffer, says) => {
    await page.setInputFiles("#file", { name, mimeType: "application/octet-stream", buffer });
    await page.waitForSelector("body[data-state=error]");
    assert.match(await page.textContent("#error"), says);
  };
  const gvq = await readFile(join(folder, "tool.gvq"));
  await refused("cut.gvq", gvq.subarray(0, gvq.length / 2), /bytes/);
  await refused("empty.gvq", Buffer.alloc(0), /header|bytes/);
  const flipped = Buffer.from(gvq);
  flipped[gvq.length - 9] ^= 4;
  await refused("flipped.gvq", flipped, /checksum/);
  await refused("notes.gvq", Buffer.from("not a picture, but long enough to have a header of 52 bytes"), /signature/);
  await refused("notes.txt", Buffer.from("not a picture"), /notes\.txt: this browser can't read it as a picture/);
  await screenshot("vq-codec-error");

  await refused("huge.png", await made(page, 4097, 4096, "#7a9"), /4097 × 4096 = 16\.8 megapixels; this page takes up to 16\.8/);
  await slide(page, "longest", 0);
  await after(page, async () => page.setInputFiles("#file", { name: "large.png", mimeType: "image/png", buffer: await made(page, 4096, 4096, "#7a9") }));
  assert.equal(await page.textContent("#size"), "64 × 64");
  assert.equal(await page.textContent("#picture-note"), "Shrunk from 4096 × 4096.");
  await after(page, async () => page.setInputFiles("#file", { name: "pixel.png", mimeType: "image/png", buffer: await made(page, 1, 1, "#08f") }));
  assert.equal(await page.textContent("#size"), "1 × 1");
}

/** What shines through is white. */
async function opacity(page) {
  await after(page, async () =>
    page.setInputFiles("#file", { name: "glass.png", mimeType: "image/png", buffer: await made(page, 40, 24, "rgb(200 40 40 / 50%)") }),
  );
  const shown = await canvas(page, ".left");
  // A canvas keeps colours multiplied by their opacity in bytes: two steps.
  assert.ok([227, 147, 147, 255].every((value, channel) => Math.abs(shown[channel] - value) <= 2), `${shown.slice(0, 4)}`);
}

/** Cancel ends a run; a new picture ends the run of the old one; the next run is as good as the first. */
async function cancelling(page) {
  await slide(page, "sweeps", 8);
  await slide(page, "longest", OWN);
  await page.click("[data-sample=coffee]");
  await page.waitForFunction(() => Number(document.querySelector("#progress").value) > 0 && document.body.dataset.state === "running");
  await page.click("#cancel");
  await page.waitForSelector("body[data-state=ready]");
  assert.equal(await page.textContent("#status"), "Cancelled.");
  assert.ok(await page.isDisabled("#download"), "nothing is left of a cancelled run");

  await page.click("[data-sample=coffee]");
  await page.waitForFunction(() => Number(document.querySelector("#progress").value) > 0 && document.body.dataset.state === "running");
  await slide(page, "longest", 2);
  await page.click("[data-sample=chelsea]");
  await page.waitForFunction(() => document.querySelector("#size").textContent === "128 × 85" && document.body.dataset.state === "ready");
  assert.ok((await number(page, "psnr")) > 20);
  assert.equal((await downloaded(page)).name, "chelsea.gvq");
}

/** A run goes on with another device where its own is lost. */
async function lossOfTheDevice(page) {
  const before = await number(page, "psnr");
  await after(page, async () => {
    await slide(page, "sweeps", 7);
    await page.waitForSelector("body[data-state=running]");
    await page.evaluate(() => globalThis.gristmill.destroyDevice());
  });
  assert.equal(await page.getAttribute("body", "data-losses"), "1");
  assert.ok(Math.abs((await number(page, "psnr")) - before) < 0.2);
}

/** An adapter whose bindings can't hold the codebook. */
async function smallAdapter(page, address) {
  await page.goto(`${address}vq-codec/?limits=maxStorageBufferBindingSize:100000`);
  await page.waitForSelector("body[data-state=error]");
  assert.match(await page.textContent("#error"), /131072.*100000/);
  assert.match(await page.textContent("#error"), /A smaller picture, or smaller settings, may fit this adapter/);
  await after(page, async () => {
    await slide(page, "longest", 2);
    await page.check("#preset-A");
  });
  assert.ok((await number(page, "psnr")) > 20, "a smaller codebook and a smaller picture fit");
}
