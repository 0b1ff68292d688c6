// Arithmetic on pictures. It takes long on large ones, so pages call it through pictures.ts, in a worker.

import type { Picture } from "gristmill";

/** Keys' kernel (1981) with a = -1/2, the one called Catmull-Rom: cubic convolution that reproduces parabolas. */
function keys(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

/** For every sample of the result the first source sample and the weights from there on; they sum to 1 at the borders as well. */
function taps(from: number, to: number): { first: number; weights: Float64Array }[] {
  const ratio = from / to;
  const stretch = Math.max(ratio, 1); // A wider kernel where the picture becomes smaller: antialiasing.
  return Array.from({ length: to }, (_, index) => {
    const centre = (index + 0.5) * ratio; // In samples of the source, whose first one lies from 0 to 1.
    const first = Math.max(Math.floor(centre - 2 * stretch), 0);
    const end = Math.min(Math.max(Math.ceil(centre + 2 * stretch), first + 1), from);
    const weights = Float64Array.from({ length: end - first }, (_, tap) => keys((first + tap + 0.5 - centre) / stretch));
    const sum = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** Writes the weighted sum of a picture's lines: four values per pixel, colours multiplied by their opacity. */
function sumOfLines({ data, width }: Picture, first: number, weights: Float64Array, line: Float32Array): void {
  line.fill(0);
  weights.forEach((weight, tap) => {
    const start = (first + tap) * width * 4;
    for (let at = 0; at < width * 4; at += 4) {
      const opaque = (weight * data[start + at + 3]!) / 255;
      line[at]! += opaque * data[start + at]!;
      line[at + 1]! += opaque * data[start + at + 1]!;
      line[at + 2]! += opaque * data[start + at + 2]!;
      line[at + 3]! += opaque;
    }
  });
}

/** The picture in another size: cubic convolution, with antialiasing where it becomes smaller. Colours count as much as they are opaque. */
export function resized(picture: Picture, width: number, height: number): Picture {
  const data = new Uint8ClampedArray(width * height * 4);
  const line = new Float32Array(picture.width * 4);
  const columns = taps(picture.width, width);
  let to = 0;
  for (const { first, weights } of taps(picture.height, height)) {
    sumOfLines(picture, first, weights, line);
    for (const { first, weights } of columns) {
      let [red, green, blue, alpha] = [0, 0, 0, 0];
      for (let tap = 0; tap < weights.length; tap++) {
        const [weight, at] = [weights[tap]!, (first + tap) * 4];
        red += weight * line[at]!;
        green += weight * line[at + 1]!;
        blue += weight * line[at + 2]!;
        alpha += weight * line[at + 3]!;
      }
      // The bytes are clamped and rounded as they are stored.
      if (alpha > 0) {
        data[to] = red / alpha;
        data[to + 1] = green / alpha;
        data[to + 2] = blue / alpha;
        data[to + 3] = 255 * alpha;
      }
      to += 4;
    }
  }
  return { data, width, height };
}

/** PSNR in dB of brightness (Y of ITU-R BT.601, 8 bits) of two pictures of one size, without a border of so many pixels. */
export function psnrOfBrightness(one: Picture, other: Picture, border: number): number {
  if (one.width !== other.width || one.height !== other.height) {
    throw new RangeError(`PSNR compares pictures of one size, found ${one.width} x ${one.height} and ${other.width} x ${other.height}`);
  }
  let squares = 0;
  for (let y = border; y < one.height - border; y++) {
    for (let at = (y * one.width + border) * 4, end = at + (one.width - 2 * border) * 4; at < end; at += 4) {
      const red = one.data[at]! - other.data[at]!;
      const green = one.data[at + 1]! - other.data[at + 1]!;
      const blue = one.data[at + 2]! - other.data[at + 2]!;
      squares += ((65.481 * red + 128.553 * green + 24.966 * blue) / 255) ** 2;
    }
  }
  const count = (one.width - 2 * border) * (one.height - 2 * border);
  return 10 * Math.log10((255 * 255 * count) / squares);
}

/** PSNR in dB of all three colours. */
export function psnr(one: Picture, other: Picture): number {
  if (one.data.length !== other.data.length) throw new RangeError("PSNR compares pictures of one size");
  let squares = 0;
  for (let at = 0; at < one.data.length; at += 4) {
    for (let channel = at; channel < at + 3; channel++) squares += (one.data[channel]! - other.data[channel]!) ** 2;
  }
  return 10 * Math.log10((255 * 255 * one.data.length * 0.75) / squares);
}

/** A part of a picture. */
export function cropped({ data, width }: Picture, left: number, top: number, newWidth: number, newHeight: number): Picture {
  const bytes = new Uint8ClampedArray(newWidth * newHeight * 4);
  for (let y = 0; y < newHeight; y++) {
    const start = ((top + y) * width + left) * 4;
    bytes.set(data.subarray(start, start + newWidth * 4), y * newWidth * 4);
  }
  return { data: bytes, width: newWidth, height: newHeight };
}

/** One colour, RGBA, over the pixels where the mask is not 0, and nothing over the others. */
export function tinted(mask: Uint8Array, width: number, height: number, colour: readonly [number, number, number, number]): Picture {
  const data = new Uint8ClampedArray(width * height * 4);
  const pixels = new Uint32Array(data.buffer);
  const [tint = 0] = new Uint32Array(Uint8Array.from(colour).buffer);
  for (let pixel = 0; pixel < pixels.length; pixel++) pixels[pixel] = mask[pixel] ? tint : 0;
  return { data, width, height };
}
