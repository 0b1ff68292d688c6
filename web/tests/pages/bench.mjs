// The bench page: what it measures against the command line tool's count of the same work, its peaks and shares, every control, and a
// small adapter. Times themselves are compared with nothing: a shared machine is no clock.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, number, onAPhone, state } from "../visitor.mjs";

const TIMEOUT = 400_000;

export async function test({ page, address, screenshot, native }) {
  page.setDefaultTimeout(TIMEOUT);
  await open(page, `${address}bench/`);
  await adapterIsShown(page);
  await screenshot("bench-start");
  await chosenOnly(page, native);
  await screenshot("bench");
  await cancelling(page);
  await lossOfTheDevice(page);
  await onAPhone(page, () => screenshot("bench-phone"));
  await otherBuild(page, address);
  await smallAdapter(page, address, screenshot);
}

const rows = (page) => page.$$eval("#rows tr", (rows) => rows.map((row) => ({
  kernel: row.dataset.kernel,
  shape: row.cells[1].textContent,
  ...Object.fromEntries([...row.querySelectorAll("[data-column]")].map((cell) => [cell.dataset.column, cell.dataset.value ? Number(cell.dataset.value) : cell.textContent])),
})));

async function open(page, address) {
  await page.goto(address);
  await page.waitForFunction(() => document.getElementById("start") && ["ready", "error"].includes(document.body.dataset.state));
  assert.equal(await state(page), "ready", await page.textContent("#error"));
}

async function choose(page, ...kernels) {
  await page.click("#none");
  for (const kernel of kernels) await page.check(`#case-${kernel.replaceAll(" ", "-")}`);
}

const samples = (page, count) =>
  page.$eval("#samples", (input, count) => {
    input.value = count;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }, String(count));

