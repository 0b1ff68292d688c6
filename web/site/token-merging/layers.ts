// What is laid over the picture: clusters, classes by either model, or where both differ.

import type { Picture, Segmentation } from "gristmill";
import { DIFFERENCE, type Mark, classMark, clusterMark, contextOf, fillOf } from "./marks.js";

export const LAYERS = ["clusters", "merged", "plain", "differences"] as const;
export type Layer = (typeof LAYERS)[number];

/** Both models' answers for one picture. */
export interface Segmented {
  readonly picture: Picture;
  readonly merged: Segmentation;
  readonly plain: Segmentation;
}

/** A map of small numbers over the picture, `[side, side]`, and the mark of each; those without a mark stay bare. */
interface Overlay {
  readonly side: number;
  readonly map: ArrayLike<number>;
  readonly mark: (value: number) => Mark | undefined;
}

function overlay({ merged, plain }: Segmented, layer: Layer): Overlay {
  const { side } = merged;
  switch (layer) {
    case "clusters":
      return { side: merged.tokens, map: merged.clusters ?? [], mark: clusterMark };
    case "merged":
      return { side, map: merged.labels, mark: classMark };
    case "plain":
      return { side, map: plain.labels, mark: classMark };
    case "differences":
      return {
        side,
        map: merged.labels.map((label, pixel) => (label === plain.labels[pixel] ? 0 : 1)),
        mark: (value) => (value ? DIFFERENCE : undefined),
      };
  }
}

/** Draws the picture with a layer over it, as large as the canvas. */
export function paint(canvas: HTMLCanvasElement, segmented: Segmented, layer: Layer, opacity: number): void {
  const { picture, merged } = segmented;
  const context = contextOf(canvas);
  context.globalAlpha = 1;
  context.imageSmoothingEnabled = true;
  context.drawImage(bitmap(picture), 0, 0, canvas.width, canvas.height);

  const { side, map, mark } = overlay(segmented, layer);
  context.globalAlpha = opacity;
  for (const value of new Set(Array.from(map))) {
    const found = mark(value);
    if (found) context.drawImage(region(map, side, value, found, canvas.width), 0, 0);
  }
  context.globalAlpha = 1;
  if (layer === "clusters" && merged.clusters) outlineKept(context, merged.clusters, merged.tokens, canvas.width, opacity);
}

/** The places of one value, filled with its mark. */
function region(map: ArrayLike<number>, side: number, value: number, mark: Mark, size: number): OffscreenCanvas {
  const mask = new ImageData(side, side);
  for (let at = 0; at < side * side; at++) mask.data[4 * at + 3] = map[at] === value ? 255 : 0;
  const canvas = new OffscreenCanvas(size, size);
  const context = contextOf(canvas);
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap(mask), 0, 0, size, size);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = fillOf(mark);
  context.fillRect(0, 0, size, size);
  return canvas;
}

/** A frame around every kept token: it is a row of its own in the later blocks. */
function outlineKept(context: CanvasRenderingContext2D, clusters: Uint32Array, tokens: number, size: number, opacity: number): void {
  const step = size / tokens;
  context.strokeStyle = `rgb(255 255 255 / ${opacity})`;
  context.lineWidth = 1;
  clusters.forEach((id, token) => {
    if (id === 0) context.strokeRect((token % tokens) * step + 0.5, Math.floor(token / tokens) * step + 0.5, step - 1, step - 1);
  });
}

function bitmap({ data, width, height }: Picture): OffscreenCanvas {
  const canvas = new OffscreenCanvas(width, height);
  const copy = new ImageData(width, height);
  copy.data.set(data);
  contextOf(canvas).putImageData(copy, 0, 0);
  return canvas;
}
