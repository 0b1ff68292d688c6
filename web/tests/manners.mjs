// How pages behave: they answer while a kernel runs, take the loss of a device, a small adapter and a browser without WebGPU, and leave
// nothing broken behind.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { createServer } from "vite";

/** A task of ours on the page's thread may not last longer (milliseconds). */
const LONGEST_TASK = 100;
const TIMEOUT = 240_000;

const PAGES = ["super-resolution/", "token-merging/", "vq-codec/", "attention-lab/", "bench/"];

const settled = (page, state = "ready") =>
  page.waitForFunction((state) => document.body.dataset.state === state && document.body.dataset.runs !== undefined, state, { timeout: TIMEOUT });

/** In the page, before its own scripts: notes every long task with what the browser says of it. */
function watchTasks() {
  globalThis.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { startTime, duration, attribution } of list.getEntries()) {
      globalThis.longTasks.push({ startTime, duration, from: attribution.map(({ containerType, name }) => `${containerType} ${name}`) });
    }
  }).observe({ type: "longtask", buffered: true });
}

export const manners = {
  /** The page's thread is free while kernels run: from the first paint to the end of the first run. */
  async "no long tasks"({ page, address }) {
    await page.addInitScript(watchTasks);
    const worst = [];
    for (const folder of ["super-resolution/", "vq-codec/", "token-merging/"]) {
      await page.goto(`${address}${folder}`);
      await settled(page);
      const tasks = await page.evaluate(() => globalThis.longTasks);
      const longest = Math.max(0, ...tasks.map(({ duration }) => duration));
      assert.ok(longest <= LONGEST_TASK, `${folder}: a task of ${longest} ms: ${JSON.stringify(tasks)}`);
      worst.push(`${folder.slice(0, -1)} ${longest.toFixed(0)} ms`);
    }
    return `longest task: ${worst.join(", ")}`;
  },

  /** From opening a page to the first result of a kernel. */
  async "start to first result"({ page, address }) {
    await page.goto(`${address}package/types.js`); // an empty page of the same origin
    const times = await page.evaluate(async () => {
      const start = performance.now();
      const { Gristmill } = await import("/package/gristmill.js");
      const gristmill = await Gristmill.create();
      const ready = performance.now();
      const tensor = (...shape) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b)).fill(0.5) });
      const { out } = await gristmill.attention({ q: tensor(1, 16, 2, 16), k: tensor(1, 16, 2, 16), v: tensor(1, 16, 2, 16) });
      const first = performance.now();
      gristmill.close();
      return { ready: ready - start, first: first - start, right: out.data.every((value) => Math.abs(value - 0.5) < 1e-6) };
    });
    assert.ok(times.right, "the mean of equal values is that value");
    return `device after ${times.ready.toFixed(0)} ms, first result after ${times.first.toFixed(0)} ms`;
  },

  /** A device that goes in the middle of a run: the page says so, and the run ends well on another. */
  async "lost device"({ page, address, screenshot }) {
    await page.goto(`${address}vq-codec/`);
    await settled(page);
    const lost = page.evaluate(() => globalThis.gristmill.lost());
    await page.evaluate(() => globalThis.gristmill.destroyDevice());
    assert.match(await lost, /destroy/i);
    await page.waitForFunction(() => document.body.dataset.losses === "1", null, { timeout: TIMEOUT });
    assert.match(await page.textContent("#run"), /GPU was lost/);
    await screenshot("lost-device");
    const result = await page.evaluate(async () => {
      const tensor = (...shape) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b)).fill(0.5) });
      const { out } = await globalThis.gristmill.attention({ q: tensor(1, 4, 1, 8), k: tensor(1, 4, 1, 8), v: tensor(1, 4, 1, 8) });
      return out.data[0];
    });
    assert.equal(result, 0.5);
  },

  /** Adapters that are too small for a page's first run: an error that names the limit. */
  async "small adapter"({ page, address, screenshot }) {
    for (const folder of ["super-resolution/", "vq-codec/", "token-merging/"]) {
      await page.goto(`${address}${folder}?limits=maxStorageBufferBindingSize:4096`);
      await page.waitForFunction(() => document.body.dataset.state === "error", null, { timeout: TIMEOUT });
      assert.match(await page.textContent("#error"), /maxStorageBufferBindingSize/, folder);
    }
    await screenshot("small-adapter");
  },

  /** Browsers without WebGPU: every page says what to do. */
  async "no WebGPU"({ page, address, screenshot }) {
    await page.addInitScript(() => Object.defineProperty(Navigator.prototype, "gpu", { get: () => undefined, configurable: true }));
    for (const folder of PAGES) {
      await page.goto(`${address}${folder}`);
      await page.waitForFunction(() => document.body.dataset.state === "error", null, { timeout: TIMEOUT });
      const text = await page.textContent("#error");
      assert.match(text, /no WebGPU/, folder);
      assert.match(text, /Chrome/, folder);
    }
    await screenshot("no-webgpu");
  },

  /** From Vite's development server, where every module is a file of its own: each page starts. */
  async "unbundled"({ page }) {
    const configFile = fileURLToPath(new URL("../site/vite.config.ts", import.meta.url));
    const server = await createServer({ configFile, logLevel: "error", server: { host: "127.0.0.1", port: 0 } });
    try {
      await server.listen();
      for (const folder of ["", ...PAGES]) {
        await page.goto(`${server.resolvedUrls.local[0]}${folder}`);
        await page.waitForFunction(() => document.body.dataset.state !== "loading", null, { timeout: TIMEOUT });
      }
    } finally {
      await server.close();
    }
  },

  /** A page that is closed in the middle of a run leaves the next one whole. */
  async "closed in the middle"({ page, address, browser }) {
    const context = await browser.newContext();
    const first = await context.newPage();
    await first.goto(`${address}vq-codec/`);
    await first.waitForFunction(() => document.body.dataset.state === "running", null, { timeout: TIMEOUT });
    await context.close();
    await page.goto(`${address}vq-codec/`);
    await settled(page);
  },
};
