// Pictures on the page: read, computed on in a worker, drawn in slices, so that the page stays quick whatever their size.

import type { Picture } from "gristmill";
import type { Answer, Request, Tasks } from "./pixel-worker.js";

export { cropped } from "./pixels.js";

let worker: Worker | undefined;
let lastId = 0;
const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();

function started(): Worker {
  const made = new Worker(new URL("./pixel-worker.ts", import.meta.url), { type: "module" });
  made.addEventListener("message", ({ data }: MessageEvent<Answer>) => {
    const call = waiting.get(data.id);
    waiting.delete(data.id);
    if ("message" in data) call?.reject(new Error(data.message));
    else call?.resolve(data.value as never);
  });
  made.addEventListener("error", ({ message }) => {
    for (const call of waiting.values()) call.reject(new Error(message || "the pictures' worker did not start"));
    waiting.clear();
    worker = undefined;
  });
  return made;
}

type Result<K extends keyof Tasks> = Promise<Awaited<ReturnType<Tasks[K]>>>;

/** Calls a task of the worker. */
function call<K extends keyof Tasks>(name: K, ...values: Parameters<Tasks[K]>): Result<K> {
  worker ??= started();
  const id = ++lastId;
  const request: Request = { id, name, values };
  worker.postMessage(request);
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject })) as Result<K>;
}

/** Pixels of a picture file, its first frame, upright; over `limit` pixels shrunk or (`shrink` false) its size alone. */
export const readPicture = (file: Blob, limit: number, shrink: boolean) => call("read", file, limit, shrink);

/** Another size by cubic convolution (Keys, a = -1/2), with antialiasing where it becomes smaller. */
export const resized = (picture: Picture, width: number, height: number) => call("resized", picture, width, height);

/** PSNR in dB of all three colours. */
export const psnr = (one: Picture, other: Picture) => call("psnr", one, other);

/** PSNR in dB of brightness (Y of ITU-R BT.601), without a border of so many pixels: how enlarged pictures are compared. */
export const psnrOfBrightness = (one: Picture, other: Picture, border: number) => call("psnrOfBrightness", one, other, border);

/** A PNG file. */
export const pngOf = (picture: Picture) => call("png", picture);

/** The best JPEG file of a picture with at most so many bytes. */
export const jpegWithin = (picture: Picture, most: number) => call("jpegWithin", picture, most);

/** Draws a picture at its own size; large ones in slices, between which the page can do other things. */
export async function draw({ data, width, height }: Picture, canvas: HTMLCanvasElement): Promise<void> {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const rows = Math.max(1, Math.floor((1 << 20) / width));
  for (let top = 0; top < height; top += rows) {
    const lines = Math.min(rows, height - top);
    const slice = new Uint8ClampedArray(data.buffer as ArrayBuffer, data.byteOffset + top * width * 4, lines * width * 4);
    context?.putImageData(new ImageData(slice, width, lines), 0, top);
    if (top + rows < height) await pause();
  }
}

/** Lets the page do what is due. */
export function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

/** Bytes of a file of the site, such as weights. */
export async function fetchBytes(address: string, signal?: AbortSignal): Promise<Uint8Array> {
  const response = await fetch(address, signal ? { signal } : {});
  if (!response.ok) throw new Error(`${address}: the server answers ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Offers bytes to the visitor as a download. */
export function download(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
