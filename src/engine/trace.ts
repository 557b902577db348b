// Which blocks each position attended to: gathered layer by layer while tokens are run, for pictures and tests.
import type { StepRow } from "./forward.ts";
import type { BlockTrace } from "./types.ts";

export class BlockRecorder {
  readonly trace: BlockTrace;
  readonly #every: number;
  readonly #first: number;
  readonly #rowBytes: number;

  /** For positions first, first + every … of `count` tokens; blocks of `blockSize` tokens. */
  constructor(shape: { layers: number; kvHeads: number; blockSize: number }, first: number, count: number, every: number) {
    const rows = Math.ceil(count / every);
    const blocks = Math.ceil((first + count) / shape.blockSize);
    this.#every = every;
    this.#first = first;
    this.#rowBytes = Math.ceil(blocks / 8);
    const positions = Int32Array.from({ length: rows }, (_, i) => first + i * every);
    this.trace = { ...shape, blocks, positions, chosen: new Uint8Array(shape.layers * shape.kvHeads * rows * this.#rowBytes) };
  }

  /** Takes what a layer's rows chose: (rows, kv heads, words) ints, undefined where the rows attended densely. */
  take(layer: number, rows: readonly StepRow[], choices: Int32Array | undefined, words: number): void {
    const { kvHeads, blockSize, chosen, positions } = this.trace;
    for (const [i, row] of rows.entries()) {
      const at = (row.position - this.#first) / this.#every;
      if (!Number.isInteger(at)) continue;
      for (let head = 0; head < kvHeads; head++) {
        const bits = ((layer * kvHeads + head) * positions.length + at) * this.#rowBytes;
        const set = (block: number) => {
          chosen[bits + (block >> 3)]! |= 1 << (block & 7);
        };
        const choice = choices?.subarray((i * kvHeads + head) * words, (i * kvHeads + head + 1) * words);
        const count = choice ? choice[0]! : Math.floor(row.position / blockSize) + 1;
        for (let b = 0; b < count; b++) set(choice ? choice[1 + b]! : b);
      }
    }
  }
}

/** The blocks that one position of a trace attended to, ascending. */
export function tracedBlocks(trace: BlockTrace, layer: number, kvHead: number, index: number): number[] {
  const rowBytes = Math.ceil(trace.blocks / 8);
  const at = ((layer * trace.kvHeads + kvHead) * trace.positions.length + index) * rowBytes;
  return Array.from({ length: trace.blocks }, (_, b) => b).filter((b) => (trace.chosen[at + (b >> 3)]! >> (b & 7)) & 1);
}
