// What is done to a picture before it is encoded.

import type { Picture } from "gristmill";
import { pause, resized } from "../common/pictures.js";

/** The sides of a picture whose longer one has `longest` pixels, or its own where that is shorter. */
export function fitted({ width, height }: Picture, longest: number): [width: number, height: number] {
  const factor = Math.min(1, longest / Math.max(width, height));
  return [Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor))];
}

/** The picture at that size, opaque: the code has no opacity, so what shines through is white. */
export async function prepared(picture: Picture, longest: number): Promise<Picture> {
  const [width, height] = fitted(picture, longest);
  const sized = width === picture.width && height === picture.height ? picture : await resized(picture, width, height);
  return overWhite(sized);
}

/** Pixels between two pauses. */
const SLICE = 1 << 20;

async function overWhite(picture: Picture): Promise<Picture> {
  let data = picture.data;
  for (let start = 0; start < data.length; start += SLICE * 4) {
    const end = Math.min(start + SLICE * 4, data.length);
    for (let at = start; at < end; at += 4) {
      const alpha = data[at + 3]!;
      if (alpha === 255) continue;
      if (data === picture.data) data = new Uint8ClampedArray(picture.data);
      for (let channel = at; channel < at + 3; channel++) data[channel] = 255 + ((data[channel]! - 255) * alpha) / 255;
      data[at + 3] = 255;
    }
    if (end < data.length) await pause();
  }
  return data === picture.data ? picture : { ...picture, data };
}
