// The worker: an engine behind messages.

import { Engine, buffersOf } from "./engine.js";
import { plainError } from "./failures.js";
import type { FromWorker, ToWorker } from "./link.js";

const engine = new Engine();
const cancelled = new Set<number>();

function post(message: FromWorker, transfer: Transferable[] = []): void {
  self.postMessage(message, { transfer });
}

addEventListener("message", async ({ data }: MessageEvent<ToWorker>) => {
  const { id } = data;
  if ("cancel" in data) {
    cancelled.add(id);
    return;
  }
  const watch = (share: number, event?: string): boolean => {
    post({ id, share, ...(event !== undefined && { event }) });
    return !cancelled.has(id);
  };
  try {
    const result = await engine.call(data.method, data.args, watch);
    post({ id, result }, buffersOf(result));
  } catch (error) {
    post({ id, error: plainError(error) });
  } finally {
    cancelled.delete(id);
  }
});
