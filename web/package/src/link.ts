// How the class reaches the engine: on this thread, or in a worker.

import { type Arguments, Engine } from "./engine.js";
import { type PlainError, plainError, typedError } from "./failures.js";
import type { CallOptions } from "./types.js";

/** What goes to the worker: a call, or the end of one. */
export type ToWorker = { id: number; method: string; args: Arguments } | { id: number; cancel: true };

/** What comes back. */
export type FromWorker =
  | { id: number; share: number; event?: string }
  | { id: number; result: unknown }
  | { id: number; error: PlainError };

/** What a call takes besides the caller's options. */
export interface LinkOptions extends CallOptions {
  event?: (text: string) => void;
}

/** Calls on an engine. */
export interface Link {
  call<T>(method: string, args: Arguments, options?: LinkOptions): Promise<T>;
  close(): void;
}

function closed(): DOMException {
  return new DOMException("Gristmill was closed", "AbortError");
}

/** Without WebGPU nothing else is worth loading. */
function checkWebGpu(): void {
  if (!("gpu" in navigator) || !navigator.gpu) throw typedError({ message: "this browser has no WebGPU", kind: "NoWebGpu", details: {} });
}

/** An engine on this thread. */
export function directLink(): Link {
  const engine = new Engine();
  const end = new AbortController();
  return {
    async call<T>(method: string, args: Arguments, { signal, progress, event }: LinkOptions = {}): Promise<T> {
      checkWebGpu();
      const stopped = () => signal?.aborted || end.signal.aborted;
      const refuse = () => {
        signal?.throwIfAborted();
        if (end.signal.aborted) throw closed();
      };
      refuse();
      try {
        const result = await engine.call(method, args, (share, text) => {
          if (stopped()) return false;
          progress?.(share);
          if (text !== undefined) event?.(text);
          return true;
        });
        refuse();
        return result as T;
      } catch (error) {
        refuse();
        throw typedError(plainError(error));
      }
    },
    close: () => end.abort(),
  };
}

interface Pending {
  resolve(result: unknown): void;
  reject(reason: unknown): void;
  options: LinkOptions;
}

/** An engine in a worker of its own: nothing that it does keeps the page from answering. */
export function workerLink(): Link {
  checkWebGpu();
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "gristmill" });
  const pending = new Map<number, Pending>();
  let next = 0;
  let over: unknown;

  /** Every call fails, now and later. */
  const end = (reason: unknown): void => {
    over ??= reason;
    worker.terminate();
    for (const { reject } of pending.values()) reject(over);
    pending.clear();
  };

  worker.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => {
    const call = pending.get(data.id);
    if (!call) return; // cancelled meanwhile
    if ("share" in data) {
      call.options.progress?.(data.share);
      if (data.event !== undefined) call.options.event?.(data.event);
      return;
    }
    pending.delete(data.id);
    if ("error" in data) call.reject(typedError(data.error));
    else call.resolve(data.result);
  });
  // The module trapped, or its files can't be loaded: no call will be answered any more.
  worker.addEventListener("error", (event) => {
    end(typedError({ message: `the worker stopped: ${event.message || "its files can't be loaded"}`, kind: "Internal", details: {} }));
  });

  return {
    call<T>(method: string, args: Arguments, options: LinkOptions = {}): Promise<T> {
      const { signal } = options;
      if (over !== undefined) return Promise.reject(over);
      if (signal?.aborted) return Promise.reject(signal.reason);
      const id = next++;
      return new Promise<T>((resolve, reject) => {
        const cancel = (): void => {
          pending.delete(id);
          worker.postMessage({ id, cancel: true } satisfies ToWorker);
          reject(signal?.reason);
        };
        const settled = <V>(then: (value: V) => void) => (value: V) => {
          signal?.removeEventListener("abort", cancel);
          then(value);
        };
        signal?.addEventListener("abort", cancel, { once: true });
        pending.set(id, { resolve: settled((result) => resolve(result as T)), reject: settled(reject), options });
        // A canvas can be sent but not copied.
        const transfer = args.filter((argument) => typeof OffscreenCanvas !== "undefined" && argument instanceof OffscreenCanvas);
        worker.postMessage({ id, method, args } satisfies ToWorker, { transfer: transfer as Transferable[] });
      });
    },
    close: () => end(closed()),
  };
}
