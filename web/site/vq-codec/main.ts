// Encodes a picture, decodes it again, and shows both; or decodes a file.

import type { Decoded, Picture, PresetName } from "gristmill";
import { GristmillError } from "gristmill";
import { compareSlider } from "../common/compare-slider.js";
import { button, duration, figures, radios, slider, toggle } from "../common/controls.js";
import { byId, debounced, element } from "../common/dom.js";
import { Page } from "../common/page.js";
import { PHOTOS } from "../common/photos.js";
import { type Picked, picturePicker } from "../common/picture-picker.js";
import { download, draw, jpegWithin, psnr, readPicture } from "../common/pictures.js";
import { allCodebooks, codebookOf, PRESETS } from "./codebooks.js";
import { filmSection } from "./film.js";
import { prepared } from "./prepare.js";
import "./styles.css";

/** Pixels of a picture that is taken, and to how many it is shrunk at least. */
const LIMIT = 4096 * 4096;
const ROOM = 2048 * 2048;
/** What the longer side may be made to have; smaller pictures keep their own. */
const SIDES = [64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048];
/** Encoding's share of a run; the rest is decoding. */
const ENCODING = 0.9;

let picked: Picked | undefined;
/** The file that is shown, and one that waits for its codebook. */
let shown: { name: string; file: Uint8Array } | undefined;
let waiting: File | undefined;

const compare = compareSlider(["Original", "Decoded"]);
const alone = element("canvas", { id: "decoded", role: "img", "aria-label": "Decoded picture", hidden: true });
const numbers = figures({
  "bits-per-pixel": "Bits per pixel",
  ratio: "Smaller than 8 bits a sample",
  psnr: "PSNR",
  jpeg: "JPEG of that size",
  bytes: "File",
  size: "Size",
  "encode-time": "Time to encode",
  "decode-time": "Time to decode on the GPU",
});

const again = debounced(() => void encode());
const preset = radios<PresetName>({ id: "preset", label: "Preset", value: "B", choices: PRESETS, change: again });
const longest = slider({ id: "longest", label: "Longer side", values: SIDES, value: 1024, show: sideText, change: again });
const sweeps = slider({ id: "sweeps", label: "Sweeps", min: 0, max: 8, value: 4, hint: "How often every factor is improved", change: again });
const inline = toggle({ id: "inline", label: "Codebook in the file", value: false, hint: "So that any reader can decode it", change: again });
const save = button({ id: "download", label: "Download the .gvq file", press: () => saveFile() });
save.disabled = true;

byId("compare").append(compare.root, alone);
byId("figures").append(numbers.root);
byId("controls").append(preset.root, longest.root, sweeps.root, inline.root, save);
byId("controls").addEventListener("submit", (event) => event.preventDefault());

function sideText(side: number): string {
  const own = picked && Math.max(picked.picture.width, picked.picture.height);
  return own !== undefined && own <= side ? `its own, ${own} pixels` : `${side} pixels`;
}

async function encode(): Promise<void> {
  if (!picked) return;
  const { name, picture } = picked;
  const chosen = preset.value;
  await page.run(`Encoding ${name}`, async (gristmill, options) => {
    const original = await prepared(picture, longest.value);
    options.signal.throwIfAborted();
    if (!shown) await showFirst(original);
    const codebook = await codebookOf(chosen);
    const settings = { preset: chosen, sweeps: sweeps.value, inline: inline.value };
    const progress = (share: number) => options.progress(ENCODING * share);
    const encoded = await gristmill.encode(original, codebook, { ...options, ...settings, progress });
    const rest = (share: number) => options.progress(ENCODING + (1 - ENCODING) * share);
    const decoded = await gristmill.decode(encoded.file, [codebook], { ...options, progress: rest });
    // One after the other: each copies the picture on this thread.
    const quality = await psnr(original, decoded.picture);
    const jpeg = await jpegQuality(original, encoded.file.length);
    options.signal.throwIfAborted();
    await showDecoded(name, encoded.file, [codebook], decoded, original);
    numbers.set("psnr", quality, decibels(quality));
    numbers.set("jpeg", jpeg, jpeg === undefined ? "" : decibels(jpeg));
    numbers.set("encode-time", encoded.milliseconds, duration(encoded.milliseconds));
  });
}

