// What goes in and comes out, as types. Nothing here runs.

/** A picture as `ImageData` holds one: RGBA bytes, row by row, colours not multiplied by their opacity. An `ImageData` is one. */
export interface Picture {
  readonly data: Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
}

/** What every call takes beside its data. */
export interface CallOptions {
  /** Stops the call between two submits to the GPU; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Told the share of the work that is done, 0 to 1. */
  progress?: (share: number) => void;
}

export type TensorData = Float32Array | Float64Array | Int32Array | Uint32Array | Uint16Array | Uint8Array;

/** Values with their shape, the last index fastest. `Uint16Array` holds halves (the bits of float16). */
export interface Tensor<D extends TensorData = TensorData> {
  readonly shape: readonly number[];
  readonly data: D;
}

/** Floats of any width; the GPU computes with f32. */
export type FloatTensor = Tensor<Float32Array | Float64Array | Uint16Array>;
/** 0 or 1 (U8). */
export type MaskTensor = Tensor<Uint8Array>;

/** How a run went. */
export interface RunInfo {
  readonly kernel: string;
  readonly adapter: string;
  /** The build of the kernel: `portable`, `cpu-plain`, .. */
  readonly variant: string;
  /** On the GPU, without reading and writing. The first run of a kernel contains its compilation. */
  readonly milliseconds: number;
}

/** The adapter, what its device offers, and which build of every kernel runs there. */
export interface AdapterReport {
  readonly adapter: { readonly name: string; readonly driver: string; readonly type: string; readonly backend: string };
  readonly limits: Readonly<Record<LimitName, number>>;
  readonly features: readonly string[];
  readonly kernels: Readonly<Record<string, { readonly variant: string; readonly reason: string }>>;
}

export type LimitName =
  | "maxBufferSize"
  | "maxStorageBufferBindingSize"
  | "maxStorageBuffersPerShaderStage"
  | "maxComputeInvocationsPerWorkgroup"
  | "maxComputeWorkgroupStorageSize"
  | "maxComputeWorkgroupsPerDimension";

export interface CreateOptions {
  /**
   * Use the page's own device, on the page's own thread: a `GPUDevice` can't be sent to a worker. It stays the page's: its loss
   * and its end are the page's affair. Without it the package asks for a device in a worker of its own.
   */
  device?: GPUDevice;
  /** Ask for no more than these limits: how an app does on a smaller adapter. Not with `device`. */
  limits?: Partial<Record<LimitName, number>>;
  /** The build of the kernels instead of the one that fits the adapter: `portable`, `cpu-plain`, .. */
  variant?: string;
  /** Run without a worker even with a device of our own. */
  worker?: boolean;
}

// ---- models ----

export interface UpscaleOptions extends CallOptions {
  /** Which pixels skip category attention; `false`: none do. The weights' own configuration without it. */
  purePass?: false | { colors?: number; window?: number };
  /** Pixels along a tile's side, a multiple of the network's window (256). */
  tile?: number;
}

export interface Upscaled {
  readonly picture: Picture;
  /** 1 for each pixel of the given picture that was pure; none without Pure-Pass. */
  readonly mask: Uint8Array | undefined;
  /** Share of the pixels that were pure, 0 to 1. */
  readonly pureShare: number;
  /** Share of the multiplications that this saved, 0 to 1. */
  readonly savedShare: number;
  readonly scale: number;
  readonly tiles: number;
  /** GPU memory of a tile in bytes. */
  readonly tileBytes: number;
  readonly variant: string;
  readonly milliseconds: number;
}

export interface SegmentOptions extends CallOptions {
  /** Merge tokens (true), or the plain transformer of the same weights. */
  merge?: boolean;
  /** Timed runs after the first; the median counts (3). 0: the first run's time, compilation included. */
  samples?: number;
}

/** What a file of weights for `segment` is made for. */
export interface SegmenterReport {
  /** Pixels of a side of its pictures. */
  readonly side: number;
  /** Tokens of a side. */
  readonly tokens: number;
  readonly classes: readonly string[];
}

export interface Segmentation extends SegmenterReport {
  /** The class of every pixel, `[side, side]`. */
  readonly labels: Uint8Array;
  /** The cluster of every token, `[tokens, tokens]`, 0 for one that was kept; none without merging. */
  readonly clusters: Uint32Array | undefined;
  /** Rows of the blocks after the merge, the class token and the representatives among them. */
  readonly rows: number;
  /** Rows without merging. */
  readonly allRows: number;
  readonly variant: string;
  readonly milliseconds: number;
}

export type PresetName = "A" | "B" | "C";

export interface EncodeOptions extends CallOptions {
  /** Patches, rank and iterations; the codebook must be for it. */
  preset: PresetName;
  /** How often every factor is improved (4). */
  sweeps?: number;
  /** Put the codebook into the file, so that any reader can decode it (false). */
  inline?: boolean;
}

export interface Encoded {
  /** A `.gvq` file. */
  readonly file: Uint8Array;
  /** Without the codebook and the file's header. */
  readonly bitsPerPixel: number;
  /** 24 or 8 bits per pixel over that. */
  readonly ratio: number;
  readonly milliseconds: number;
}

export interface Decoded {
  readonly picture: Picture;
  readonly bitsPerPixel: number;
  readonly variant: string;
  /** Of one decoding on the GPU, the median of some. */
  readonly milliseconds: number;
}

export interface PlayOptions extends CallOptions {
  /** How long to go on (2). */
  seconds?: number;
}

export interface Played {
  readonly frames: number;
  readonly seconds: number;
  readonly framesPerSecond: number;
}

// ---- measuring ----

/** Self-attention on random data. */
export interface AttentionShape {
  tokens: number;
  queryHeads: number;
  kvHeads: number;
  headDim: number;
  causal?: boolean;
}

export interface Measured {
  readonly milliseconds: number;
  readonly gflops: number;
  readonly variant: string;
}

export interface FrameSearchOptions extends CallOptions {
  /** Frames that a token reads, its own included (8). */
  topN?: number;
}

/** Which frames of a film the tokens of each frame select. Frames are 64 x 64 pixels, 8 x 8 tokens. */
export interface FrameSelection {
  readonly frames: number;
  readonly topN: number;
  /** The selected frames of each token `[frames * 64, topN]`, ascending; 4294967295 where there are fewer. */
  readonly lists: Uint32Array;
  /** Share of the tokens of frame y that list frame x, `[frames, frames]`. */
  readonly heat: Float32Array;
  /** Share of dense attention's weight that lies in the listed frames, of each token. */
  readonly weight: Float32Array;
  /** Keys that a query reads on average. */
  readonly meanKeys: number;
  readonly sparseMilliseconds: number;
  readonly denseMilliseconds: number;
}

export interface BenchOptions extends CallOptions {
  /** Which cases, by the kernel's name; all without it. */
  kernels?: readonly string[];
  /** Timed samples of each case; the median counts (5). */
  samples?: number;
  /** Told of each record as it is measured. */
  record?: (record: BenchRecord) => void;
}

export interface BenchRecord {
  readonly kernel: string;
  readonly shape: string;
  readonly variant: string;
  readonly milliseconds: number;
  readonly gflops: number;
  readonly gbps: number;
  /** Share of the nearer of the adapter's two measured peaks, 0 to 1. */
  readonly share: number;
}

export interface BenchReport {
  readonly version: string;
  readonly adapter: AdapterReport;
  /** What the adapter reaches in microkernels: multiply-adds in registers, and copying. */
  readonly peaks: { readonly gflops: number; readonly gbps: number };
  readonly records: readonly BenchRecord[];
}
