// The curve that the visitor draws: heights at fixed places, straight lines between them; and noisy samples of it.

/** Places of the handles, from -1 to 1. */
export const HANDLES = 33;
/** Heights stay within this on either side of 0. */
export const HEIGHT = 1.2;

export const PRESETS = ["line", "step", "sine", "sawtooth", "bump"] as const;
export type Preset = (typeof PRESETS)[number];

const SHAPES: Record<Preset, (x: number) => number> = {
  line: (x) => 0.9 * x,
  step: (x) => (x < 0 ? -0.7 : 0.7),
  sine: (x) => 0.8 * Math.sin(2 * Math.PI * x),
  sawtooth: (x) => 1.6 * (((x + 1) * 1.5) % 1) - 0.8,
  bump: (x) => Math.exp(-12 * x * x) * 1.6 - 0.8,
};

/** `count` places from -1 to 1, both included. */
export function places(count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, index) => (2 * index) / (count - 1) - 1);
}

export function preset(name: Preset): Float64Array {
  return places(HANDLES).map(SHAPES[name]);
}

/** The height of the curve at x. */
export function heightAt(heights: Float64Array, x: number): number {
  const exact = ((x + 1) / 2) * (heights.length - 1);
  const low = Math.min(Math.max(Math.floor(exact), 0), heights.length - 2);
  const [left = 0, right = 0] = heights.subarray(low, low + 2);
  return left + (exact - low) * (right - left);
}

export const clampHeight = (y: number): number => Math.min(Math.max(y, -HEIGHT), HEIGHT);

/** Sets all handles that a stroke from one point to another passes, so that a fast one leaves no gap. */
export function stroke(heights: Float64Array, from: readonly [number, number], to: readonly [number, number]): void {
  const handle = (x: number) => Math.round(((x + 1) / 2) * (HANDLES - 1));
  const [first, last] = [handle(from[0]), handle(to[0])];
  const steps = Math.abs(last - first);
  for (let step = 0; step <= steps; step++) {
    const index = first + Math.sign(last - first) * step;
    const share = steps === 0 ? 1 : step / steps;
    if (index >= 0 && index < HANDLES) heights[index] = clampHeight(from[1] + share * (to[1] - from[1]));
  }
}

/** Pairs of a key and a value. */
export interface Samples {
  readonly x: Float64Array;
  readonly y: Float64Array;
}

/** Evenly spaced samples of the curve, with normal noise of a deviation. The same seed gives the same noise. */
export function sample(heights: Float64Array, count: number, deviation: number, seed: number): Samples {
  const normal = normals(seed);
  const x = places(count);
  return { x, y: x.map((place) => heightAt(heights, place) + deviation * normal()) };
}

/** Standard normal numbers (mulberry32, Box-Muller). */
function normals(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
  // 1 - u lies in (0, 1], where the logarithm is finite.
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