/** A box for every case; adapter, limits and builds are the report's. */
async function adapterIsShown(page) {
  const { cases, report } = await page.evaluate(async () => ({ cases: await globalThis.gristmill.benchCases(), report: globalThis.gristmill.report }));
  assert.ok(cases.length >= 12, `${cases.length} cases`);
  assert.deepEqual(await page.$$eval(".kernels label", (labels) => labels.map((label) => label.textContent)), cases);
  assert.equal(await page.isVisible("#ratios"), report.adapter.type === "Cpu", "a software adapter's times are ratios");
  const about = await page.$$eval("#about tr", (rows) => rows.map((row) => row.dataset.what));
  for (const limit of Object.keys(report.limits)) assert.ok(about.includes(limit), limit);
  const builds = await page.$$eval("#builds tr[data-kernel]", (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
  assert.deepEqual(builds, Object.entries(report.kernels).map(([kernel, { variant, reason }]) => [kernel, variant, reason]));
}

/** The chosen kernels, in their order; work, shares and the JSON file agree. */
async function chosenOnly(page, native) {
  await page.click("#none");
  assert.ok(await page.isDisabled("#start"), "nothing to run");
  await choose(page, "linear", "lowrank_vq", "pure_pass_mask");
  await samples(page, 1);
  await after(page, () => page.click("#start"));
  const found = await rows(page);
  assert.deepEqual(found.map(({ kernel }) => kernel), ["pure_pass_mask", "lowrank_vq", "linear"]);
  const peaks = { gflops: await number(page, "peak-gflops"), gbps: await number(page, "peak-gbps") };
  assert.ok(peaks.gflops > 0 && peaks.gbps > 0);
  for (const { kernel, milliseconds, gflops, gbps, share } of found) {
    assert.ok(milliseconds > 0, kernel);
    const expected = Math.max(gflops / peaks.gflops, gbps / peaks.gbps);
    assert.ok(Math.abs(share - expected) < 1e-9, `${kernel}: share ${share}, expected ${expected}`);
  }
  assert.equal(await page.locator("#bars .bar").count(), 3);

  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  assert.equal(download.suggestedFilename(), "gristmill-bench.json");
  const report = JSON.parse(await readFile(await download.path(), "utf8"));
  assert.deepEqual(report.peaks, peaks);
  assert.deepEqual(report.records.map(({ kernel, shape, variant, milliseconds, gflops, gbps, share }) => ({ kernel, shape, variant, milliseconds, gflops, gbps, share })), found);
  assert.deepEqual([report.adapter.kernels.lowrank_vq.variant, report.failed], [found[1].variant, {}]);
  await sameWorkAsTheTool(native, found);
}

/** Rate times time is the work, which the tool counts for the same shape: equal but for the last digits. */
async function sameWorkAsTheTool(native, found) {
  const folder = await mkdtemp(join(tmpdir(), "gristmill-"));
  try {
    const json = join(folder, "bench.json");
    const tool = async (kernel, wanted, ...settings) => {
      await native(["bench", kernel, "--samples", "1", "--json", json, ...settings.flatMap((setting) => ["--set", setting])]);
      const record = JSON.parse(await readFile(json, "utf8")).find((record) => record.kernel === kernel && wanted(record));
      return [record.gflops * record.ms, record.gbps * record.ms];
    };
    const page = (kernel) => {
      const { shape, milliseconds, gflops, gbps } = found.find((record) => record.kernel === kernel);
      return { sides: shape.match(/\d+/g), work: [gflops * milliseconds, gbps * milliseconds] };
    };
    const linear = page("linear");
    const [rows, inputs, outputs] = linear.sides;
    same("linear", linear.work, await tool("linear", () => true, `rows=${rows}`, `inputs=${inputs}`, `outputs=${outputs}`));
    const decoder = page("lowrank_vq");
    const ofPresetB = ({ preset, height }) => preset === "B" && height === Number(decoder.sides[0]);
    same("lowrank_vq", decoder.work, await tool("lowrank_vq", ofPresetB, `size=${decoder.sides[0]}`, "dtype=f16"));
  } finally {
    await rm(folder, { recursive: true });
  }
}

function same(kernel, ours, theirs) {
  ours.forEach((work, index) => assert.ok(Math.abs(work / theirs[index] - 1) < 1e-6, `${kernel}: work ${ours}, the tool's ${theirs}`));
}

/** A cancelled run keeps what it has measured. */
async function cancelling(page) {
  await page.click("#all");
  await page.click("#start");
  await page.waitForSelector("#rows tr");
  await page.click("#cancel");
  await page.waitForSelector("body[data-state=ready]");
  assert.equal(await page.textContent("#status"), "Cancelled.");
  const measured = (await rows(page)).length;
  assert.ok(measured >= 1 && measured < 14, `${measured} measured`);
}

/** A run goes on with another device where its own is lost. */
async function lossOfTheDevice(page) {
  await choose(page, "linear", "convolution");
  await after(page, async () => {
    await page.click("#start");
    await page.waitForSelector("#rows tr[data-kernel=linear]");
    await page.evaluate(() => globalThis.gristmill.destroyDevice());
  });
  assert.equal(await page.getAttribute("body", "data-losses"), "1");
  assert.deepEqual((await rows(page)).map(({ kernel }) => kernel), ["linear", "convolution"]);
}

/** `?variant=` asks for another build, which the table and the report name. */
async function otherBuild(page, address) {
  await open(page, `${address}bench/?variant=portable`);
  await choose(page, "linear");
  await samples(page, 1);
  await after(page, () => page.click("#start"));
  assert.deepEqual((await rows(page)).map(({ variant }) => variant), ["portable"]);
  const reasons = await page.$$eval("#builds .reason", (cells) => new Set(cells.map((cell) => cell.textContent)).size);
  assert.equal(reasons, 1);
}

/** What does not fit the adapter is named with the reason, and the others are measured. */
async function smallAdapter(page, address, screenshot) {
  await open(page, `${address}bench/?limits=maxStorageBufferBindingSize:2097152&variant=cpu-plain`);
  await choose(page, "attention decode", "linear");
  await samples(page, 1);
  await after(page, () => page.click("#start"));
  assert.match(await page.textContent("#rows tr[data-kernel='attention decode'] .failed"), /maxStorageBufferBindingSize.*2097152/);
  assert.ok((await rows(page)).find(({ kernel }) => kernel === "linear").milliseconds > 0);
  assert.equal(await page.textContent("#measured"), "1 of 2");
  await screenshot("bench-small-adapter");
}
