// One weight matrix in memory: grids, codes, error feedback, blocks. Everything here works on addresses of a Machine.
import { CpmError } from "../errors.ts";
import { FILE_TYPES } from "../wasm/abi.ts";
import type { Machine, Piece } from "./module.ts";

/** A matrix (rows, cols) float32 at `at`; `factor`: float64 per column that it is multiplied by, 0 for none. */
export interface Matrix {
  readonly at: number;
  readonly rows: number;
  readonly cols: number;
  readonly factor?: number;
}

/** (S, Z) float64 of (rows, cols / group) and codes (rows, cols): value = S * (code - Z). */
export interface Coded {
  readonly group: number;
  readonly top: number;
  readonly scales: Piece;
  readonly zeros: Piece;
  readonly codes: Piece;
}

/** What is known of a linear's inputs: see Hessian. `weights`: per column, float64. */
export interface Inputs {
  /** (cols, cols): H in the strict upper triangle, the solved inverse in the rest. */
  readonly h: Piece;
  readonly diag: Piece;
  readonly order: Piece;
  readonly dead: Piece;
  readonly damp: number;
}

export type TernaryFit = "absmean" | "fitted" | "exact";
const FITS = { absmean: 0, fitted: 1, exact: 2 } as const;

export function takeCoded(machine: Machine, { rows, cols }: Matrix, group: number, top: number): Coded {
  if (group < 1 || cols % group)
    throw new CpmError("bad-option", `group: rows of ${cols} cannot be cut into groups of ${group}`, {
      field: "group",
      expected: `a divisor of ${cols}`,
      found: String(group),
    });
  const count = (rows * cols) / group;
  return {
    group,
    top,
    scales: machine.take("f64", count),
    zeros: machine.take("f64", count),
    codes: machine.take("u8", rows * cols),
  };
}

export const freeCoded = (machine: Machine, c: Coded): void => machine.free(c.codes, c.zeros, c.scales);

/** The int4 grid: see grid_row in cpp/quantise/grid.h. `weights`: address of float64 per column, 0 for 1. */
export async function gridInt4(
  machine: Machine,
  w: Matrix,
  coded: Coded,
  options: { symmetric: boolean; search: boolean; weights: number },
): Promise<void> {
  await machine.run(
    "grid_int4",
    w.at,
    w.factor ?? 0,
    w.rows,
    w.cols,
    coded.group,
    options.symmetric ? 1 : 0,
    options.search ? 1 : 0,
    options.weights,
    coded.scales.at,
    coded.zeros.at,
  );
}

/** Codes by rounding. */
export async function roundCodes(machine: Machine, w: Matrix, c: Coded): Promise<void> {
  await machine.run("grid_codes", w.at, w.factor ?? 0, w.rows, w.cols, c.group, c.top, c.scales.at, c.zeros.at, c.codes.at);
}

/** Ternary scales and codes (t + 1) of groups. */
export async function ternary(machine: Machine, w: Matrix, c: Coded, fit: TernaryFit): Promise<void> {
  const { scales, zeros, codes, group } = c;
  await machine.run("grid_ternary", w.at, w.factor ?? 0, w.rows, w.cols, group, FITS[fit], scales.at, zeros.at, codes.at);
}

/** Largest of these groups within which all magnitudes but 0 are equal; 0 where the matrix is not ternary. */
export function ternaryGroup(machine: Machine, w: Matrix, sizes: readonly number[] = [32, 64, 128, 256]): number {
  const fits = [...sizes.filter((size) => w.cols % size === 0), w.cols];
  return Math.max(0, ...fits.filter((size) => machine.exports.ternary_group(w.at, w.rows, w.cols, size) === 1));
}

/** Codes by error feedback over the columns in `inputs.order`; the sum of squared errors in the damped metric. */
export async function gptq(machine: Machine, w: Matrix, c: Coded, inputs: Inputs): Promise<number> {
  return await machine.scope(async (take) => {
    const losses = take("f64", w.rows);
    const scratch = take("u8", machine.exports.gptq_scratch_bytes(w.cols, machine.lanes));
    const { h, order, dead } = inputs;
    await machine.run(
      "gptq",
      w.at,
      w.factor ?? 0,
      w.rows,
      w.cols,
      h.at,
      order.at,
      dead.at,
      c.group,
      c.top,
      c.scales.at,
      c.zeros.at,
      c.codes.at,
      losses.at,
      scratch.at,
    );
    return total(machine.f64(losses.at, w.rows));
  });
}

/** Mean over positions of the squared error of the output: tr(d H d^T) / 2. Without codes: of the whole output. */
export async function outputLoss(
  machine: Machine,
  w: Matrix,
  inputs: Pick<Inputs, "h" | "diag">,
  c?: Coded | undefined,
): Promise<number> {
  return await machine.scope(async (take) => {
    const losses = take("f64", w.rows);
    const scratch = take("u8", machine.exports.loss_scratch_bytes(w.cols, machine.lanes));
    const { h, diag } = inputs;
    const coded = c ? ([c.group, c.scales.at, c.zeros.at, c.codes.at] as const) : ([1, 0, 0, 0] as const);
    await machine.run("output_loss", w.at, w.factor ?? 0, w.rows, w.cols, h.at, diag.at, ...coded, losses.at, scratch.at);
    return total(machine.f64(losses.at, w.rows));
  });
}

/** Rows as blocks of a GGUF type at `out`. `weights`: float64 per column of mean 1, 0 for none. */
export async function encode(
  machine: Machine,
  w: Matrix,
  type: BlockType,
  searched: boolean,
  weights: number,
  out: number,
): Promise<void> {
  await machine.run("encode_rows", FILE_TYPES[type], w.at, w.factor ?? 0, w.rows, w.cols, weights, searched ? 1 : 0, out);
}

/** Types that are written. */
export type BlockType = "F32" | "F16" | "BF16" | "Q4_0" | "Q4_1" | "Q8_0" | "Q4_K" | "Q5_K" | "Q6_K" | "TQ1_0" | "TQ2_0";

/** Largest codes of types that have a static grid. */
export const GRID_TOPS: Readonly<Partial<Record<BlockType, number>>> = {
  Q4_0: 15,
  Q4_1: 15,
  Q4_K: 15,
  Q5_K: 31,
  Q6_K: 63,
  TQ1_0: 2,
  TQ2_0: 2,
};

/** Squared error of encoded rows, and of the rows themselves; weighted where weights are given. */
export async function blocksError(
  machine: Machine,
  w: Matrix,
  type: BlockType,
  blocks: number,
  weights = 0,
): Promise<{ error: number; energy: number }> {
  return await machine.scope(async (take) => {
    const sums = take("f64", 2 * w.rows);
    await machine.run("blocks_error", FILE_TYPES[type], w.at, w.rows, w.cols, weights, blocks, sums.at);
    const values = machine.f64(sums.at, 2 * w.rows);
    let [error, energy] = [0, 0];
    for (let i = 0; i < values.length; i += 2) {
      error += values[i]!;
      energy += values[i + 1]!;
    }
    return { error, energy };
  });
}

/** Importance as the block searches take it: float64 per column, scaled to mean 1, never 0. */
export function meanOne(values: ArrayLike<number>): Float64Array {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  const mean = Math.max(sum / values.length, 1e-300);
  return Float64Array.from(values, (v) => v / mean + 1e-12);
}

export function total(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}
