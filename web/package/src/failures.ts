// Errors on their way from the WASM module to the caller.

import { DeviceLostError, type ErrorDetails, type ErrorKind, GristmillError, InputError, LimitError, NoWebGpuError } from "./errors.js";

/** An error that can be sent from a worker. */
export interface PlainError {
  message: string;
  kind: ErrorKind;
  details: ErrorDetails;
}

/** What is known of anything that was thrown. */
export function plainError(error: unknown): PlainError {
  const { message = String(error), kind = "Internal", details = {} } = (error ?? {}) as Partial<PlainError>;
  return { message, kind, details };
}

/** The exception of its kind. */
export function typedError({ message, kind, details }: PlainError): GristmillError {
  switch (kind) {
    case "NoWebGpu":
    case "NoAdapter":
      return new NoWebGpuError(`${message}: ${ADVICE}`, kind, details);
    case "DeviceLost":
      return new DeviceLostError(message, kind, details);
    case "Limit":
    case "OutOfMemory":
      return new LimitError(message, kind, details);
    case "Shape":
    case "Config":
    case "NonFinite":
    case "Input":
    case "UnknownCodebook":
      return new InputError(message, kind, details);
    default:
      return new GristmillError(message, kind, details);
  }
}

const ADVICE =
  "use a current Chrome, Edge, Firefox or Safari, with hardware acceleration switched on, over https or on localhost (on Linux, Chrome may need chrome://flags/#enable-unsafe-webgpu)";
