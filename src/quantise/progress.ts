// How far a run is, and how long it will take: work is counted in multiplications, time by the clock since the run began.

export interface QuantizeProgress {
  /** What is being done. */
  readonly phase: "tensors" | "calibrate" | "quantise" | "done";
  /** From 0; -1 for tensors outside the layers. */
  readonly layer: number;
  readonly layers: number;
  readonly tensor?: string | undefined;
  /** 0 to 1. */
  readonly fraction: number;
  /** A guess; undefined before there is anything to guess from. */
  readonly secondsLeft: number | undefined;
}

export class Progress {
  readonly #total: number;
  readonly #now: () => number;
  readonly #tell: (progress: QuantizeProgress) => void;
  readonly #layers: number;
  #done = 0;
  #before = 0;
  #begun: number;
  #phase: QuantizeProgress["phase"] = "tensors";
  #layer = -1;

  /** `now`: milliseconds. */
  constructor(total: number, layers: number, now: () => number, tell: (progress: QuantizeProgress) => void) {
    this.#total = Math.max(1, total);
    this.#layers = layers;
    this.#now = now;
    this.#tell = tell;
    this.#begun = now();
  }

  /** Work that an earlier run did. */
  skip(work: number): void {
    this.#done += work;
    this.#before += work;
    this.#begun = this.#now();
  }

  at(phase: QuantizeProgress["phase"], layer: number): void {
    this.#phase = phase;
    this.#layer = layer;
  }

  add(work: number, tensor?: string): void {
    this.#done += work;
    const fraction = this.#phase === "done" ? 1 : Math.min(0.999, this.#done / this.#total);
    const own = this.#done - this.#before;
    const seconds = (this.#now() - this.#begun) / 1000;
    const secondsLeft = own > 0 && seconds > 0 ? (seconds / own) * Math.max(0, this.#total - this.#done) : undefined;
    this.#tell({ phase: this.#phase, layer: this.#layer, layers: this.#layers, tensor, fraction, secondsLeft });
  }
}
