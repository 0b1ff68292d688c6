// The frame that asks, and who in it: all its tokens, those of the other picture, or one patch.

import { choice } from "../common/controls.js";
import { type Film, FRAME_SIDE, FRAME_TOKENS, INSERT_PATCHES, PATCHES, frameOf } from "./film.js";

export type Who = "frame" | "insert" | "patch";

export interface AskingFrame {
  /** The tokens that ask. */
  readonly patches: readonly number[];
  show(film: Film, frame: number): void;
}

const ALL = Array.from({ length: FRAME_TOKENS }, (_, patch) => patch);

/** `canvas` shows the frame, and takes a choice of a patch; `changed` is told of every choice. */
export function askingFrame(canvas: HTMLCanvasElement, controls: HTMLElement, changed: () => void): AskingFrame {
  const choices: readonly (readonly [Who, string])[] = [
    ["insert", "the inserted picture"],
    ["frame", "the whole frame"],
    ["patch", "one patch"],
  ];
  const who = choice<Who>({ id: "who", label: "Who asks", value: "insert", choices, change: update, hint: "a click on the frame, or arrow keys, choose a patch" });
  controls.append(who.root);
  let patch = 27;
  let drawn: ImageData | undefined;

  const patches = () => (who.value === "frame" ? ALL : who.value === "insert" ? INSERT_PATCHES : [patch]);
  function update(): void {
    draw();
    changed();
  }
  function choosePatch(row: number, column: number): void {
    const clamp = (place: number) => Math.min(Math.max(place, 0), PATCHES - 1);
    patch = clamp(row) * PATCHES + clamp(column);
    who.set("patch");
    update();
  }
  canvas.addEventListener("pointerdown", (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    choosePatch(Math.floor(((event.clientY - top) / height) * PATCHES), Math.floor(((event.clientX - left) / width) * PATCHES));
  });
  const moves: Record<string, readonly [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    choosePatch(Math.floor(patch / PATCHES) + move[0], (patch % PATCHES) + move[1]);
  });

  /** The frame, with those patches bright that ask. */
  function draw(): void {
    const context = canvas.getContext("2d");
    if (!drawn || !context) return;
    context.putImageData(drawn, 0, 0);
    const size = FRAME_SIDE / PATCHES;
    const asking = new Set(patches());
    context.fillStyle = "rgb(0 0 0 / 55%)";
    for (const other of ALL) if (!asking.has(other)) context.fillRect((other % PATCHES) * size, Math.floor(other / PATCHES) * size, size, size);
  }

  return {
    get patches() {
      return patches();
    },
    show(film, frame) {
      drawn = frameOf(film, frame);
      draw();
    },
  };
}
