// Part 2: the frames of a pan look for each other by Native Sparse Attention.

import type { FrameSelection, Picture } from "gristmill";
import { button, choice, duration, figures, percent, slider } from "../common/controls.js";
import { byId, element } from "../common/dom.js";
import type { Page } from "../common/page.js";
import { chelsea, coffee, PHOTOS } from "../common/photos.js";
import { type Picked, picturePicker } from "../common/picture-picker.js";
import { fetchBytes, pause, readPicture, resized } from "../common/pictures.js";
import { askingFrame } from "./asking-frame.js";
import { type Film, FRAME_SIDE, FRAME_TOKENS, LEAST_SIDE, frameOf, pan } from "./film.js";
import { type Cell, heatMap } from "./heat-map.js";
import { finding, keyShare, lateWeight, ranking, shares } from "./lists.js";

const LIMIT = 4096 * 4096;
/** A longer shorter side is reduced to this: a view is reduced to 64 pixels anyway. */
const SIDE = 512;
/** Frames on a GPU, and on an adapter that computes on the CPU. */
const [FRAMES, FEW_FRAMES] = [96, 24];
/** About as many frames are shown of the film. */
const STRIP = 16;
/** Thumbnails of listed frames. */
const LISTED = 8;

interface Found {
  readonly film: Film;
  readonly selection: FrameSelection;
}

export function panSection(page: Page): void {
  let picked: Picked | undefined;
  let found: Found | undefined;
  /** Whether the page itself picked the photo that is being read. */
  let unasked = false;

  const frames = choice({
    id: "frames",
    label: "Frames",
    value: String(page.software ? FEW_FRAMES : FRAMES),
    choices: [24, 32, 48, 64, 96].map((count) => [String(count), `${count} (${count * FRAME_TOKENS} tokens)`] as const),
    change: () => void search(),
  });
  const topN = slider({ id: "top-n", label: "Frames that a token reads", value: 8, min: 2, max: 16, change: () => void search(), hint: "its own included" });
  const again = button({ id: "search", label: "Search", press: () => void search(), main: true });
  byId("pan-controls").append(frames.root, topN.root, again);
  byId("pan-note").textContent = page.software
    ? `This adapter computes on the CPU: the film starts with ${FEW_FRAMES} frames instead of ${FRAMES}, so that it does not take long.`
    : "";

  const numbers = figures({
    sparse: "time sparse, selection included",
    dense: "time dense",
    gain: "dense over sparse",
    keys: "keys that a query reads, on average",
    "all-keys": "keys of dense attention",
    weight: "weight of dense attention in the listed frames",
    "key-share": "share of its keys",
  });
  byId("pan-figures").append(numbers.root);
  const map = heatMap(byId<HTMLCanvasElement>("heat"), showCell);
  const asking = askingFrame(byId<HTMLCanvasElement>("asking"), byId("asking-controls"), () => showCell(map.cell));

  const picker = picturePicker(byId("pan-picker"), {
    page,
    samples: PHOTOS,
    limit: LIMIT,
    least: LEAST_SIDE,
    pick: (next) => {
      picked = next;
      const giveWay = unasked && page.busy;
      unasked = false;
      if (!giveWay) void search();
    },
  });
  // The search starts when the visitor comes to it, unless something else that was asked for runs.
  const watch = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting) || page.busy) return;
    watch.disconnect();
    if (!page.report || picked) return;
    unasked = true;
    void picker.sample("chelsea");
  });
  watch.observe(byId("pan-controls"));

  async function search(): Promise<void> {
    if (!picked) return picker.sample("chelsea");
    const { name, picture } = picked;
    const result = await page.run(`Panning over ${name} and searching`, async (gristmill, { signal, progress }): Promise<Found> => {
      const insert = await readPicture(new Blob([new Uint8Array(await fetchBytes(name === "coffee" ? chelsea : coffee, signal))]), LIMIT, true);
      const film = await pan(await reduced(picture), insert.picture, Number(frames.value), pause);
      signal.throwIfAborted();
      drawFilm(byId<HTMLCanvasElement>("film"), film);
      return { film, selection: await gristmill.searchFrames(film.pixels, { topN: topN.value, signal, progress }) };
    });
    if (!result) return;
    found = result;
    const { film, selection } = result;
    byId("pan-result").hidden = false;
    map.show(selection.heat, film.frames, { asks: film.asked, read: film.planted });
    showCell({ asks: film.asked, read: film.planted });
    showFinding(result);
    showNumbers(result);
  }

  function showNumbers({ film, selection }: Found): void {
    const { sparseMilliseconds, denseMilliseconds, meanKeys } = selection;
    const gain = denseMilliseconds / sparseMilliseconds;
    const allKeys = (film.frames * FRAME_TOKENS + 1) / 2;
    numbers.set("sparse", sparseMilliseconds, duration(sparseMilliseconds));
    numbers.set("dense", denseMilliseconds, duration(denseMilliseconds));
    numbers.set("gain", gain, `${gain.toFixed(2)} ×`);
    numbers.set("keys", meanKeys, meanKeys.toFixed(0));
    numbers.set("all-keys", allKeys, allKeys.toFixed(0));
    numbers.set("weight", lateWeight(selection), percent(lateWeight(selection), 0));
    numbers.set("key-share", keyShare(selection), percent(keyShare(selection), 0));
  }

  function showFinding({ film, selection }: Found): void {
    const { patches, planted, next, found } = finding(selection, film);
    const others = next ? `the next, frame ${next.frame}, on that of ${next.patches}` : "no other earlier frame is";
    const text = byId("finding");
    text.textContent = `${found ? "Found" : "Not found"}: frame ${film.planted} is on the list of ${planted} of the ${patches} patches that show the inserted picture; ${others}.`;
    text.dataset.found = String(found);
    text.dataset.planted = String(planted);
  }

  function showCell({ asks, read }: Cell): void {
    if (!found) return;
    const { film, selection } = found;
    const share = selection.heat[asks * film.frames + read] ?? 0;
    const cell = byId("cell");
    cell.textContent = `Frame ${asks}: ${percent(share, 0)} of its tokens read frame ${read}.`;
    cell.dataset.value = String(share);
    asking.show(film, asks);
    const { patches } = asking;
    const listed = ranking(shares(selection, asks, patches), asks).slice(0, LISTED);
    const stills = listed.map(({ frame, share }) => {
      const caption = patches.length === 1 ? String(frame) : `${frame}: ${Math.round(share * patches.length)} of ${patches.length}`;
      return still(film, frame, caption, share);
    });
    byId("listed").replaceChildren(...(stills.length ? stills : [element("p", { class: "quiet" }, "No earlier frame is on their lists.")]));
  }
}

