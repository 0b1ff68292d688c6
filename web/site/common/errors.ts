// Errors as text that says what to do.

import { GristmillError, LimitError } from "gristmill";

export function help(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).replace(/[.\s]+$/, "");
  if (error instanceof GristmillError && error.kind === "OutOfMemory") return `${text}. Close other pages, or take a smaller picture.`;
  if (error instanceof LimitError) return `${text}. A smaller picture, or smaller settings, may fit this adapter.`;
  return `${text}.`;
}
