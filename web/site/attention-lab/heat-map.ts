// Which frames the tokens of each frame list, as a map: a row asks, a column is read.

import { type Pen, surface } from "./surface.js";

export interface Cell {
  readonly asks: number;
  readonly read: number;
}

export interface HeatMap {
  /** `values` are shares, `[frames, frames]`. */
  show(values: ArrayLike<number>, frames: number, cell: Cell): void;
  readonly cell: Cell;
}

/** Pixels left of and below the map, for its axes. */
const AXIS = 40;
const TOP = 10;
/** The scale of the colours, beside the lower axis. */
const SCALE = { width: 60, height: 8 };

/** Click, and the arrow keys, choose a cell. */
export function heatMap(canvas: HTMLCanvasElement, choose: (cell: Cell) => void): HeatMap {
  let values: ArrayLike<number> = [];
  let frames = 0;
  let cell: Cell = { asks: 0, read: 0 };
  const board = surface(canvas, (pen) => frames && drawMap(pen, values, frames, cell));

  const select = (asks: number, read: number) => {
    const clamp = (frame: number) => Math.min(Math.max(frame, 0), frames - 1);
    cell = { asks: clamp(asks), read: clamp(read) };
    board.redraw();
    choose(cell);
  };
  canvas.addEventListener("pointerdown", (event) => {
    const [x, y] = board.at(event);
    const side = sideOf(canvas.getBoundingClientRect());
    if (frames) select(Math.floor(((y - TOP) / side) * frames), Math.floor(((x - AXIS) / side) * frames));
  });
  const moves: Record<string, readonly [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-8, 0], PageDown: [8, 0] };
  canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move || !frames) return;
    event.preventDefault();
    select(cell.asks + move[0], cell.read + move[1]);
  });
  return {
    show(next, count, at) {
      [values, frames, cell] = [next, count, at];
      board.redraw();
    },
    get cell() {
      return cell;
    },
  };
}

const sideOf = ({ width, height }: { width: number; height: number }) => Math.min(width - AXIS - 2, height - AXIS - TOP);

function drawMap({ context, width, height, color, font }: Pen, values: ArrayLike<number>, frames: number, { asks, read }: Cell): void {
  const side = sideOf({ width, height });
  const step = side / frames;
  const shade = shades(color("--raised"), color("--accent"));
  const cells = new OffscreenCanvas(frames, frames);
  const small = cells.getContext("2d");
  if (!small) return;
  for (let at = 0; at < frames * frames; at++) {
    // The root lets small shares be seen.
    small.fillStyle = shade(Math.sqrt(values[at] ?? 0));
    small.fillRect(at % frames, Math.floor(at / frames), 1, 1);
  }
  context.imageSmoothingEnabled = false;
  context.drawImage(cells, AXIS, TOP, side, side);

  context.strokeStyle = context.fillStyle = color("--quiet");
  context.lineWidth = 1;
  context.strokeRect(AXIS - 0.5, TOP - 0.5, side + 1, side + 1);
  context.font = font(11);
  const gap = frames > 64 ? 16 : 8;
  for (let frame = 0; frame < frames; frame += gap) {
    context.textAlign = "center";
    context.fillText(String(frame), AXIS + (frame + 0.5) * step, TOP + side + 14);
    context.textAlign = "right";
    context.fillText(String(frame), AXIS - 5, TOP + (frame + 0.5) * step + 4);
  }
  context.textAlign = "left";
  context.fillText("frame that is read", AXIS, TOP + side + 32);
  context.save();
  context.translate(11, TOP + side);
  context.rotate(-Math.PI / 2);
  context.fillText("frame that asks", 0, 0);
  context.restore();
  drawScale(context, shade, AXIS + side - SCALE.width - 52, TOP + side + 24);

  // The chosen row, and in it the chosen cell.
  context.strokeStyle = color("--series-2");
  context.lineWidth = 1.5;
  context.strokeRect(AXIS, TOP + asks * step, side, step);
  context.lineWidth = 2;
  const half = Math.max(step, 9) / 2;
  context.strokeRect(AXIS + (read + 0.5) * step - half, TOP + (asks + 0.5) * step - half, 2 * half, 2 * half);
}

function drawScale(context: CanvasRenderingContext2D, shade: (share: number) => string, left: number, top: number): void {
  const ink = context.fillStyle;
  for (let x = 0; x < SCALE.width; x++) {
    context.fillStyle = shade(Math.sqrt(x / (SCALE.width - 1)));
    context.fillRect(left + x, top, 1.5, SCALE.height);
  }
  context.fillStyle = ink;
  context.textAlign = "right";
  context.fillText("none", left - 5, top + SCALE.height);
  context.textAlign = "left";
  context.fillText("all tokens", left + SCALE.width + 5, top + SCALE.height);
}

/** Colours from one to another. */
function shades(from: string, to: string): (share: number) => string {
  return (share) => `color-mix(in srgb, ${to} ${(100 * share).toFixed(0)}%, ${from})`;
}
