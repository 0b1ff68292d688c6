// What is done to a picture before and after the network.

import { LimitError, type Picture } from "gristmill";
import { cropped } from "../common/pictures.js";

/** Sides of tiles, in the order in which they are tried. */
const TILES = [256, 128, 64, 32] as const;

/** Does `work` in the largest tiles that the adapter has the memory for. */
export async function inTilesThatFit<T>(work: (tile: number) => Promise<T>): Promise<T> {
  for (const tile of TILES) {
    try {
      return await work(tile);
    } catch (error) {
      if (!(error instanceof LimitError) || tile === TILES.at(-1)) throw error;
    }
  }
  throw new Error("no tile was tried");
}

/** The pixels around the middle, at most `side` x `side`. */
export function middle(picture: Picture, side: number): Picture {
  const [width, height] = [Math.min(picture.width, side), Math.min(picture.height, side)];
  return cropped(picture, Math.floor((picture.width - width) / 2), Math.floor((picture.height - height) / 2), width, height);
}

/** The upper left part whose sides are multiples of `step`. */
export function startFrom(picture: Picture, step: number): Picture {
  const [width, height] = [picture.width, picture.height].map((side) => side - (side % step)) as [number, number];
  return width === picture.width && height === picture.height ? picture : cropped(picture, 0, 0, width, height);
}
