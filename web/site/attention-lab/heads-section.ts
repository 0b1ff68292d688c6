// Part 3: time of attention against its query heads, on the visitor's adapter.

import { chart } from "../common/chart.js";
import { button, duration, figures, slider } from "../common/controls.js";
import { byId } from "../common/dom.js";
import type { Page } from "../common/page.js";
import { fitLine } from "./line-fit.js";

const QUERY_HEADS = [1, 2, 4, 8, 16];
const [KV_HEADS, HEAD_DIM] = [1, 64];

export function headsSection(page: Page): void {
  const tokens = slider({
    id: "tokens",
    label: "Tokens",
    value: page.software ? 512 : 4096,
    values: [256, 512, 1024, 2048, 4096, 8192],
    hint: `${KV_HEADS} head of keys and values, ${HEAD_DIM} elements each`,
  });
  const samples = slider({ id: "head-samples", label: "Timed runs", value: 5, values: [3, 5, 9, 15], hint: "the median counts" });
  const measure = button({ id: "measure", label: "Measure", press: () => void run(), main: true });
  byId("heads-controls").append(tokens.root, samples.root, measure);

  const plot = chart("Time of attention against query heads", { label: "query heads H_q" }, { label: "ms" });
  plot.root.hidden = true;
  byId("heads-chart").append(plot.root);
  const numbers = figures({
    slope: "b, per query head",
    intercept: "a, whatever the heads",
    r2: "share of the variance on the line",
    fewer: "16 heads over 4 heads",
    gflops: "GFLOP/s with 16 heads",
    build: "build of the kernel",
  });
  byId("heads-figures").append(numbers.root);

  async function run(): Promise<void> {
    const shapes = QUERY_HEADS.map((queryHeads) => ({ tokens: tokens.value, queryHeads, kvHeads: KV_HEADS, headDim: HEAD_DIM }));
    const measured = await page.run(`Measuring ${tokens.value} tokens`, (gristmill, options) =>
      gristmill.timeAttention(shapes, { samples: samples.value, ...options }),
    );
    if (!measured) return;
    const times = measured.map(({ milliseconds }) => milliseconds);
    const { a, b, r2 } = fitLine(QUERY_HEADS, times);
    plot.root.hidden = false;
    plot.show({
      x: QUERY_HEADS,
      series: [
        { label: "the line a + b H_q", values: QUERY_HEADS.map((heads) => a + b * heads) },
        { label: "measured", values: times, points: true },
      ],
    });
    const [four, sixteen] = [times[2] ?? NaN, times[4] ?? NaN];
    numbers.set("slope", b, duration(b));
    numbers.set("intercept", a, duration(a));
    numbers.set("r2", r2, r2.toFixed(4));
    numbers.set("fewer", sixteen / four, `${(sixteen / four).toFixed(2)} ×`);
    numbers.set("gflops", measured[4]?.gflops ?? NaN, (measured[4]?.gflops ?? NaN).toPrecision(3));
    numbers.set("build", 0, measured[0]?.variant ?? "");
  }
}
