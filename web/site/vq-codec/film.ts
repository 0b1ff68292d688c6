// A file decoded into a canvas as often as it goes.

import { DeviceLostError, type Played } from "gristmill";
import { button, figures } from "../common/controls.js";
import { byId, element } from "../common/dom.js";
import type { Page } from "../common/page.js";

/** A file with what may be needed to decode it. */
export interface Film {
  readonly name: string;
  readonly file: Uint8Array;
  readonly codebooks: readonly Uint8Array[];
  readonly width: number;
  readonly height: number;
}

const SECONDS = 3;
const LOST =
  "The GPU was lost while it drew into the canvas; everything else on this page goes on with another. Some browsers can't draw with WebGPU where there is no GPU";

/** Puts the button, the screen and the figures into the page's section; `load` says what is played. */
export function filmSection(page: Page): { load(film: Film | undefined): void } {
  const numbers = figures({ fps: "Frames per second", rate: "Megapixels per second", frames: "Frames" });
  const screen = element("div", { class: "screen" });
  const start = button({ id: "play", label: `Play for ${SECONDS} seconds`, press: () => void play() });
  start.disabled = true;
  let loaded: Film | undefined;

  async function play(): Promise<void> {
    if (!loaded) return;
    const { name, file, codebooks, width, height } = loaded;
    numbers.clear();
    const played = await page.run(`Playing ${name}`, (gristmill, options): Promise<Played> => {
      // A canvas goes to the worker for good, so each film has one of its own.
      const canvas = element("canvas", { id: "screen", width, height, role: "img", "aria-label": `${name}, decoded again and again` });
      screen.replaceChildren(canvas);
      const played = gristmill.play(file, codebooks, canvas.transferControlToOffscreen(), { ...options, seconds: SECONDS });
      // Not once more by itself: some browsers without a GPU lose the device by every canvas of WebGPU, and give up after a few.
      return played.catch((error: unknown) => {
        throw error instanceof DeviceLostError ? new Error(LOST, { cause: error }) : error;
      });
    });
    if (!played) return;
    const { frames, framesPerSecond } = played;
    numbers.set("fps", framesPerSecond, framesPerSecond.toFixed(framesPerSecond < 100 ? 1 : 0));
    numbers.set("rate", (framesPerSecond * width * height) / 1e6, ((framesPerSecond * width * height) / 1e6).toPrecision(3));
    numbers.set("frames", frames);
  }

  byId("film").append(element("div", { class: "controls" }, start), screen, numbers.root);
  return {
    load(film) {
      loaded = film;
      start.disabled = !film;
      screen.replaceChildren();
      numbers.clear();
    },
  };
}
