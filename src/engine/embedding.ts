// A text on its way to an embedding: its prompt is computed like any other, and its tokens' final states are gathered.
import type { Stepper } from "./forward.ts";
import { Run } from "./run.ts";
import type { Sequence } from "./sequences.ts";
import type { EmbedOptions } from "./types.ts";

/** Resolves with (hidden) float32: the final hidden states (after the model's last norm), pooled. Sums are in float64, in order. */
export class EmbedRun extends Run<Float32Array> {
  readonly wantsLogits = false;
  readonly #stepper: Stepper;
  readonly #options: EmbedOptions;
  readonly #sum: Float64Array;

  constructor(
    stepper: Stepper,
    sequence: Sequence,
    prompt: readonly number[],
    options: EmbedOptions,
    hidden: number,
    signal: AbortSignal | undefined,
  ) {
    super(sequence, prompt, signal);
    this.#stepper = stepper;
    this.#options = options;
    this.#sum = new Float64Array(hidden);
  }

  get left(): number {
    return this.prompt.length - this.sequence.tokens.length;
  }

  async prefilled(rows: readonly number[]): Promise<void> {
    const ends = this.left === 0;
    const { pooling, normalize } = this.#options;
    if (pooling === "mean") this.#stepper.states(rows, (state) => this.#add(state));
    else if (ends) this.#stepper.states(rows.slice(-1), (state) => this.#add(state));
    if (!ends) return;
    const scale = pooling === "mean" ? 1 / this.prompt.length : 1;
    let squares = 0;
    for (const x of this.#sum) squares += x * x;
    // A state of zeros has no direction.
    const factor = normalize ? (squares > 0 ? 1 / Math.sqrt(squares) : 0) : scale;
    this.finish(Float32Array.from(this.#sum, (x) => x * factor));
  }

  #add(state: Float32Array): void {
    for (let i = 0; i < state.length; i++) this.#sum[i]! += state[i]!;
  }
}