/** PSNR of the best JPEG file that is no larger, if there is one. */
async function jpegQuality(original: Picture, bytes: number): Promise<number | undefined> {
  const file = await jpegWithin(original, bytes);
  return file && psnr(original, (await readPicture(file, Infinity, false)).picture);
}

function decibels(value: number): string {
  return value === Infinity ? "no difference" : `${value.toFixed(2)} dB`;
}

/** The original on both sides, until there is more to see. */
async function showFirst(original: Picture): Promise<void> {
  alone.hidden = true;
  compare.root.hidden = false;
  compare.root.classList.add("stale");
  await compare.show(original, original);
}

/** A decoded file beside its original, where there is one. */
async function showDecoded(name: string, file: Uint8Array, codebooks: readonly Uint8Array[], decoded: Decoded, original?: Picture): Promise<void> {
  const { picture, milliseconds } = decoded;
  const { width, height } = picture;
  compare.root.hidden = !original;
  alone.hidden = original !== undefined;
  await (original ? compare.show(original, picture) : draw(picture, alone));
  compare.root.classList.remove("stale");
  shown = { name: `${name}.gvq`, file };
  save.disabled = false;
  film.load({ name, file, codebooks, width, height });
  const bitsPerPixel = (8 * file.length) / (width * height);
  numbers.set("bits-per-pixel", bitsPerPixel, bitsPerPixel.toFixed(3));
  numbers.set("ratio", (3 * width * height) / file.length, `${((3 * width * height) / file.length).toFixed(1)} times`);
  numbers.set("bytes", file.length, `${file.length.toLocaleString("en")} bytes`);
  numbers.set("size", width * height, `${width} × ${height}`);
  numbers.set("decode-time", milliseconds, duration(milliseconds));
}

/** Takes a picture, or none; what was shown goes. Without a picture there is nothing to set. */
function pick(choice: Picked | undefined): void {
  picked = choice;
  for (const control of [preset, longest, sweeps, inline]) control.enable(choice !== undefined);
  longest.set(longest.value);
  shown = undefined;
  waiting = undefined;
  save.disabled = true;
  film.load(undefined);
  numbers.clear();
}

/** A file of the visitor's: a picture in low-rank code, or the codebook that one waits for. */
function take(file: File): void {
  if (file.name.toLowerCase().endsWith(".gvq")) void open(file);
  else if (waiting) void open(waiting, file);
  else page.showError(new Error(`${file.name}: a codebook is for a .gvq file that names it; open that first`));
}

async function open(file: File, codebook?: File): Promise<void> {
  pick(undefined);
  compare.root.hidden = alone.hidden = true;
  waiting = file;
  await page.run(`Decoding ${file.name}`, async (gristmill, options) => {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const own: Uint8Array[] | undefined = codebook && [new Uint8Array(await codebook.arrayBuffer())];
    let known = own ?? [];
    const decode = () => gristmill.decode(bytes, known, options);
    // Most files name their codebook; those that hold it need none of ours.
    const decoded = await decode()
      .catch(async (error: unknown) => {
        if (own || !isUnknown(error)) throw error;
        known = await allCodebooks();
        return decode();
      })
      .catch((error: unknown) => {
        if (!isUnknown(error)) throw error;
        const advice = "Drop the codebook (.safetensors) it was encoded with, or encode the picture with the codebook in the file";
        throw new Error(`${file.name}: ${error.message}. ${advice}.`);
      });
    waiting = undefined;
    await showDecoded(file.name.replace(/\.\w+$/, ""), bytes, known, decoded);
  });
}

function isUnknown(error: unknown): error is GristmillError {
  return error instanceof GristmillError && error.kind === "UnknownCodebook";
}

function saveFile(): void {
  if (shown) download(new Blob([new Uint8Array(shown.file)], { type: "application/octet-stream" }), shown.name);
}

const page = await Page.open("vq-codec");
const film = filmSection(page);
if (page.software) longest.set(256);
const picker = picturePicker(byId("picker"), {
  page,
  samples: PHOTOS,
  limit: LIMIT,
  room: ROOM,
  least: 1,
  others: { endings: [".gvq", ".safetensors"], hint: ".gvq files are decoded", take },
  pick: (choice) => {
    pick(choice);
    void encode();
  },
});
if (page.report) await picker.sample("chelsea");
