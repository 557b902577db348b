// How whoever reads a generation holds it back.

/** A generation that is held keeps its cache and its place, and computes nothing until it is released. */
export class Flow {
  #held = false;
  #heard: ((held: boolean) => void) | undefined;

  get held(): boolean {
    return this.#held;
  }

  set(held: boolean): void {
    if (held === this.#held) return;
    this.#held = held;
    this.#heard?.(held);
  }

  /** Calls `heard` with every change from now on; one listener at a time. */
  listen(heard: (held: boolean) => void): void {
    this.#heard = heard;
  }
}
