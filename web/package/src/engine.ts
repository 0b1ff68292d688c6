// Calls by name on the WASM module, on whichever thread this is.

import load, { Session, benchCases, kernels } from "./wasm/gristmill_wasm.js";
import type { AdapterReport, CreateOptions } from "./types.js";

/** Told the share done and what else there is to tell; answers whether to go on. */
export type Watch = (share: number, event?: string) => boolean;

/** What `call` takes; every argument can be sent to a worker. */
export type Arguments = readonly unknown[];

export class Engine {
  #session: Session | undefined;

  /** Runs a method of the package. Rejects with what the module throws. */
  async call(method: string, args: Arguments, watch: Watch): Promise<unknown> {
    if (method === "create") return this.#create(args[0] as CreateOptions);
    const session = this.#session;
    if (!session) throw new Error("no device was made");
    switch (method) {
      case "benchCases":
        return benchCases();
      case "kernels":
        return kernels();
      case "segmenter":
        return session.segmenter(args[0] as Uint8Array);
      case "lost":
        return session.lost();
      case "destroyDevice":
        return session.destroyDevice();
      case "recover":
        await session.recover();
        return JSON.parse(session.report()) as AdapterReport;
      case "bench":
        return JSON.parse(await session.bench(args[0], watch)) as unknown;
      case "selfTest":
        return (session as Session & { selfTest(): Promise<string> }).selfTest();
      case "run":
      case "upscale":
      case "segment":
      case "encode":
      case "decode":
      case "play":
      case "searchFrames":
      case "timeAttention": {
        const work = session[method].bind(session) as (...args: unknown[]) => Promise<unknown>;
        return work(...args, watch);
      }
      default:
        throw new Error(`there is no method \`${method}\``);
    }
  }

  async #create(options: CreateOptions): Promise<AdapterReport> {
    await load();
    this.#session = await Session.create(options);
    return JSON.parse(this.#session.report()) as AdapterReport;
  }
}

/** The buffers of a result, which needn't be copied on their way out of a worker. */
export function buffersOf(result: unknown): ArrayBuffer[] {
  if (ArrayBuffer.isView(result)) return [result.buffer as ArrayBuffer];
  if (typeof result !== "object" || result === null) return [];
  return [...new Set(Object.values(result).flatMap(buffersOf))];
}
