// The numbers of a segmentation.

import type { Segmented } from "./layers.js";

export interface Summary {
  /** Rows after the merge, of all, the class token and the representatives among them. */
  readonly rows: number;
  readonly allRows: number;
  /** Tokens that stayed by themselves, of all. */
  readonly keptTokens: number;
  readonly allTokens: number;
  /** Share of the pixels to which both models give the same class. */
  readonly agreement: number;
  readonly mergedMilliseconds: number;
  readonly plainMilliseconds: number;
}

export function summarise({ merged, plain }: Segmented): Summary {
  const allTokens = merged.tokens ** 2;
  return {
    rows: merged.rows,
    allRows: merged.allRows,
    keptTokens: merged.clusters ? count(merged.clusters, 0) : allTokens,
    allTokens,
    agreement: sameShare(merged.labels, plain.labels),
    mergedMilliseconds: merged.milliseconds,
    plainMilliseconds: plain.milliseconds,
  };
}

/** Share of equal elements. */
export function sameShare(one: Uint8Array, other: Uint8Array): number {
  let same = 0;
  one.forEach((value, index) => {
    if (value === other[index]) same++;
  });
  return same / one.length;
}

/** How often a value stands in a map. */
export function count(map: Uint8Array | Uint32Array, value: number): number {
  let found = 0;
  for (const one of map) if (one === value) found++;
  return found;
}
