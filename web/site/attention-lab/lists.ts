// What the lists of the frames' tokens say.

import type { FrameSelection } from "gristmill";
import { type Film, FRAME_TOKENS, INSERT_PATCHES } from "./film.js";

/** Share of the given patches of a frame that list each frame. */
export function shares(selection: FrameSelection, frame: number, patches: readonly number[]): Float64Array {
  const { frames, topN, lists } = selection;
  const found = new Float64Array(frames);
  for (const patch of patches) {
    const start = (frame * FRAME_TOKENS + patch) * topN;
    for (const listed of lists.subarray(start, start + topN)) {
      // Unused places hold a number beyond all frames.
      if (listed < frames) found[listed] = (found[listed] ?? 0) + 1 / patches.length;
    }
  }
  return found;
}

/** The earlier frames that are listed, the most listed first; of equal ones the earlier. */
export function ranking(found: Float64Array, before: number): { frame: number; share: number }[] {
  const all = Array.from(found.subarray(0, before), (share, frame) => ({ frame, share }));
  return all.filter(({ share }) => share > 0).sort((a, b) => b.share - a.share || a.frame - b.frame);
}

/** Whether the other picture's patches list the planted frame more often than any other earlier one, and by how many of them. */
export function finding(selection: FrameSelection, film: Film) {
  const patches = INSERT_PATCHES.length;
  const found = shares(selection, film.asked, INSERT_PATCHES);
  const planted = Math.round((found[film.planted] ?? 0) * patches);
  const others = ranking(found, film.asked).filter(({ frame }) => frame !== film.planted);
  const next = others[0] && { frame: others[0].frame, patches: Math.round(others[0].share * patches) };
  return { patches, planted, next, found: planted > (next?.patches ?? 0) };
}

/** Of the last quarter of the tokens: the mean share of dense attention's weight that lies in their listed frames. */
export function lateWeight({ weight }: FrameSelection): number {
  const late = weight.subarray(weight.length - Math.floor(weight.length / 4));
  return late.reduce((sum, value) => sum + value, 0) / late.length;
}

/** Of the same tokens: the share of the keys that they see which lies in these frames. */
export function keyShare({ frames, topN }: FrameSelection): number {
  const tokens = frames * FRAME_TOKENS;
  const count = Math.floor(tokens / 4);
  let sum = 0;
  for (let token = tokens - count; token < tokens; token++) sum += ((token % FRAME_TOKENS) + 1 + (topN - 1) * FRAME_TOKENS) / (token + 1);
  return sum / count;
}
