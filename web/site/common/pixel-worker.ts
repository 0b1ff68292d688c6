// Reads pictures and computes on them, off the page's thread. The page's side is pictures.ts.

import type { Picture } from "gristmill";
import { psnr, psnrOfBrightness, resized, tinted } from "./pixels.js";

/** A picture file, and what became of it. */
export interface Read {
  readonly picture: Picture;
  /** The file's own size, before it was shrunk to the limit. */
  readonly width: number;
  readonly height: number;
}

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

/** Pictures that come in strips, by their handles. */
const canvases = new Map<number, OffscreenCanvas>();
let lastHandle = 0;

/** Begins a picture; answers with its handle. */
function canvas(width: number, height: number): number {
  canvases.set(++lastHandle, new OffscreenCanvas(width, height));
  return lastHandle;
}

/** Adds lines to a picture. */
function strip(handle: number, data: Uint8ClampedArray, top: number): void {
  const canvas = canvases.get(handle);
  if (canvas) canvas.getContext("2d")?.putImageData(new ImageData(data as Uint8ClampedArray<ArrayBuffer>, canvas.width), 0, top);
}

/** A whole picture. */
function taken(handle: number): OffscreenCanvas {
  const canvas = canvases.get(handle);
  if (!canvas) throw new Error("there is no such picture");
  canvases.delete(handle);
  return canvas;
}

/** A picture as a PNG file. */
const png = (handle: number): Promise<Blob> => taken(handle).convertToBlob({ type: "image/png" });

/** A picture as the browser shows it. */
const bitmap = (handle: number): ImageBitmap => taken(handle).transferToImageBitmap();

/** The largest of the JPEG files of all qualities with at most so many bytes, if there is one. */
async function jpegWithin(handle: number, most: number): Promise<Blob | undefined> {
  const canvas = taken(handle);
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

/** What the worker can do. */
const tasks = { read, resized, tinted, psnr, psnrOfBrightness, canvas, strip, png, jpegWithin, bitmap };

export type Tasks = typeof tasks;
export type Request = { id: number; name: keyof Tasks; values: readonly unknown[] };
export type Answer = { id: number } & ({ value: unknown } | { message: string });

addEventListener("message", async ({ data: { id, name, values } }: MessageEvent<Request>) => {
  const task = tasks[name] as (...values: readonly unknown[]) => unknown;
  let answer: Answer;
  try {
    answer = { id, value: await task(...values) };
  } catch (error) {
    answer = { id, message: error instanceof Error ? error.message : String(error) };
  }
  postMessage(answer, { transfer: "value" in answer ? transferable(answer.value) : [] });
});

/** What needn't be copied on its way to the page. */
function transferable(value: unknown): Transferable[] {
  if (value instanceof ImageBitmap) return [value];
  if (value instanceof Uint8ClampedArray) return [value.buffer];
  return value?.constructor === Object ? Object.values(value).flatMap(transferable) : [];
}
