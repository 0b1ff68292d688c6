// Pictures on the page: read, computed on and made ready to be shown in a worker, so that the page stays quick whatever their size.

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
  return send(name, values, []);
}

function send<K extends keyof Tasks>(name: K, values: Parameters<Tasks[K]>, transfer: Transferable[]): Result<K> {
  worker ??= started();
  const id = ++lastId;
  const request: Request = { id, name, values };
  worker.postMessage(request, transfer);
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject })) as Result<K>;
}

/** Pixels that are copied in one go: a few milliseconds. */
const STRIP = 1 << 20;

/** Brings a picture of any size to the worker, in strips. */
async function sent({ data, width, height }: Picture): Promise<number> {
  const handle = await call("canvas", width, height);
  const rows = Math.max(1, Math.floor(STRIP / width));
  for (let top = 0; top < height; top += rows) {
    const lines = data.slice(top * width * 4, Math.min(top + rows, height) * width * 4);
    await send("strip", [handle, lines, top], [lines.buffer]);
  }
  return handle;
}

/** Pixels of a picture file, its first frame, upright; over `limit` pixels shrunk or (`shrink` false) its size alone. */
export const readPicture = (file: Blob, limit: number, shrink: boolean) => call("read", file, limit, shrink);

/** Another size by cubic convolution (Keys, a = -1/2), with antialiasing where it becomes smaller. */
export const resized = (picture: Picture, width: number, height: number) => call("resized", picture, width, height);

/** One colour, RGBA, over the pixels where the mask is not 0, and nothing over the others. */
export const tinted = (...values: Parameters<Tasks["tinted"]>) => call("tinted", ...values);

/** PSNR in dB of all three colours. */
export const psnr = (one: Picture, other: Picture) => call("psnr", one, other);

/** PSNR in dB of brightness (Y of ITU-R BT.601), without a border of so many pixels: how enlarged pictures are compared. */
export const psnrOfBrightness = (one: Picture, other: Picture, border: number) => call("psnrOfBrightness", one, other, border);

/** A PNG file. */
export const pngOf = async (picture: Picture) => call("png", await sent(picture));

/** The best JPEG file of a picture with at most so many bytes. */
export const jpegWithin = async (picture: Picture, most: number) => call("jpegWithin", await sent(picture), most);

/** Shows a picture at its own size in a canvas that nothing else draws into. */
export async function draw(picture: Picture, canvas: HTMLCanvasElement): Promise<void> {
  const bitmap = await call("bitmap", await sent(picture));
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("bitmaprenderer")?.transferFromImageBitmap(bitmap);
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
