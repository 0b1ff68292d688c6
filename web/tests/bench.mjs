// What a page gets: attention (f32, 4 heads, 1024 tokens, head dim 64, not causal) and a product of 512 x 512 matrices.
// Runs apart from the tests, because a shared machine is no clock.

import { withPage } from "./chromium.mjs";

const REPEAT = 5;

await withPage(async (page) => {
  const { adapter } = JSON.parse(await page.evaluate(async () => (await import("/gristmill.js")).info()));
  console.log(`adapter: ${[adapter.name, adapter.driver, adapter.type].filter(Boolean).join(", ")}`);
  for (const kernel of ["attention", "linear"]) {
    const text = await page.evaluate(async ([kernel, repeat]) => (await import("/gristmill.js")).bench(kernel, repeat), [kernel, REPEAT]);
    const { milliseconds, gflops, peak_gflops, variant, shape } = JSON.parse(text);
    const share = `${(100 * gflops / peak_gflops).toFixed(0)} % of ${peak_gflops.toFixed(1)}`;
    console.log(`${kernel.padEnd(10)} ${milliseconds.toFixed(1).padStart(8)} ms ${gflops.toFixed(2).padStart(8)} GFLOP/s (${share})  ${variant}  ${shape}`);
  }
});
