// Part 1: three kinds of attention predict the curve that the visitor draws, while it is drawn.

import { button, slider } from "../common/controls.js";
import { byId, element } from "../common/dom.js";
import type { Page } from "../common/page.js";
import { download } from "../common/pictures.js";
import { NAMES, curveEditor, lineSample } from "./curve-editor.js";
import { PRESETS, type Preset, type Samples, heightAt, places, preset, sample } from "./curve.js";
import { Latest } from "./latest.js";
import { METHODS, type Predictions, type Settings, errors, fileOf, predict } from "./regression.js";

const QUERIES = places(201);
const BANDWIDTHS = [0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.3, 0.4, 0.6, 1];
const RIDGES = [1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];

export function curveSection(page: Page): void {
  const heights = preset("sine");
  let seed = 1;
  /** What the predictions that are shown were made from. */
  let shown: { samples: Samples; settings: Settings } | undefined;

  // `data-asked` counts the changes, `data-shown` is the last one that the figures contain, `data-runs` counts the runs.
  const { dataset } = byId("errors");
  let asked = 0;
  const latest = new Latest(async () => {
    const change = asked;
    const drawn = heights.slice();
    const samples = sample(drawn, count.value, noise.value, seed);
    const settings = { bandwidth: bandwidth.value, ridge: ridge.value };
    const predictions = await page.follow((gristmill, options) => predict(gristmill, samples, QUERIES, settings, options));
    if (!predictions) return;
    show(samples, drawn, predictions);
    dataset.shown = String(change);
    dataset.runs = String(Number(dataset.runs ?? 0) + 1);
    shown = { samples, settings };
  });
  const request = () => {
    dataset.asked = String(++asked);
    latest.request();
  };
  const editor = curveEditor(byId<HTMLCanvasElement>("curve"), heights, request, (text) => (byId("point").textContent = text));

  const count = slider({ id: "count", label: "Samples", value: 64, values: [8, 16, 32, 64, 128, 256, 512], follow: request });
  const noise = slider({ id: "noise", label: "Noise", value: 0.05, min: 0, max: 0.5, step: 0.05, show: (value) => value.toFixed(2), follow: request });
  const bandwidth = slider({
    id: "bandwidth",
    label: "Bandwidth h",
    value: 0.1,
    values: BANDWIDTHS,
    follow: request,
    hint: "weights exp(−(q − k)² / 2h²); linear attention has none",
  });
  const ridge = slider({
    id: "ridge",
    label: "Ridge",
    value: 1e-3,
    values: RIDGES,
    follow: request,
    hint: "as a share of the spread of the samples that a query reads; a large one gives back the mean",
  });
  const again = button({
    id: "reseed",
    label: "Other noise",
    press: () => {
      seed++;
      request();
    },
  });
  const save = button({
    id: "save",
    label: "Save for gristmill run",
    press: () => {
      if (shown) download(new Blob([fileOf(shown.samples, QUERIES, shown.settings)]), "curve.safetensors");
    },
  });
  byId("curve-controls").append(count.root, noise.root, bandwidth.root, ridge.root, again, save);
  byId("curve-presets").append(...PRESETS.map((name) => button({ id: `preset-${name}`, label: name, press: () => choose(name) })));

  function choose(name: Preset): void {
    heights.set(preset(name));
    editor.redraw();
    request();
  }

  function show(samples: Samples, drawn: Float64Array, predictions: Predictions): void {
    editor.show({ samples, queries: QUERIES, predictions });
    const truth = QUERIES.map((x) => heightAt(drawn, x));
    for (const method of METHODS) {
      const { all, ends } = errors(predictions[method], truth);
      number(`mse-${method}`, all);
      number(`ends-${method}`, ends);
    }
  }

  // At the ends: the tenth of the places that is nearest to either.
  const heading = ["", "", "squared error, mean", "at the ends"].map((name) => element("th", { scope: "col" }, name));
  const rows = METHODS.map((method) =>
    element(
      "tr",
      {},
      element("td", {}, lineSample(method)),
      element("td", {}, NAMES[method]),
      element("td", { id: `mse-${method}` }),
      element("td", { id: `ends-${method}` }),
    ),
  );
  const truth = element("tr", {}, element("td", {}, lineSample("truth")), element("td", {}, NAMES.truth), element("td", {}), element("td", {}));
  byId("errors").append(element("thead", {}, element("tr", {}, ...heading)), element("tbody", {}, truth, ...rows));
  request();
}

function number(id: string, value: number): void {
  const cell = byId(id);
  cell.textContent = value < 1e-4 ? value.toExponential(1) : value.toFixed(5);
  cell.dataset.value = String(value);
}
