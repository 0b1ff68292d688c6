// Of requests that come faster than they are served, the last one counts.

/** Runs `work` once at a time. Requests during a run become one run afterwards. */
export class Latest {
  readonly #work: () => Promise<void>;
  #running = false;
  #wanted = false;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** `work` handles its own errors. */
  request(): void {
    this.#wanted = true;
    if (!this.#running) void this.#serve();
  }

  async #serve(): Promise<void> {
    this.#running = true;
    try {
      while (this.#wanted) {
        this.#wanted = false;
        await this.#work();
      }
    } finally {
      this.#running = false;
    }
  }
}
