// A pan over a photo, there and back, as the frames of a film; two of them show another picture.

import type { Picture } from "gristmill";

/** Pixels of a side of a frame, and tokens of a side. */
export const FRAME_SIDE = 64;
export const PATCHES = 8;
export const FRAME_TOKENS = PATCHES * PATCHES;
const PATCH = FRAME_SIDE / PATCHES;
export const FRAME_VALUES = FRAME_SIDE * FRAME_SIDE * 3;

/** Side of a view, of the shorter side of the photo. */
const VIEW = 0.55;
/** Patches of a side of the other picture. */
const INSERT = 4;
/** Top and left of the other picture, in patches, in the earlier frame and in the last. */
const PLACES = { planted: [2, 2], asked: [1, 4] } as const;
/** A view has at least the pixels of a frame. */
export const LEAST_SIDE = Math.ceil(FRAME_SIDE / VIEW);

/** A part of a picture: its upper left corner and its side, in pixels. */
interface Square {
  readonly top: number;
  readonly left: number;
  readonly side: number;
}

export interface Film {
  readonly frames: number;
  /** The earlier frame that shows the other picture. */
  readonly planted: number;
  /** The frame that shows it again and asks where it was: the last. */
  readonly asked: number;
  /** `[frames, FRAME_SIDE, FRAME_SIDE, 3]`, 0 to 1. */
  readonly pixels: Float32Array;
}

/** The patches of the last frame that show the other picture. */
export const INSERT_PATCHES: readonly number[] = Array.from({ length: INSERT * INSERT }, (_, index) => {
  const [top, left] = PLACES.asked;
  return (top + Math.floor(index / INSERT)) * PATCHES + left + (index % INSERT);
});

/** Pans over `photo` in an even number of frames. `pause` is awaited between frames, so that the page stays alive. */
export async function pan(photo: Picture, insert: Picture, frames: number, pause: () => Promise<void>): Promise<Film> {
  const shorter = Math.min(photo.width, photo.height);
  if (shorter < LEAST_SIDE) {
    throw new RangeError(`The photo has ${photo.width} x ${photo.height} pixels; the pan needs at least ${LEAST_SIDE} on either side.`);
  }
  const side = VIEW * shorter;
  const [right, down] = [photo.width - side, photo.height - side];
  const pixels = new Float32Array(frames * FRAME_VALUES);
  for (let frame = 0; frame < frames / 2; frame++) {
    const along = frame / (frames / 2 - 1);
    // Down and up again while it goes to the right; a picture that is taller than wide is panned over from top to bottom.
    const wave = 0.5 - 0.5 * Math.cos(2 * Math.PI * along);
    const corner = right >= down ? { top: wave * down, left: along * right } : { top: along * down, left: wave * right };
    const view = viewOf(photo, { ...corner, side }, FRAME_SIDE);
    pixels.set(view, frame * FRAME_VALUES);
    pixels.set(view, (frames - 1 - frame) * FRAME_VALUES); // the way back
    await pause();
  }
  // Of 96 frames, the 20th.
  const film = { frames, planted: Math.round((frames * 20) / 96), asked: frames - 1, pixels };
  const square = Math.min(insert.width, insert.height);
  const middle = { top: (insert.height - square) / 2, left: (insert.width - square) / 2, side: square };
  const other = viewOf(insert, middle, INSERT * PATCH);
  for (const [frame, [top, left]] of [[film.planted, PLACES.planted], [film.asked, PLACES.asked]] as const) {
    for (let line = 0; line < INSERT * PATCH; line++) {
      const row = other.subarray(line * INSERT * PATCH * 3, (line + 1) * INSERT * PATCH * 3);
      pixels.set(row, ((frame * FRAME_SIDE + top * PATCH + line) * FRAME_SIDE + left * PATCH) * 3);
    }
  }
  return film;
}

/** One frame as a picture. */
export function frameOf(film: Film, frame: number): ImageData {
  const picture = new ImageData(FRAME_SIDE, FRAME_SIDE);
  for (let pixel = 0; pixel < FRAME_SIDE * FRAME_SIDE; pixel++) {
    for (let colour = 0; colour < 3; colour++) {
      picture.data[4 * pixel + colour] = 255 * (film.pixels[frame * FRAME_VALUES + 3 * pixel + colour] ?? 0);
    }
    picture.data[4 * pixel + 3] = 255;
  }
  return picture;
}

/** A square part of a picture, reduced or enlarged to `size` x `size`: `[size, size, 3]`, 0 to 1. */
function viewOf(picture: Picture, { top, left, side }: Square, size: number): Float32Array {
  // So many points for each pixel that none of the picture's is left out.
  const points = Math.max(Math.ceil(side / size), 1);
  const [rows, columns] = [places(top, side, size * points, picture.height), places(left, side, size * points, picture.width)];
  const { data, width } = picture;
  const view = new Float32Array(size * size * 3);
  const share = 1 / (255 * points * points);
  rows.forEach(([upper, lower, down], y) => {
    columns.forEach(([before, after, across], x) => {
      const at = (Math.floor(y / points) * size + Math.floor(x / points)) * 3;
      const value = (row: number, column: number, colour: number) => data[4 * (row * width + column) + colour] ?? 0;
      for (let colour = 0; colour < 3; colour++) {
        const above = value(upper, before, colour) * (1 - across) + value(upper, after, colour) * across;
        const below = value(lower, before, colour) * (1 - across) + value(lower, after, colour) * across;
        view[at + colour] = (view[at + colour] ?? 0) + (above * (1 - down) + below * down) * share;
      }
    });
  });
  return view;
}

/** Of each point along a side: the pixels before and after it, and how near it is to the second. */
function places(start: number, side: number, points: number, pixels: number): [number, number, number][] {
  return Array.from({ length: points }, (_, point) => {
    const exact = Math.min(Math.max(start + ((point + 0.5) * side) / points - 0.5, 0), pixels - 1);
    const low = Math.min(Math.floor(exact), Math.max(pixels - 2, 0));
    return [low, Math.min(low + 1, pixels - 1), exact - low];
  });
}
