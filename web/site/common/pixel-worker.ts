// Reads pictures and computes on them, off the page's thread. The page's side is pictures.ts.

import type { Picture } from "gristmill";
import { psnr, psnrOfBrightness, resized } from "./pixels.js";

/** A picture file, and what became of it. */
export interface Read {
  readonly picture: Picture;
  /** The file's own size, before it was shrunk to the limit. */
  readonly width: number;
  readonly height: number;
}

/** What the worker can do. */
const tasks = { read, resized, psnr, psnrOfBrightness, png, jpegWithin };

export type Tasks = typeof tasks;
export type Request = { id: number; name: keyof Tasks; values: readonly unknown[] };
export type Answer = { id: number } & ({ value: unknown } | { message: string });

/** Pixels of a file; a larger one than `limit` pixels is shrunk where `shrink` says so, else its size comes without pixels. */
async function read(file: Blob, limit: number, shrink: boolean): Promise<Read> {
  const bitmap = await createImageBitmap(file, { premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const factor = width * height > limit ? Math.sqrt(limit / (width * height)) : 1;
  if (factor < 1 && !shrink) {
    bitmap.close();
    return { picture: { data: new Uint8ClampedArray(), width: 0, height: 0 }, width, height };
  }
  const [newWidth, newHeight] = [Math.max(1, Math.floor(width * factor)), Math.max(1, Math.floor(height * factor))];
  const context = new OffscreenCanvas(newWidth, newHeight).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("this browser has no canvas for a picture of this size");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, newWidth, newHeight);
  bitmap.close();
  const { data } = context.getImageData(0, 0, newWidth, newHeight);
  return { picture: { data, width: newWidth, height: newHeight }, width, height };
}

/** A picture as a PNG file. */
async function png({ data, width, height }: Picture): Promise<Blob> {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d")?.putImageData(new ImageData(new Uint8ClampedArray(data), width, height), 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

/** The largest of the JPEG files of all qualities with at most so many bytes, if there is one. */
async function jpegWithin({ data, width, height }: Picture, most: number): Promise<Blob | undefined> {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d")?.putImageData(new ImageData(new Uint8ClampedArray(data), width, height), 0, 0);
  let best: Blob | undefined;
  // Sizes grow with the quality.
  for (let low = 1, high = 100; low <= high; ) {
    const quality = (low + high) >> 1;
    const file = await canvas.convertToBlob({ type: "image/jpeg", quality: quality / 100 });
    if (file.size <= most) [best, low] = [file, quality + 1];
    else high = quality - 1;
  }
  return best;
}

addEventListener("message", async ({ data: { id, name, values } }: MessageEvent<Request>) => {
  const task = tasks[name] as (...values: readonly unknown[]) => unknown;
  let answer: Answer;
  try {
    answer = { id, value: await task(...values) };
  } catch (error) {
    answer = { id, message: error instanceof Error ? error.message : String(error) };
  }
  postMessage(answer, { transfer: "value" in answer ? buffers(answer.value) : [] });
});

/** What needn't be copied on its way to the page. */
function buffers(value: unknown): ArrayBuffer[] {
  if (value instanceof Uint8ClampedArray) return [value.buffer as ArrayBuffer];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(buffers) : [];
}
