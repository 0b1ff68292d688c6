// The frame of a page: header, footer, one Gristmill, and runs with progress, Cancel and errors.
//
// A page's index.html has a <main> with its own parts. `Page.open` adds the header, the footer, and at `<div id="run">` the status line,
// the progress bar with Cancel, and the box for errors. `document.body.dataset.state` is `loading`, `ready`, `running` or `error`;
// `dataset.runs` counts the runs that have ended, `dataset.losses` the devices that were lost.

import type { AdapterReport, CallOptions, CreateOptions } from "gristmill";
import { DeviceLostError, Gristmill } from "gristmill";
import { byId, element } from "./dom.js";
import { help } from "./errors.js";
import { footer, header } from "./frame.js";
import "./styles.css";

export type State = "loading" | "ready" | "running" | "error";

/** The work of a run: `options` go to every call of `gristmill`, so that Cancel and the progress bar reach it. */
export type Work<T> = (gristmill: Gristmill, options: Required<CallOptions>) => Promise<T>;

/** What an error box offers besides its text. */
export interface Remedy {
  readonly label: string;
  readonly act: () => void;
}

/** How often a run starts again after the device was lost. */
const RETRIES = 2;
/** Shorter runs show no progress bar (milliseconds). */
const PATIENCE = 300;

interface Run {
  readonly controller: AbortController;
  /** Resolves when it has ended, however it ended. */
  ended: Promise<void>;
}

export class Page {
  readonly #status = element("p", { id: "status", role: "status" });
  readonly #error = element("div", { id: "error", role: "alert", class: "alert", hidden: true });
  readonly #bar = element("progress", { id: "progress", max: 1, value: 0, "aria-label": "Progress" });
  readonly #share = element("output", { id: "share" });
  readonly #cancel = element("button", { id: "cancel", type: "button" }, "Cancel");
  readonly #progress = element("div", { class: "progress", hidden: true }, this.#bar, this.#share, this.#cancel);
  readonly #adapter = element("p", { id: "adapter", class: "quiet" });
  #gristmill: Gristmill | undefined;
  #deviceless = false;
  #run: Run | undefined;
  #followers = 0;
  readonly #left = new AbortController();
  #ended = 0;
  /** How many devices have been lost, the notice of the next loss, and the making of the device after the last. */
  #losses = 0;
  #loss: Promise<void> = Promise.resolve();
  #recovery: Promise<void> = Promise.resolve();

  private constructor() {}

