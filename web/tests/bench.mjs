// What a page gets: every kernel of the package's `bench`. Runs apart from the tests, because a shared machine is no clock.

import { withPage } from "./chromium.mjs";

await withPage(async (page) => {
  await page.exposeFunction("line", ({ kernel, shape, variant, milliseconds, gflops, gbps, share }) => {
    const percent = `${(100 * share).toFixed(0)} %`.padStart(5);
    console.log(`${kernel.padEnd(20)} ${milliseconds.toFixed(2).padStart(9)} ms ${gflops.toFixed(2).padStart(9)} GFLOP/s ${gbps.toFixed(2).padStart(8)} GB/s ${percent}  ${variant}  ${shape}`);
  });
  const { adapter, peaks } = await page.evaluate(async () => {
    const { Gristmill } = await import("/package/gristmill.js");
    return (await Gristmill.create()).bench({ record: (record) => window.line(record) });
  });
  const { name, driver, type } = adapter.adapter;
  console.log(`adapter: ${[name, driver, type].filter(Boolean).join(", ")}; peaks ${peaks.gflops.toFixed(1)} GFLOP/s, ${peaks.gbps.toFixed(1)} GB/s (shares are of the nearer one)`);
});
