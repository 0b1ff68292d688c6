// In-context regression by three kinds of attention: samples are keys and values, every place on the curve is a query.

import { type CallOptions, type Gristmill, type Tensor, encodeTensors } from "gristmill";
import type { Samples } from "./curve.js";

export const METHODS = ["softmax", "linear", "lla"] as const;
export type Method = (typeof METHODS)[number];

export const METHOD_NAMES: Record<Method, string> = {
  softmax: "Softmax attention",
  linear: "Linear attention",
  lla: "Local linear attention",
};

export interface Settings {
  /** Deviation h of the Gaussian weights. */
  readonly bandwidth: number;
  /** Ridge, as a share of the variance of the keys that a query reads. */
  readonly ridge: number;
}

export type Predictions = Record<Method, Float32Array>;

/** Share of the places at either end that count as an end. */
const END = 0.1;

/**
 * exp(-(q - k)² / 2h²) is exp(q k / h² - k² / 2h²) times a factor of the query alone, which the softmax takes out: a scale of 1 / h²
 * and a bias of each key.
 */
function problem(samples: Samples, queries: Float64Array, { bandwidth, ridge }: Settings) {
  const square = bandwidth * bandwidth;
  const key_bias: Tensor<Float32Array> = {
    shape: [1, samples.x.length],
    data: Float32Array.from(samples.x, (x) => (-x * x) / (2 * square)),
  };
  const pairs = { q: column(queries), k: column(samples.x), v: column(samples.y) };
  return { pairs, inputs: { ...pairs, key_bias }, scale: 1 / square, ridge: ridge * square };
}

export async function predict(
  gristmill: Gristmill,
  samples: Samples,
  queries: Float64Array,
  settings: Settings,
  { signal }: Required<CallOptions>,
): Promise<Predictions> {
  const { pairs, inputs, scale, ridge } = problem(samples, queries, settings);
  // Every pair weighs the same at scale 0: one line through all of them, the limit that linear attention is.
  const [softmax, linear, lla] = await Promise.all([
    gristmill.attention(inputs, { scale }, { signal }),
    gristmill.flashLla(pairs, { scale: 0, ridge: settings.ridge * variance(samples.x) }, { signal }),
    gristmill.flashLla(inputs, { scale, ridge }, { signal }),
  ]);
  return { softmax: softmax.out.data, linear: linear.out.data, lla: lla.out.data };
}

/** The input of `gristmill run flash_lla` (and, without its ridge, of `attention`) as a safetensors file. */
export function fileOf(samples: Samples, queries: Float64Array, settings: Settings): Uint8Array<ArrayBuffer> {
  const { inputs, scale, ridge } = problem(samples, queries, settings);
  return new Uint8Array(encodeTensors(inputs, { kernel: "flash_lla", config: JSON.stringify({ scale, ridge }) }));
}

/** Mean squared error, of all places and of those at the ends. */
export function errors(found: ArrayLike<number>, truth: ArrayLike<number>): { all: number; ends: number } {
  const count = truth.length;
  let [all, ends, atEnds] = [0, 0, 0];
  for (let index = 0; index < count; index++) {
    const square = ((found[index] ?? NaN) - (truth[index] ?? NaN)) ** 2;
    all += square;
    if (Math.min(index, count - 1 - index) < END * count) {
      ends += square;
      atEnds++;
    }
  }
  return { all: all / count, ends: ends / atEnds };
}

/** `[batch 1, tokens, heads 1, dim 1]`. */
function column(values: Float64Array): Tensor<Float32Array> {
  return { shape: [1, values.length, 1, 1], data: Float32Array.from(values) };
}

function variance(values: Float64Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
}