  /** Builds the frame around the page and takes a device. `folder` is the page's folder in web/site, "" for the gallery. */
  static async open(folder: string): Promise<Page> {
    const page = new Page();
    document.body.prepend(header(folder));
    document.body.append(footer(folder));
    byId("run").append(page.#adapter, page.#status, page.#progress, page.#error);
    page.#cancel.addEventListener("click", () => page.cancel());
    window.addEventListener("pagehide", (event) => page.#leave(event.persisted));
    await page.#start();
    return page;
  }

  /** The adapter and the builds that run there; none where there is no device. */
  get report(): AdapterReport | undefined {
    return this.#gristmill?.report;
  }

  /** Whether the adapter computes on the CPU, which takes long. */
  get software(): boolean {
    return this.report?.adapter.type === "Cpu";
  }

  /** Whether a run goes on. */
  get busy(): boolean {
    return this.#run !== undefined;
  }

  set state(state: State) {
    document.body.dataset.state = state;
  }

  /** One line about what happens, read out by screen readers. */
  say(text: string): void {
    this.#status.textContent = text;
  }

  /** Shows an error with what to do; the next run clears it. Nothing hides that there is no device. */
  showError(error: unknown, remedy?: Remedy): void {
    if (this.#deviceless) return;
    this.#error.replaceChildren(element("p", {}, help(error)));
    if (remedy) {
      const button = element("button", { type: "button" }, remedy.label);
      button.addEventListener("click", () => {
        this.clearError();
        remedy.act();
      });
      this.#error.append(button);
    }
    this.#error.hidden = false;
    this.state = "error";
  }

  clearError(): void {
    if (this.#deviceless) return;
    this.#error.hidden = true;
    this.#error.replaceChildren();
    if (document.body.dataset.state === "error") this.state = "ready";
  }

  /** Ends the run, if one goes on. */
  cancel(): void {
    this.#run?.controller.abort();
  }

  /**
   * Does `work`, and answers with its result, or with `undefined` when it was cancelled, replaced by another run, or failed; all of that
   * is shown. There is one run at a time: a new one cancels the old one. After a loss of the device the work is done again.
   */
  async run<T>(label: string, work: Work<T>): Promise<T | undefined> {
    const gristmill = this.#gristmill;
    if (!gristmill) return undefined;
    const before = this.#run;
    before?.controller.abort();
    const controller = new AbortController();
    let end = () => {};
    const run: Run = { controller, ended: new Promise<void>((resolve) => (end = resolve)) };
    this.#run = run;
    this.clearError();
    this.state = "running";
    this.say(`${label} …`);
    this.#showShare(0);
    const patience = window.setTimeout(() => (this.#progress.hidden = false), PATIENCE);
    const current = () => this.#run === run;
    try {
      await before?.ended;
      controller.signal.throwIfAborted();
      const progress = (share: number) => current() && this.#showShare(share);
      const result = await this.#insist(controller.signal, (signal) => work(gristmill, { signal, progress }));
      controller.signal.throwIfAborted();
      this.say("");
      this.state = "ready";
      return result;
    } catch (error) {
      if (current()) {
        const cancelled = controller.signal.aborted;
        this.say(cancelled ? "Cancelled." : "");
        if (cancelled) this.state = "ready";
        else this.showError(error);
      }
      return undefined;
    } finally {
      clearTimeout(patience);
      if (current()) {
        this.#progress.hidden = true;
        this.#run = undefined;
      }
      end();
      document.body.dataset.runs = String(++this.#ended);
    }
  }

  /**
   * Does short work beside the runs and without a word of it, for what follows the visitor's hand: `undefined` when it failed, which is
   * shown.
   */
  async follow<T>(work: Work<T>): Promise<T | undefined> {
    const gristmill = this.#gristmill;
    if (!gristmill) return undefined;
    this.#followers++;
    this.clearError();
    this.state = "running";
    const { signal } = this.#left;
    try {
      const result = await this.#insist(signal, (signal) => work(gristmill, { signal, progress: () => {} }));
      if (this.#followers === 1 && !this.#run) this.state = "ready";
      return result;
    } catch (error) {
      if (!signal.aborted) this.showError(error);
      return undefined;
    } finally {
      this.#followers--;
    }
  }

  /** Does the work again where the device was lost under it. */
  async #insist<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      await this.#recovery;
      const losses = this.#losses;
      try {
        return await work(signal);
      } catch (error) {
        if (!(error instanceof DeviceLostError) || attempt === RETRIES || signal.aborted) throw error;
        if (losses === this.#losses) await this.#loss;
      }
    }
  }

  #showShare(share: number): void {
    this.#bar.value = share;
    this.#share.textContent = `${Math.floor(100 * share)} %`;
  }

  async #start(): Promise<void> {
    this.state = "loading";
    this.say("Asking for a GPU …");
    try {
      const gristmill = await Gristmill.create(optionsOfAddress());
      this.#gristmill = gristmill;
      // For the browser's console.
      Object.assign(globalThis, { gristmill });
      this.#showAdapter();
      void this.#watch(gristmill);
      this.say("");
      this.state = "ready";
    } catch (error) {
      this.#giveUp(error);
    }
  }

  /** There is no device, and there will be none. */
  #giveUp(error: unknown): void {
    this.#gristmill = undefined;
    this.say("");
    this.showError(error);
    this.#deviceless = true;
  }

  /** Recovers from every loss of the device and tells the visitor. */
  async #watch(gristmill: Gristmill): Promise<void> {
    for (;;) {
      let noticed = () => {};
      this.#loss = new Promise((resolve) => (noticed = resolve));
      const reason = await gristmill.lost();
      this.#losses++;
      this.say(`The GPU was lost (${reason || "no reason given"}). Asking for another …`);
      this.#recovery = gristmill.recover();
      noticed();
      try {
        await this.#recovery;
      } catch (error) {
        this.#giveUp(error);
        return;
      }
      this.#showAdapter();
      this.say(this.#run ? "The GPU was lost; another has taken over, and the run starts again." : "The GPU was lost; another has taken over.");
      document.body.dataset.losses = String(this.#losses);
    }
  }

  #showAdapter(): void {
    const { name, driver, type } = this.report?.adapter ?? { name: "", driver: "", type: "" };
    const title = [name, driver].filter(Boolean).join(", ");
    const software = type === "Cpu" ? "a software adapter: there is no GPU here, and everything takes longer" : "";
    this.#adapter.textContent = `Runs on ${[title, software].filter(Boolean).join(", ") || "your GPU"}.`;
  }

  #leave(kept: boolean): void {
    this.cancel();
    if (kept) return;
    this.#left.abort();
    this.#gristmill?.close();
  }
}

/** `?limits=maxBufferSize:1048576,..` asks for a smaller adapter, `?variant=cpu-plain` for other builds. */
export function optionsOfAddress(address: string = location.search): CreateOptions {
  const query = new URLSearchParams(address);
  const limits = query.get("limits");
  const variant = query.get("variant");
  return {
    ...(limits && { limits: Object.fromEntries(limits.split(",").map((limit) => parseLimit(limit))) }),
    ...(variant && { variant }),
  };
}

function parseLimit(text: string): [string, number] {
  const [name = "", value = ""] = text.split(":");
  const number = Number(value);
  if (!name || !Number.isSafeInteger(number) || number <= 0) {
    throw new TypeError(`limits: found "${text}" in the page's address, expected a limit's name, a colon and a whole number`);
  }
  return [name, number];
}
