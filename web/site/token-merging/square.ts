// The part of a picture that the model sees.

import type { Picture } from "gristmill";
import { cropped, resized } from "../common/pictures.js";

/** The largest square in the middle, scaled to `side`; transparent parts count as white. An equal size keeps every value. */
export async function middleSquare(picture: Picture, side: number): Promise<Picture> {
  const square = Math.min(picture.width, picture.height);
  const [left, top] = [Math.floor((picture.width - square) / 2), Math.floor((picture.height - square) / 2)];
  const middle = square === picture.width && square === picture.height ? picture : cropped(picture, left, top, square, square);
  return opaque(square === side ? middle : await resized(middle, side, side));
}

/** The picture on white. */
function opaque({ data, width, height }: Picture): Picture {
  const pixels = new Uint8ClampedArray(data.length);
  for (let at = 0; at < data.length; at += 4) {
    const alpha = (data[at + 3] ?? 255) / 255;
    for (let colour = at; colour < at + 3; colour++) pixels[colour] = 255 + alpha * ((data[colour] ?? 0) - 255);
    pixels[at + 3] = 255;
  }
  return { data: pixels, width, height };
}
