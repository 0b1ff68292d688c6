// Where a picture comes from: a drop, the file dialog, the clipboard, or one of the page's own.

import type { Picture } from "gristmill";
import { element } from "./dom.js";
import type { Page } from "./page.js";
import { readPicture } from "./pictures.js";

/** A picture that the page offers. */
export interface Sample {
  readonly name: string;
  /** From `import address from ".../photo.png?url"`. */
  readonly address: string;
  /** Read by screen readers. */
  readonly description: string;
}

export interface Picked {
  /** The sample's or the file's name, without its extension. */
  readonly name: string;
  readonly picture: Picture;
}

export interface PickerOptions {
  readonly page: Page;
  readonly samples: readonly Sample[];
  /** The most pixels that the page takes. */
  readonly limit: number;
  /** Larger pictures within the limit are shrunk to so many pixels as they are read (the limit). */
  readonly room?: number;
  /** The fewest pixels of a side (8). */
  readonly least?: number;
  readonly pick: (picked: Picked) => void;
  /** Files that are no pictures: their endings, a word about them, and what is done with one. */
  readonly others?: { readonly endings: readonly string[]; readonly hint: string; readonly take: (file: File) => void };
}

export interface PicturePicker {
  readonly root: HTMLElement;
  /** Takes a sample by its name, as a click on it does. */
  sample(name: string): Promise<void>;
  /** Takes a file, as a drop of it does. */
  file(file: File): Promise<void>;
}

/** Signs of an animation in PNG, WebP and GIF files. */
const ANIMATED = /acTL|ANIM|NETSCAPE2\.0/;

/** A picker for `parent`; the whole page takes drops and pastes. Choosing something new makes an earlier choice void. */
export function picturePicker(parent: HTMLElement, options: PickerOptions): PicturePicker {
  const { page, samples, limit, room = limit, least = 8, others } = options;
  // What the visitor should know of the picture that is used.
  const note = element("p", { id: "picture-note", class: "quiet", role: "status" });
  let choices = 0;

  /** The picture with at most `room` pixels; one over the limit only where it may be shrunk, else its size alone. */
  async function read(file: Blob, shrink: boolean) {
    const found = await readPicture(file, room, shrink);
    const within = found.width * found.height <= limit;
    return found.picture.width === 0 && within ? readPicture(file, room, true) : found;
  }

  async function take(name: string, open: () => Promise<Blob> | Blob, shrink = false): Promise<void> {
    const choice = ++choices;
    page.cancel();
    page.clearError();
    try {
      const file = await open();
      const animated = ANIMATED.test(new TextDecoder("latin1").decode(await file.slice(0, 1 << 18).arrayBuffer()));
      const { picture, width, height } = await read(file, shrink).catch(() => {
        throw new Error(`${name}: this browser can't read it as a picture; PNG, JPEG, WebP, AVIF and GIF files are`);
      });
      if (choice !== choices) return;
      if (picture.width === 0) {
        const factor = Math.sqrt(room / (width * height));
        const smaller = `${Math.floor(width * factor)} × ${Math.floor(height * factor)}`;
        const found = `${name} has ${width} × ${height} = ${megapixels(width * height)} megapixels; this page takes up to ${megapixels(limit)}`;
        page.showError(`${found}. Shrink it, for example to ${smaller}.`, {
          label: `Use it shrunk to ${smaller}`,
          act: () => void take(name, () => file, true),
        });
        return;
      }
      if (Math.min(picture.width, picture.height) < least) {
        throw new Error(`${name} has ${width} × ${height} pixels; both sides must have at least ${least}`);
      }
      mark(name);
      const notes = [animated && "Of an animation the first frame is used.", picture.width !== width && `Shrunk from ${width} × ${height}.`];
      note.textContent = notes.filter(Boolean).join(" ");
      options.pick({ name: name.replace(/\.\w+$/, ""), picture });
    } catch (error) {
      if (choice === choices) page.showError(error);
    }
  }

  const file = async (file: File) => {
    if (!others?.endings.some((ending) => file.name.toLowerCase().endsWith(ending))) return take(file.name, () => file);
    choices++;
    page.cancel();
    page.clearError();
    mark("");
    note.textContent = "";
    others.take(file);
  };
  const sample = async (name: string) => {
    const found = samples.find((sample) => sample.name === name);
    if (!found) throw new Error(`no sample ${name}`);
    await take(name, async () => (await fetch(found.address)).blob());
  };

  const input = element("input", { id: "file", type: "file", accept: ["image/*", ...(others?.endings ?? [])].join() });
  input.addEventListener("change", () => {
    const [chosen] = input.files ?? [];
    if (chosen) void file(chosen);
    input.value = ""; // The same file may be chosen again.
  });
  const buttons = samples.map(({ name, address, description }) => {
    const picture = element("img", { src: address, alt: description, width: 96, height: 64, loading: "lazy" });
    const button = element("button", { type: "button", class: "sample", "data-sample": name, "aria-pressed": "false" }, picture);
    button.addEventListener("click", () => void sample(name));
    return button;
  });
  function mark(name: string): void {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.sample === name));
  }

  const label = element("label", { class: "drop", for: "file" }, element("strong", {}, "Drop a picture"), " or choose one", element("small", {}, ["pasting works as well", others?.hint].filter(Boolean).join("; ")));
  const root = element("div", { class: "picker" }, element("div", { class: "samples" }, ...buttons), input, label, note);
  parent.append(root);
  takeDrops(root, (dropped) => void file(dropped));
  return { root, sample, file };
}

/** Files that are dropped anywhere on the page, or pasted. */
function takeDrops(root: HTMLElement, take: (file: File) => void): void {
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    root.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) root.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    root.classList.remove("over");
    const [dropped] = event.dataTransfer?.files ?? [];
    if (dropped) take(dropped);
  });
  document.addEventListener("paste", (event) => {
    const [pasted] = event.clipboardData?.files ?? [];
    if (pasted) take(pasted);
  });
}

function megapixels(pixels: number): string {
  return (pixels / 1e6).toFixed(1);
}
