// The drawn curve with its samples and predictions, on one canvas that is drawn on.

import { HANDLES, HEIGHT, type Samples, clampHeight, places, stroke } from "./curve.js";
import { METHODS, METHOD_NAMES, type Method, type Predictions } from "./regression.js";
import { type Pen, type Surface, surface } from "./surface.js";

/** Lines are told apart by their dashes as well as by their colours. */
export const LOOKS: Record<Method | "truth", { color: string; width: number; dashes: readonly number[] }> = {
  truth: { color: "--quiet", width: 6, dashes: [] },
  softmax: { color: "--series-2", width: 2, dashes: [7, 4] },
  linear: { color: "--series-3", width: 2, dashes: [2, 3] },
  lla: { color: "--series-1", width: 2.5, dashes: [] },
};

const STEP = 0.05;
const LARGE_STEP = 0.25;

interface Content {
  readonly samples: Samples;
  readonly queries: Float64Array;
  readonly predictions: Predictions;
}

export interface CurveEditor {
  show(content: Content): void;
  redraw(): void;
}

/** Changes `heights` in place and calls `changed`; `tell` gets the selected point in words. */
export function curveEditor(canvas: HTMLCanvasElement, heights: Float64Array, changed: () => void, tell: (text: string) => void): CurveEditor {
  let content: Content | undefined;
  let selected = (HANDLES - 1) / 2;
  const board = surface(canvas, (pen) => drawCurve(pen, heights, content, document.activeElement === canvas ? selected : undefined));
  const point = () => {
    const x = (2 * selected) / (HANDLES - 1) - 1;
    tell(`Point ${selected + 1} of ${HANDLES}: x ${x.toFixed(2)}, height ${(heights[selected] ?? 0).toFixed(2)}`);
  };
  const moved = () => {
    board.redraw();
    changed();
  };

  takePointer(board, (from, to) => {
    stroke(heights, from, to);
    selected = Math.min(Math.max(Math.round(((to[0] + 1) / 2) * (HANDLES - 1)), 0), HANDLES - 1);
    point();
    moved();
  });
  const keys: Record<string, () => void> = {
    ArrowLeft: () => (selected = Math.max(selected - 1, 0)),
    ArrowRight: () => (selected = Math.min(selected + 1, HANDLES - 1)),
    Home: () => (selected = 0),
    End: () => (selected = HANDLES - 1),
  };
  const lifts: Record<string, number> = { ArrowUp: STEP, ArrowDown: -STEP, PageUp: LARGE_STEP, PageDown: -LARGE_STEP };
  canvas.addEventListener("keydown", (event) => {
    const lift = lifts[event.key];
    const select = keys[event.key];
    if (lift === undefined && !select) return;
    event.preventDefault();
    if (lift !== undefined) {
      heights[selected] = clampHeight((heights[selected] ?? 0) + lift);
      moved();
    }
    select?.();
    point();
    board.redraw();
  });
  for (const event of ["focus", "blur"]) canvas.addEventListener(event, board.redraw);

  return {
    show(next) {
      content = next;
      board.redraw();
    },
    redraw: board.redraw,
  };
}

/** A drag in the curve's own units, from point to point. */
function takePointer(board: Surface, draw: (from: readonly [number, number], to: readonly [number, number]) => void): void {
  const { canvas } = board;
  let last: readonly [number, number] | undefined;
  const place = (event: PointerEvent): readonly [number, number] => {
    const { width, height } = canvas.getBoundingClientRect();
    const [x, y] = board.at(event);
    return [unscale(x, width), -unscale(y, height) * HEIGHT];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    draw(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = place(event);
    draw(last, next);
    last = next;
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (last = undefined));
}

const MARGIN = 16;
/** -1 to 1 along a side, and back. */
const scale = (value: number, side: number) => MARGIN + ((value + 1) / 2) * (side - 2 * MARGIN);
const unscale = (pixel: number, side: number) => ((pixel - MARGIN) / (side - 2 * MARGIN)) * 2 - 1;

function drawCurve({ context, width, height, color, font }: Pen, heights: Float64Array, content: Content | undefined, selected: number | undefined): void {
  const [x, y] = [(value: number) => scale(value, width), (value: number) => scale(-value / HEIGHT, height)];
  context.strokeStyle = color("--line");
  context.lineWidth = 1;
  context.fillStyle = color("--quiet");
  context.font = font(11);
  for (const level of [-1, 0, 1]) {
    context.beginPath();
    context.moveTo(x(-1), y(level));
    context.lineTo(x(1), y(level));
    context.stroke();
    context.fillText(String(level), 2, y(level) - 3);
  }

  const line = (at: ArrayLike<number>, values: ArrayLike<number>, look: Method | "truth", opacity = 1) => {
    context.globalAlpha = opacity;
    context.strokeStyle = color(LOOKS[look].color);
    context.lineWidth = LOOKS[look].width;
    context.setLineDash([...LOOKS[look].dashes]);
    context.lineJoin = "round";
    context.beginPath();
    for (let index = 0; index < at.length; index++) context.lineTo(x(at[index] ?? 0), y(values[index] ?? 0));
    context.stroke();
    context.setLineDash([]);
    context.globalAlpha = 1;
  };
  const handles = places(HANDLES);
  line(handles, heights, "truth", 0.35);
  if (content) {
    const { samples, queries, predictions } = content;
    context.fillStyle = color("--ink");
    context.globalAlpha = 0.6;
    samples.x.forEach((place, index) => {
      context.beginPath();
      context.arc(x(place), y(samples.y[index] ?? 0), 2.5, 0, 2 * Math.PI);
      context.fill();
    });
    for (const method of METHODS) line(queries, predictions[method], method);
  }
  if (selected !== undefined) {
    context.strokeStyle = color("--accent");
    context.lineWidth = 2;
    context.beginPath();
    context.arc(x(handles[selected] ?? 0), y(heights[selected] ?? 0), 7, 0, 2 * Math.PI);
    context.stroke();
  }
}

/** A sample of a line, for a table of its names. */
export function lineSample(look: Method | "truth"): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("aria-hidden", "true");
  const board = surface(canvas, ({ context, width, height, color }) => {
    const { color: name, width: thickness, dashes } = LOOKS[look];
    context.strokeStyle = color(name);
    context.lineWidth = thickness;
    context.globalAlpha = look === "truth" ? 0.35 : 1;
    context.setLineDash([...dashes]);
    context.beginPath();
    context.moveTo(0, height / 2);
    context.lineTo(width, height / 2);
    context.stroke();
  });
  board.redraw();
  return canvas;
}

export const NAMES: Record<Method | "truth", string> = { truth: "The drawn curve", ...METHOD_NAMES };
