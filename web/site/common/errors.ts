// Errors as text that says what to do.

import { GristmillError, LimitError, NoWebGpuError } from "gristmill";

/** Where WebGPU is to be had. */
export function whereWebGpuIs(): string {
  const secure = globalThis.isSecureContext ? "" : "WebGPU needs an address with https. ";
  return (
    `${secure}Chrome and Edge have WebGPU from 113 on, Safari from 26, Firefox from 141 (Windows) and 145 (Mac). On Linux it may have to be ` +
    "switched on: chrome://flags/#enable-unsafe-webgpu. Where it should be there, an up-to-date driver often helps."
  );
}

export function help(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).replace(/[.\s]+$/, "");
  if (!navigator.gpu) return `This browser has no WebGPU. ${whereWebGpuIs()}`;
  if (error instanceof NoWebGpuError) return `${text}. ${whereWebGpuIs()}`;
  if (error instanceof LimitError) return `${text}. A smaller picture, or smaller settings, may fit this adapter.`;
  if (error instanceof GristmillError && error.kind === "OutOfMemory") return `${text}. Close other pages, or take a smaller picture.`;
  return `${text}.`;
}
