// The package: one class. Its calls run in a worker, or on this thread where the page gave its own device.

import type { KernelName, Kernels } from "./kernels.js";
import { type Link, directLink, workerLink } from "./link.js";
import { decodeTensors, encodeTensors } from "./tensors.js";
import type {
  AdapterReport,
  AttentionShape,
  BenchOptions,
  BenchRecord,
  BenchReport,
  CallOptions,
  CreateOptions,
  Decoded,
  EncodeOptions,
  Encoded,
  FrameSearchOptions,
  FrameSelection,
  Measured,
  Picture,
  Played,
  PlayOptions,
  RunInfo,
  Segmentation,
  SegmenterReport,
  SegmentOptions,
  Upscaled,
  UpscaleOptions,
} from "./types.js";

export * from "./errors.js";
export type * from "./kernels.js";
export { decodeTensors, encodeTensors } from "./tensors.js";
export type * from "./types.js";

/** What a kernel gives, and how its run went. */
export type KernelResult<K extends KernelName> = Kernels[K]["outputs"] & { readonly run: RunInfo };

/**
 * The kernels on one device.
 *
 * Every call is asynchronous, may be cancelled by an `AbortSignal`, and rejects with a `GristmillError` that names the field, the value
 * found and the value expected. Calls may overlap. Data is copied: what is given stays the caller's.
 */
export class Gristmill {
  readonly #link: Link;
  #report: AdapterReport;

  private constructor(link: Link, report: AdapterReport) {
    this.#link = link;
    this.#report = report;
  }

  /** Loads the package and takes a device. Rejects with `NoWebGpuError` where there is none. */
  static async create(options: CreateOptions = {}): Promise<Gristmill> {
    const { device, worker = device === undefined, ...rest } = options;
    if (device && (worker || rest.limits)) {
      throw new TypeError("a device of the page can't go to a worker, and has its limits: give `device` without `worker` and `limits`");
    }
    const link = worker ? workerLink() : directLink();
    try {
      return new Gristmill(link, await link.call<AdapterReport>("create", [{ ...rest, ...(device && { device }) }]));
    } catch (error) {
      link.close();
      throw error;
    }
  }

  /** The adapter, its limits, and which build of every kernel runs there and why. */
  get report(): AdapterReport {
    return this.#report;
  }

  /** Resolves with the reason once the device is lost; call again after `recover` for the next one. */
  lost(): Promise<string> {
    return this.#link.call("lost", []);
  }

  /** Makes a new device after a loss. Nothing else needs to be done: no call keeps data on the GPU. */
  async recover(): Promise<void> {
    this.#report = await this.#link.call<AdapterReport>("recover", []);
  }

  /** Destroys the device, as a driver's reset would: to see how an app takes it. Not a device of the page. */
  destroyDevice(): Promise<void> {
    return this.#link.call("destroyDevice", []);
  }

  /** Ends the worker. What still runs rejects with an `AbortError`. */
  close(): void {
    this.#link.close();
  }

  /**
   * Runs a kernel by name on the bytes of a safetensors file and answers with the bytes of another.
   * `config` goes over the configuration in the file's metadata.
   */
  run(kernel: string, file: Uint8Array, config: object = {}, options: CallOptions & { variant?: string } = {}): Promise<Uint8Array> {
    return this.#link.call("run", [kernel, file, JSON.stringify(config), options.variant], options);
  }

  /** Runs a kernel on tensors. The methods below are this by name. */
  async operator<K extends KernelName>(
    kernel: K,
    inputs: Kernels[K]["inputs"],
    config: Kernels[K]["config"],
    options: CallOptions = {},
  ): Promise<KernelResult<K>> {
    const { tensors, metadata } = decodeTensors(await this.run(kernel, encodeTensors(inputs), config, options));
    const { adapter = "", variant = "", milliseconds = "0" } = metadata;
    const run: RunInfo = { kernel, adapter, variant, milliseconds: Number(milliseconds) };
    return { ...tensors, run } as unknown as KernelResult<K>;
  }

  /** Dense attention. */
  attention(inputs: Kernels["attention"]["inputs"], config: Kernels["attention"]["config"] = {}, options?: CallOptions) {
    return this.operator("attention", inputs, config, options);
  }

  /** A layer of Sparse Query Attention (arXiv 2510.01817). */
  sqaLayer(inputs: Kernels["sqa_layer"]["inputs"], config: Kernels["sqa_layer"]["config"], options?: CallOptions) {
    return this.operator("sqa_layer", inputs, config, options);
  }

  /** Local linear attention (arXiv 2510.01450). */
  flashLla(inputs: Kernels["flash_lla"]["inputs"], config: Kernels["flash_lla"]["config"] = {}, options?: CallOptions) {
    return this.operator("flash_lla", inputs, config, options);
  }

