// What a call may reject with. A cancelled one rejects with its signal's reason (`AbortError`) instead.

/** What went wrong, in one word; see `GristmillError.details` for the rest. */
export type ErrorKind =
  | "Shape"
  | "Config"
  | "Limit"
  | "NoWebGpu"
  | "NoAdapter"
  | "Device"
  | "OutOfMemory"
  | "Validation"
  | "DeviceLost"
  | "NonFinite"
  | "Cancelled"
  | "Schedule"
  | "Input"
  | "UnknownCodebook"
  | "Shader"
  | "Internal";

/** The parts of the message: which depends on the kind. */
export interface ErrorDetails {
  /** Shape, Config: the operator. */
  readonly operator?: string;
  /** Shape, NonFinite: the tensor. */
  readonly tensor?: string;
  /** Config: the field. */
  readonly key?: string;
  /** Shape, Config: what was found. */
  readonly found?: string;
  /** Shape, Config: what was expected. */
  readonly expected?: string;
  /** Limit: WebGPU's name of the limit, what was needed and what the adapter allows. */
  readonly limit?: string;
  readonly needed?: number;
  readonly allowed?: number;
  /** NonFinite: flat index of the first NaN or infinity. */
  readonly index?: number;
}

/** An error with one line of text that names the field, the value found and the value expected. */
export class GristmillError extends Error {
  override readonly name: string = "GristmillError";
  readonly kind: ErrorKind;
  readonly details: ErrorDetails;

  constructor(message: string, kind: ErrorKind, details: ErrorDetails = {}) {
    super(message);
    this.kind = kind;
    this.details = details;
  }
}

/** There is no WebGPU here, or no adapter: the message says what to do. */
export class NoWebGpuError extends GristmillError {
  override readonly name = "NoWebGpuError";
}

/** The device is gone: `Gristmill.recover` makes another. */
export class DeviceLostError extends GristmillError {
  override readonly name = "DeviceLostError";
}

/** The adapter is too small for what was asked. */
export class LimitError extends GristmillError {
  override readonly name = "LimitError";
}

/** The input can't be used: a shape, a configuration, a file, a value that is not finite. */
export class InputError extends GristmillError {
  override readonly name = "InputError";
}
