// Programs: lists of records that cpp/train/program.h describes, written once and run for every batch.
import type { Machine } from "./machine.ts";

const CODES = [
  "matmul",
  "normForward",
  "normBackward",
  "normWeight",
  "columnSums",
  "rope",
  "swigluForward",
  "swigluBackward",
  "embedForward",
  "embedBackward",
  "combine",
  "broadcast",
  "zero",
  "attendForward",
  "attendBackward",
  "compressKeys",
  "chooseBlocks",
  "crossEntropy",
  "softCrossEntropy",
  "smoothL1",
  "ternary",
  "squares",
  "adamw",
  "muonMoment",
  "muonUnit",
  "muonApply",
  "policy",
  "attendDrafted",
  "attendDraftedBackward",
] as const;
export type OpName = (typeof CODES)[number];

/** Added to a code: the operation's scalar definition. */
const REFERENCE = 128;
const [SIZES, ADDRESSES, FACTORS] = [13, 14, 6];
/** Bytes of a record: 14 words, 14 addresses of 8 bytes, 6 float64. */
export const OP_BYTES = 4 * (1 + SIZES) + 8 * (ADDRESSES + FACTORS);

interface Record {
  readonly code: number;
  readonly sizes: readonly number[];
  readonly addresses: readonly number[];
  readonly factors: readonly number[];
}

/** How a matrix lies: address, and distances of rows and of columns in numbers. */
export interface Matrix {
  readonly at: number;
  readonly row: number;
  readonly column: number;
}

/** A matrix whose rows follow each other. */
export const rows = (at: number, row: number): Matrix => ({ at, row, column: 1 });
/** The same, transposed. */
export const turned = ({ at, row, column }: Matrix): Matrix => ({ at, row: column, column: row });

export class Program {
  readonly #machine: Machine;
  readonly #records: Record[] = [];
  readonly #cuts: number[] = [];
  readonly #scratch: () => number;
  #at: number | undefined;
  #flops = 0;

  /** `scratch`: where matrix products pack. */
  constructor(machine: Machine, scratch: () => number) {
    this.#machine = machine;
    this.#scratch = scratch;
  }

  /** Multiplications and additions of its matrix products. */
  get flops(): number {
    return this.#flops;
  }

  get length(): number {
    return this.#records.length;
  }

  add(
    name: OpName,
    sizes: readonly number[],
    addresses: readonly number[],
    factors: readonly number[] = [],
    reference = false,
  ): void {
    this.#records.push({ code: CODES.indexOf(name) + (reference ? REFERENCE : 0), sizes, addresses, factors });
  }

  /** An abort may happen here. */
  cut(): void {
    if (this.#cuts.at(-1) !== this.#records.length) this.#cuts.push(this.#records.length);
  }

  /** c (m, n) = plus + alpha a b for a (m, k), b (k, n). */
  matmul(
    [m, n, k]: readonly [number, number, number],
    a: Matrix,
    b: Matrix,
    c: Matrix,
    { alpha = 1, plus }: { alpha?: number; plus?: Matrix | undefined } = {},
    reference = false,
  ): void {
    this.#flops += 2 * m * n * k;
    this.add(
      "matmul",
      [m, n, k, a.row, a.column, b.row, b.column, c.row, plus?.row ?? 0],
      [a.at, b.at, c.at, plus?.at ?? 0, this.#scratch()],
      [alpha],
      reference,
    );
  }

  /** Plans the records' memory; after the last add(). */
  place(): this {
    this.cut();
    this.#at = this.#machine.take(this.#records.length * OP_BYTES);
    return this;
  }

  /** Writes the records, once there is memory. */
  write(): this {
    for (const [i, { code, sizes, addresses, factors }] of this.#records.entries()) {
      const view = new DataView(this.#machine.memory.buffer, this.#at! + i * OP_BYTES, OP_BYTES);
      view.setInt32(0, code, true);
      for (const [n, value] of sizes.entries()) view.setInt32(4 + 4 * n, value, true);
      for (const [n, value] of addresses.entries()) view.setBigUint64(4 * (1 + SIZES) + 8 * n, BigInt(value), true);
      for (const [n, value] of factors.entries()) view.setFloat64(4 * (1 + SIZES) + 8 * (ADDRESSES + n), value, true);
    }
    return this;
  }

  /** Runs it; an abort rejects between parts. */
  async run(signal?: AbortSignal): Promise<void> {
    await this.#machine.run(this.#at!, this.#cuts, OP_BYTES, signal);
  }
}
