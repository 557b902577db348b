// H = (2 / n) sum x x^T over the rows of calibration that enter a linear, and what is made of it.
import { CpmError } from "../errors.ts";
import type { Inputs } from "./linear.ts";
import { CHUNK_ROWS, type Machine, type Piece } from "./module.ts";

/** How a Hessian's products are made: see cpp/quantise/hessian.h. */
export const HESSIANS = ["float", "int16"] as const;
export type HessianForm = (typeof HESSIANS)[number];

/** Damping is raised tenfold so often before the matrix counts as hopeless. */
const MOST_DAMPS = 12;

/** Sums over rows of inputs (cols float32 each). */
export class Hessian {
  readonly cols: number;
  readonly #machine: Machine;
  readonly #packed: Piece;
  readonly #x: Piece;
  readonly #steps: Piece | undefined;
  readonly #magnitudes: Piece;
  readonly #squares: Piece;
  /** Absent where only means are wanted. */
  readonly #h: Piece | undefined;
  #waiting = 0;
  rows = 0;

  /** `matrix`: how, or false to sum magnitudes and squares alone. @throws CpmError "out-of-memory" */
  constructor(machine: Machine, cols: number, matrix: HessianForm | false = "float") {
    this.#machine = machine;
    this.cols = cols;
    this.#h = matrix ? machine.take("f64", cols * cols) : undefined;
    this.#packed = machine.take("u8", matrix ? machine.exports.hessian_packed_bytes(cols) : 0);
    this.#x = machine.take("f32", CHUNK_ROWS * cols);
    // One number for every column that is packed: they come in eights.
    this.#steps = matrix === "int16" ? machine.take("f64", Math.ceil(cols / 8) * 8) : undefined;
    this.#magnitudes = machine.take("f64", cols);
    this.#squares = machine.take("f64", cols);
  }

  /** Adds rows that lie at `at` in the memory. @throws CpmError "bad-input" for inputs that are not finite. */
  async addAt(at: number, rows: number): Promise<void> {
    const { exports } = this.#machine;
    for (let from = 0; from < rows; from += CHUNK_ROWS) {
      const count = Math.min(CHUNK_ROWS, rows - from);
      const x = at + 4 * from * this.cols;
      if (exports.column_sums(x, count, this.cols, this.#magnitudes.at, this.#squares.at) !== 0)
        throw new CpmError("bad-input", "calibration: a hidden state is not a finite number; the model's weights are damaged");
      if (this.#h) await this.#machine.run("hessian_add", this.#h.at, x, this.#packed.at, this.#steps?.at ?? 0, count, this.cols);
      this.rows += count;
    }
  }

  /** Adds some of the rows that lie at `at`. They wait until there are enough for one call, or for `settle`. */
  async addSome(at: number, rows: Iterable<number>): Promise<void> {
    const bytes = 4 * this.cols;
    const { memory } = this.#machine.arena;
    for (const row of rows) {
      const from = at + bytes * row;
      new Uint8Array(memory.buffer).copyWithin(this.#x.at + bytes * this.#waiting, from, from + bytes);
      if (++this.#waiting === CHUNK_ROWS) await this.settle();
    }
  }

  /** Adds what waits. */
  async settle(): Promise<void> {
    const count = this.#waiting;
    this.#waiting = 0;
    await this.addAt(this.#x.at, count);
  }

  /** Adds rows of an array. */
  async add(x: Float32Array): Promise<void> {
    const step = CHUNK_ROWS * this.cols;
    for (let at = 0; at < x.length; at += step) {
      const part = x.subarray(at, at + step);
      this.#machine.f32(this.#x.at, part.length).set(part);
      await this.addAt(this.#x.at, part.length / this.cols);
    }
  }

  /** Mean |x| per column. */
  meanAbs(): Float64Array {
    return this.#machine.f64(this.#magnitudes.at, this.cols).map((v) => v / Math.max(1, this.rows));
  }

  /** Mean x^2 per column: llama.cpp's importance. */
  importance(): Float64Array {
    return this.#machine.f64(this.#squares.at, this.cols).map((v) => v / Math.max(1, this.rows));
  }

  /** H with its diagonal apart, not solved yet; the sums are over. `dead`: inputs that were always 0. */
  finish(): { h: Piece; diag: Piece; dead: Piece; unused: number } {
    const machine = this.#machine;
    if (!this.#h) throw new CpmError("engine-failed", "this Hessian has no matrix");
    const diag = machine.take("f64", this.cols);
    const dead = machine.take("u8", this.cols);
    const unused = machine.exports.hessian_finish(this.#h.at, this.cols, 2 / Math.max(1, this.rows), diag.at, dead.at);
    return { h: this.#h, diag, dead, unused };
  }

  /** Gives back what `finish` did not hand out. */
  end(finished: boolean): void {
    this.#machine.free(this.#packed, this.#x, this.#steps, this.#magnitudes, this.#squares, finished ? undefined : this.#h);
  }
}

/**
 * The inverse that error feedback needs, for columns as they are or by falling diagonal (`actOrder`). `damp`: share of the mean diagonal
 * that is added to it; tenfold as often as it takes. @throws CpmError "bad-input" when no damping helps.
 */
export async function solved(
  machine: Machine,
  cols: number,
  { h, diag, dead }: { h: Piece; diag: Piece; dead: Piece },
  { damp = 0.01, actOrder = false }: { damp?: number; actOrder?: boolean } = {},
): Promise<Inputs> {
  const order = machine.take("i32", cols);
  const values = machine.f64(diag.at, cols).slice();
  const columns = Int32Array.from({ length: cols }, (_, i) => i);
  if (actOrder) columns.sort((a, b) => values[b]! - values[a]! || a - b);
  // The last column comes first: see cpp/quantise/solve.h.
  machine.i32(order.at, cols).set(columns.reverse());
  const mean = values.reduce((a, b) => a + b, 0) / cols;
  return await machine.scope(async (take) => {
    const scratch = take("u8", machine.exports.solve_scratch_bytes(cols));
    for (let i = 0; i < MOST_DAMPS; i++, damp *= 10)
      if ((await machine.run("solve", h.at, diag.at, order.at, scratch.at, cols, damp * mean)) === 0)
        return { h, diag, dead, order, damp };
    throw new CpmError("bad-input", `calibration: the inputs' correlations of ${cols} columns cannot be inverted`, {
      field: "calibration",
    });
  });
}
