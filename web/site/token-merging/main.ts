// Token merging: one picture through a ClustViT, merged and plain.

import weightsAddress from "../../../cli/assets/clustvit-scenes.safetensors?url";
import type { Picture } from "gristmill";
import { button, choice, duration, figures, percent, slider } from "../common/controls.js";
import { byId } from "../common/dom.js";
import { Page } from "../common/page.js";
import { type Picked, picturePicker } from "../common/picture-picker.js";
import { fetchBytes } from "../common/pictures.js";
import { type Layer, type Segmented, paint } from "./layers.js";
import { showLegend } from "./legend.js";
import { contextOf } from "./marks.js";
import "./page.css";
import { SAMPLES } from "./scenes.js";
import { middleSquare } from "./square.js";
import { summarise } from "./summary.js";

/** Pixels of a square of 4096. */
const LIMIT = 4096 * 4096;

const LAYER_NAMES: Record<Layer, string> = {
  clusters: "clusters",
  merged: "classes, merged",
  plain: "classes, plain",
  differences: "differences",
};

const page = await Page.open("token-merging");
const canvas = byId<HTMLCanvasElement>("picture");
let weights: Uint8Array | undefined;
let picked: Picked | undefined;
let segmented: Segmented | undefined;

const layer = choice<Layer>({
  id: "layer",
  label: "Over the picture",
  value: "clusters",
  choices: Object.entries(LAYER_NAMES) as [Layer, string][],
  change: show,
});
const opacity = slider({ id: "opacity", label: "Opacity", value: 70, min: 0, max: 100, step: 5, show: (value) => `${value} %`, follow: show });
const samples = slider({
  id: "samples",
  label: "Timed runs",
  value: page.software ? 1 : 5,
  values: [1, 3, 5, 9, 15],
  hint: "after a first one; their median counts",
});
const again = button({ id: "again", label: "Run again", press: () => void segment() });
byId("controls").append(layer.root, opacity.root, samples.root, again);

const numbers = figures({
  rows: "rows in the later blocks",
  kept: "tokens kept by themselves",
  agreement: "pixels of the same class",
  merged: "time merged",
  plain: "time plain",
  speedup: "plain over merged",
  variant: "build of the kernels",
});
byId("figures").append(numbers.root);

const picker = picturePicker(byId("picker"), {
  page,
  samples: SAMPLES,
  limit: LIMIT,
  pick: (next) => {
    picked = next;
    void segment();
  },
});
if (page.report) await picker.sample("scene-03");

/** Runs the picked picture through both models. */
async function segment(): Promise<void> {
  if (!picked) return;
  const { name, picture } = picked;
  const result = await page.run(`Segmenting ${name}, merged and plain`, async (gristmill, { signal, progress }): Promise<Segmented> => {
    weights ??= await fetchBytes(weightsAddress, signal);
    const { side } = await gristmill.segmenter(weights);
    const square = await middleSquare(picture, side);
    preview(square);
    const run = (merge: boolean, before: number) =>
      gristmill.segment(square, weights!, { merge, samples: samples.value, signal, progress: (share) => progress(before + share / 2) });
    const merged = await run(true, 0);
    const plain = await run(false, 0.5);
    return { picture: square, merged, plain };
  });
  if (!result) return;
  segmented = result;
  show();
  showNumbers(name, result);
}

/** The picture alone, until there is more to show. */
function preview({ data, width, height }: Picture): void {
  segmented = undefined;
  const small = new OffscreenCanvas(width, height);
  contextOf(small).putImageData(new ImageData(new Uint8ClampedArray(data), width, height), 0, 0);
  contextOf(canvas).drawImage(small, 0, 0, canvas.width, canvas.height);
  canvas.setAttribute("aria-label", "The middle of the picture");
}

function show(): void {
  if (!segmented) return;
  paint(canvas, segmented, layer.value, opacity.value / 100);
  canvas.setAttribute("aria-label", `The middle of the picture under its ${LAYER_NAMES[layer.value]}; the table beside it says what is where`);
  canvas.dataset.layer = layer.value;
  showLegend(byId<HTMLTableElement>("legend"), segmented, layer.value);
}

function showNumbers(name: string, result: Segmented): void {
  const { rows, allRows, keptTokens, allTokens, agreement, mergedMilliseconds, plainMilliseconds } = summarise(result);
  const speedup = plainMilliseconds / mergedMilliseconds;
  numbers.set("rows", rows, `${rows} of ${allRows}`);
  numbers.set("kept", keptTokens, `${keptTokens} of ${allTokens}`);
  numbers.set("agreement", agreement, percent(agreement));
  numbers.set("merged", mergedMilliseconds, duration(mergedMilliseconds));
  numbers.set("plain", plainMilliseconds, duration(plainMilliseconds));
  numbers.set("speedup", speedup, `${speedup.toFixed(2)} ×`);
  numbers.set("variant", 0, result.merged.variant);
  byId("finding").textContent =
    `${name}: ${rows} of ${allRows} rows kept (${percent(rows / allRows, 0)}), ${percent(agreement)} of the pixels as without merging.`;
}