/** A strip of frames from the whole film, the two with the inserted picture among them. */
function drawFilm(canvas: HTMLCanvasElement, film: Film): void {
  const step = Math.max(1, Math.round(film.frames / STRIP));
  const shown = Array.from({ length: film.frames }, (_, frame) => frame).filter((frame) => (frame - film.planted) % step === 0 || frame === film.asked);
  canvas.width = shown.length * FRAME_SIDE;
  canvas.height = FRAME_SIDE;
  shown.forEach((frame, place) => canvas.getContext("2d")?.putImageData(frameOf(film, frame), place * FRAME_SIDE, 0));
}

function still(film: Film, frame: number, caption: string, share: number): HTMLElement {
  const canvas = element("canvas", { width: 64, height: 64, role: "img", "aria-label": `Frame ${frame}` });
  canvas.getContext("2d")?.putImageData(frameOf(film, frame), 0, 0);
  const planted = frame === film.planted;
  const text = planted ? `${caption}, inserted` : caption;
  return element("figure", { class: planted && "planted", "data-frame": frame, "data-value": share }, canvas, element("figcaption", {}, text));
}

async function reduced(picture: Picture): Promise<Picture> {
  const factor = SIDE / Math.min(picture.width, picture.height);
  return factor < 1 ? resized(picture, Math.round(picture.width * factor), Math.round(picture.height * factor)) : picture;
}