  /** Native Sparse Attention (arXiv 2502.11089). */
  nativeSparse(inputs: Kernels["native_sparse"]["inputs"], config: Kernels["native_sparse"]["config"] = {}, options?: CallOptions) {
    return this.operator("native_sparse", inputs, config, options);
  }

  /** The same between the frames of a video, dense for its text (VideoNSA, arXiv 2510.02295). */
  videoNsa(inputs: Kernels["video_nsa"]["inputs"], config: Kernels["video_nsa"]["config"] = {}, options?: CallOptions) {
    return this.operator("video_nsa", inputs, config, options);
  }

  /** Which pixels lie in plain areas (Pure-Pass). */
  purePassMask(inputs: Kernels["pure_pass_mask"]["inputs"], config: Kernels["pure_pass_mask"]["config"] = {}, options?: CallOptions) {
    return this.operator("pure_pass_mask", inputs, config, options);
  }

  /** The decoder of low-rank codes (arXiv 2510.01407) on a bit stream of indices. */
  lowrankVq(inputs: Kernels["lowrank_vq"]["inputs"], config: Kernels["lowrank_vq"]["config"], options?: CallOptions) {
    return this.operator("lowrank_vq", inputs, config, options);
  }

  /** The nearest codeword of each row. */
  vqNearest(inputs: Kernels["vq_nearest"]["inputs"], options?: CallOptions) {
    return this.operator("vq_nearest", inputs, {}, options);
  }

  /**
   * Enlarges a picture of any size by an ATD network with Pure-Pass; `weights` is a safetensors file with the configuration in its
   * metadata. Opacity is enlarged beside it.
   */
  upscale(picture: Picture, weights: Uint8Array, { purePass, tile, ...options }: UpscaleOptions = {}): Promise<Upscaled> {
    return this.#link.call("upscale", [picture, weights, { purePass, tile }], options);
  }

  /** What a file of weights for `segment` is made for. */
  segmenter(weights: Uint8Array): Promise<SegmenterReport> {
    return this.#link.call("segmenter", [weights]);
  }

  /** The class of every pixel by a vision transformer that merges tokens (ClustViT); the picture is a square of the weights' side. */
  segment(picture: Picture, weights: Uint8Array, { merge, samples, ...options }: SegmentOptions = {}): Promise<Segmentation> {
    return this.#link.call("segment", [picture, weights, { merge, samples }], options);
  }

  /** A picture as low-rank code, a `.gvq` file; `codebook` is a safetensors file. Opacity is left out. */
  encode(picture: Picture, codebook: Uint8Array, { preset, sweeps, inline, ...options }: EncodeOptions): Promise<Encoded> {
    return this.#link.call("encode", [picture, codebook, { preset, sweeps, inline }], options);
  }

  /** The picture of a `.gvq` file; `codebooks` are those that the file may name. */
  decode(file: Uint8Array, codebooks: readonly Uint8Array[] = [], options: CallOptions = {}): Promise<Decoded> {
    return this.#link.call("decode", [file, codebooks], options);
  }

  /**
   * Decodes a `.gvq` file into a canvas again and again, as a film's frames would be: how many a second. The canvas
   * (`canvas.transferControlToOffscreen()`) gets the picture's size and goes to the worker for good: one canvas a film.
   */
  play(file: Uint8Array, codebooks: readonly Uint8Array[], canvas: OffscreenCanvas, { seconds, ...options }: PlayOptions = {}): Promise<Played> {
    return this.#link.call("play", [file, codebooks, canvas, { seconds }], options);
  }

  /**
   * The frames of a film look for each other by Native Sparse Attention whose blocks are frames: `pixels` are whole frames of
   * 64 x 64 x 3 values in 0..1. Nothing is trained.
   */
  searchFrames(pixels: Float32Array, { topN, ...options }: FrameSearchOptions = {}): Promise<FrameSelection> {
    return this.#link.call("searchFrames", [pixels, { topN }], options);
  }

  /** Times dense attention of several shapes in turns. */
  timeAttention(shapes: readonly AttentionShape[], { samples, ...options }: CallOptions & { samples?: number } = {}): Promise<Measured[]> {
    return this.#link.call("timeAttention", [shapes, { samples }], options);
  }

  /** Times every kernel at a shape that fits the adapter, beside the adapter's own peaks. */
  async bench({ kernels, samples, record, ...options }: BenchOptions = {}): Promise<BenchReport> {
    const event = record && ((text: string) => record(JSON.parse(text) as BenchRecord));
    const { peaks, records, version } = await this.#link.call<BenchReport>("bench", [{ kernels, samples }], { ...options, ...(event && { event }) });
    return { version, adapter: this.#report, peaks, records };
  }

  /** The names of the kernels that `run` knows. */
  kernels(): Promise<string[]> {
    return this.#link.call("kernels", []);
  }

  /** The names of the cases that `bench` has. */
  benchCases(): Promise<string[]> {
    return this.#link.call("benchCases", []);
  }
}
