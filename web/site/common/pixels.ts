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
    const centre = (index + 0.5) * ratio;
    const first = Math.max(Math.floor(centre - 2 * stretch), 0);
    const end = Math.min(Math.max(Math.ceil(centre + 2 * stretch), first + 1), from);
    const weights = Float64Array.from({ length: end - first }, (_, tap) => keys((first + tap + 0.5 - centre) / stretch));
    const sum = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** One axis of `resized`: `count` lines of `from` samples at `step`, to `to` samples. Four values per sample. */
function resizedAxis(source: Float32Array, lines: number, from: number, to: number, step: [line: number, sample: number], target: [line: number, sample: number]) {
  const result = new Float32Array(lines * to * 4);
  taps(from, to).forEach(({ first, weights }, index) => {
    for (let line = 0; line < lines; line++) {
      let [red, green, blue, alpha] = [0, 0, 0, 0];
      let at = (line * step[0] + first * step[1]) * 4;
      for (const weight of weights) {
        red += weight * source[at]!;
        green += weight * source[at + 1]!;
        blue += weight * source[at + 2]!;
        alpha += weight * source[at + 3]!;
        at += 4 * step[1];
      }
      result.set([red, green, blue, alpha], (line * target[0] + index * target[1]) * 4);
    }
  });
  return result;
}

/** The picture in another size: cubic convolution, with antialiasing where it becomes smaller. Colours count as much as they are opaque. */
export function resized({ data, width, height }: Picture, newWidth: number, newHeight: number): Picture {
  const pixels = new Float32Array(data.length);
  for (let at = 0; at < data.length; at += 4) {
    const alpha = data[at + 3]! / 255;
    for (let channel = 0; channel < 3; channel++) pixels[at + channel] = data[at + channel]! * alpha;
    pixels[at + 3] = alpha;
  }
  const tall = resizedAxis(pixels, width, height, newHeight, [1, width], [1, width]);
  const whole = resizedAxis(tall, newHeight, width, newWidth, [width, 1], [newWidth, 1]);
  const bytes = new Uint8ClampedArray(whole.length);
  for (let at = 0; at < whole.length; at += 4) {
    const alpha = Math.min(whole[at + 3]!, 1);
    for (let channel = 0; channel < 3; channel++) bytes[at + channel] = alpha > 0 ? whole[at + channel]! / alpha : 0;
    bytes[at + 3] = 255 * alpha;
  }
  return { data: bytes, width: newWidth, height: newHeight };
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
