// The presets and their codebooks, which are fetched when they are needed.

import type { PresetName } from "gristmill";
import a from "../../../src/codec/codebooks/a.safetensors?url";
import b from "../../../src/codec/codebooks/b.safetensors?url";
import c from "../../../src/codec/codebooks/c.safetensors?url";
import { fetchBytes } from "../common/pictures.js";

const ADDRESSES: Readonly<Record<PresetName, string>> = { A: a, B: b, C: c };

/** What the visitor chooses from. */
export const PRESETS: readonly { readonly value: PresetName; readonly name: string; readonly hint: string }[] = [
  { value: "A", name: "A", hint: "8 × 8 pixels, one product: 1.125 bits per pixel" },
  { value: "B", name: "B", hint: "16 × 16, two times two products: 1.125 bits per pixel" },
  { value: "C", name: "C", hint: "32 × 32, four products: 0.305 bits per pixel" },
];

const fetched = new Map<PresetName, Promise<Uint8Array>>();

/** The codebook of a preset, fetched once; again after a failure. */
export function codebookOf(preset: PresetName): Promise<Uint8Array> {
  let bytes = fetched.get(preset);
  if (!bytes) {
    bytes = fetchBytes(ADDRESSES[preset]);
    fetched.set(preset, bytes);
    bytes.catch(() => fetched.delete(preset));
  }
  return bytes;
}

/** All that come with the page. */
export function allCodebooks(): Promise<Uint8Array[]> {
  return Promise.all(PRESETS.map(({ value }) => codebookOf(value)));
}
