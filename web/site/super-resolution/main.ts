// Enlarges a picture and shows it beside bicubic interpolation.

import type { Picture, Upscaled } from "gristmill";
import weightsAddress from "../../../cli/assets/atd-x2.safetensors?url";
import { compareSlider } from "../common/compare-slider.js";
import { button, duration, figures, percent, sides, slider, toggle } from "../common/controls.js";
import { byId, debounced } from "../common/dom.js";
import { Page } from "../common/page.js";
import { PHOTOS } from "../common/photos.js";
import { type Picked, picturePicker } from "../common/picture-picker.js";
import { download, fetchBytes, pngOf, psnrOfBrightness, resized, tinted } from "../common/pictures.js";
import { inTilesThatFit, middle, startFrom } from "./steps.js";

/** What the weights are for. */
const SCALE = 2;
/** Pixels of a picture: its result has four times as many, and a canvas of a phone holds no more. */
const LIMIT = 2048 * 2048;
/** The colour over pure pixels, and its opacity. */
const TINT = [0, 114, 178, 150] as const;
/** Pixels along a side of the middle part. */
const PART = 256;

const compare = compareSlider(["Bicubic", "Network"]);
const numbers = figures({
  "psnr-bicubic": "PSNR, bicubic",
  "psnr-network": "PSNR, network",
  "pure-share": "Pixels that are pure",
  "saved-share": "Multiplications saved",
  time: "Time of the network",
  tiles: "Tiles",
  "tile-memory": "GPU memory of a tile",
  size: "Size",
});

const again = debounced(() => void enlarge());
const half = toggle({ id: "half", label: "Start from half its size", value: true, hint: "To compare with the truth", change: again });
const part = toggle({ id: "part", label: `Middle ${PART} × ${PART} only`, value: false, hint: "Quicker on a software adapter", change: again });
const purePass = toggle({ id: "pure-pass", label: "Pure-Pass", value: true, change: () => (allow(), again()) });
const colors = slider({ id: "colors", label: "Colours", min: 2, max: 64, value: 16, hint: "Fewer: more pixels are alike", change: again });
const side = slider({ id: "window", label: "Window", min: 4, max: 32, value: 8, show: (side) => sides(side, side), hint: "Smaller: more windows are plain", change: again });
const overlay = toggle({ id: "mask", label: "Show the pure pixels", value: false, change: (visible) => compare.overlay(visible) });
const save = button({ id: "download", label: "Download the result", press: () => void saveResult() });
save.disabled = true;

byId("compare").append(compare.root);
byId("figures").append(numbers.root);
byId("controls").append(half.root, part.root, purePass.root, colors.root, side.root, overlay.root, save);

let picked: Picked | undefined;
let shown: Picture | undefined;
let result: { name: string; picture: Picture } | undefined;
let weights: Promise<Uint8Array> | undefined;

/** Only what has an effect can be set. */
function allow(): void {
  for (const control of [colors, side, overlay]) control.enable(purePass.value);
  compare.overlay(purePass.value && overlay.value);
}

/** The weights, fetched once; again after a failure. */
function fetched(): Promise<Uint8Array> {
  weights ??= fetchBytes(weightsAddress);
  weights.catch(() => (weights = undefined));
  return weights;
}

async function enlarge(): Promise<void> {
  if (!picked) return;
  const { name, picture } = picked;
  await page.run(`Enlarging ${name}`, async (gristmill, options) => {
    const whole = startFrom(part.value ? middle(picture, PART) : picture, half.value ? SCALE : 1);
    const small = half.value ? await resized(whole, whole.width / SCALE, whole.height / SCALE) : whole;
    const bicubic = await resized(small, small.width * SCALE, small.height * SCALE);
    options.signal.throwIfAborted();
    if (shown !== picture) await showFirst(picture, bicubic);
    const config = purePass.value && { colors: colors.value, window: side.value };
    const found = await inTilesThatFit(async (tile) => gristmill.upscale(small, await fetched(), { ...options, purePass: config, tile }));
    const psnr = half.value ? await Promise.all([bicubic, found.picture].map((enlarged) => psnrOfBrightness(whole, enlarged, SCALE))) : [];
    const pureOnes = found.mask && (await tinted(found.mask, small.width, small.height, TINT));
    options.signal.throwIfAborted();
    await compare.show(bicubic, found.picture, pureOnes);
    showFigures(found, small, psnr);
    result = { name: `${name}-x${SCALE}.png`, picture: found.picture };
    save.disabled = false;
  });
}

function showFigures(found: Upscaled, small: Picture, [bicubic, network]: readonly number[]): void {
  const pure = (share: number) => (found.mask ? share : undefined);
  numbers.set("psnr-bicubic", bicubic, `${bicubic?.toFixed(2)}\u00a0dB`);
  numbers.set("psnr-network", network, `${network?.toFixed(2)}\u00a0dB`);
  numbers.set("pure-share", pure(found.pureShare), percent(found.pureShare));
  numbers.set("saved-share", pure(found.savedShare), percent(found.savedShare));
  numbers.set("time", found.milliseconds, duration(found.milliseconds));
  numbers.set("tiles", found.tiles);
  numbers.set("tile-memory", found.tileBytes, `${Math.round(found.tileBytes / (1 << 20))}\u00a0MiB`);
  numbers.set("size", small.width * small.height, `${sides(small.width, small.height)} → ${sides(found.picture.width, found.picture.height)}`);
}

/** While a new picture is enlarged, what bicubic interpolation makes of it stands on both sides. */
async function showFirst(picture: Picture, bicubic: Picture): Promise<void> {
  shown = picture;
  result = undefined;
  save.disabled = true;
  numbers.clear();
  await compare.show(bicubic, bicubic);
}

async function saveResult(): Promise<void> {
  if (result) download(await pngOf(result.picture), result.name);
}

const page = await Page.open("super-resolution");
part.set(page.software);
allow();
const picker = picturePicker(byId("picker"), {
  page,
  samples: PHOTOS,
  limit: LIMIT,
  least: SCALE,
  pick: (choice) => {
    picked = choice;
    void enlarge();
  },
});
if (page.report) await picker.sample("chelsea");
