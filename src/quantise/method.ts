// What is done with each matrix: the methods by name, and one matrix quantised by one of them.
import { copyOf } from "../brands.ts";
import { TENSOR_TYPES } from "../file/tensor.ts";
import { FILE_TYPES } from "../wasm/abi.ts";
import {
  type BlockType,
  blocksError,
  type Coded,
  encode,
  freeCoded,
  GRID_TOPS,
  gptq,
  gridInt4,
  type Inputs,
  type Matrix,
  meanOne,
  roundCodes,
  takeCoded,
  ternary,
  ternaryGroup,
} from "./linear.ts";
import type { Machine } from "./module.ts";
import type { PlainCodes } from "./packing.ts";

/**
 * "rtn" rounds on the grid of the extremes; "search" finds the grid of least squared error, weighted by importance where calibration or an
 * importance matrix is there; "gptq" adds error feedback, "p-gptq" leaves the first positions out of it; "awq" smooths inputs first.
 */
export const METHODS = ["rtn", "search", "gptq", "p-gptq", "awq", "awq+gptq", "awq+p-gptq"] as const;
export type Method = (typeof METHODS)[number];

export const smooths = (method: Method): boolean => method.startsWith("awq");
export const feedsBack = (method: Method): boolean => method.includes("gptq");
export const skipsFirst = (method: Method): boolean => method.includes("p-gptq");

/** What a matrix becomes: blocks of a GGUF type, or codes of the symmetric int4 grid. */
export type Form = { readonly blocks: BlockType } | { readonly int4: number };

/** What is known of the inputs of a matrix. */
export interface Knowledge {
  /** Mean x^2 per column. */
  readonly importance?: ArrayLike<number> | undefined;
  /** For error feedback. */
  readonly inputs?: Inputs | undefined;
  /** diag H, which weights the grid of error feedback: twice the importance. */
  readonly search: boolean;
}

export interface Quantised {
  /** Of blocks. */
  readonly bytes?: Uint8Array<ArrayBuffer>;
  readonly codes?: PlainCodes;
  /** Squared error over the sum of squares. */
  readonly relativeError: number;
  /** With error feedback: mean squared error of the output over the calibration rows, in the damped metric. */
  readonly loss?: number | undefined;
  /** "ternary" weights were exact; else what was done. */
  readonly how: "rounded" | "searched" | "weighted" | "feedback" | "exact" | "copied";
}

/** Elements handled between two turns of the event loop. */
const SLICE = 1 << 20;

/**
 * Quantises `w`, and leaves in its place the values that the result stands for, when `replace` is set.
 * Throws "out-of-memory", and "bad-option" for a group that does not divide the columns.
 */
export async function quantiseMatrix(
  machine: Machine,
  w: Matrix,
  form: Form,
  known: Knowledge,
  replace: boolean,
): Promise<Quantised> {
  return "blocks" in form
    ? await toBlocks(machine, w, form.blocks, known, replace)
    : await toInt4(machine, w, form.int4, known, replace);
}

async function toBlocks(machine: Machine, w: Matrix, type: BlockType, known: Knowledge, replace: boolean): Promise<Quantised> {
  const { block, bytes } = TENSOR_TYPES[type];
  const size = ((w.rows * w.cols) / block) * bytes;
  return await machine.scope(async (take) => {
    const out = take("u8", size);
    const weights = known.importance ? take("f64", w.cols) : undefined;
    if (weights) machine.f64(weights.at, w.cols).set(meanOne(known.importance!));
    const top = GRID_TOPS[type];
    const isTernary = type === "TQ1_0" || type === "TQ2_0";
    let how: Quantised["how"] = top === undefined || !known.search ? "rounded" : weights ? "weighted" : "searched";
    let loss: number | undefined;
    if (!isTernary) await encode(machine, w, type, known.search && top !== undefined, weights?.at ?? 0, out.at);
    if (isTernary || (known.inputs && top !== undefined)) {
      const group = machine.exports.quantise_grid_group(FILE_TYPES[type]);
      const coded = takeCoded(machine, w, group, top!);
      try {
        if (isTernary) {
          // Weights that were trained ternary stay what they are.
          const exact = ternaryGroup(machine, w, [group]) >= group && ternaryGroup(machine, w, [group]) % group === 0;
          await ternary(machine, w, coded, exact ? "exact" : known.search ? "fitted" : "absmean");
          how = exact ? "exact" : how;
        } else await machine.run("blocks_grid", FILE_TYPES[type], out.at, w.rows, w.cols, coded.scales.at, coded.zeros.at);
        if (known.inputs && how !== "exact") {
          loss = (await gptq(machine, w, coded, known.inputs)) / 2;
          how = "feedback";
        }
        const scales = isTernary ? coded.scales.at : 0;
        await machine.run("blocks_put", FILE_TYPES[type], coded.codes.at, scales, w.rows, w.cols, out.at);
      } finally {
        freeCoded(machine, coded);
      }
    }
    const { error, energy } = await blocksError(machine, w, type, out.at);
    const result = copyOf(machine.u8(out.at, size));
    if (replace)
      for (let from = 0; from < w.rows * w.cols; from += SLICE) {
        const count = Math.min(SLICE, w.rows * w.cols - from);
        machine.kernels.dequantize(FILE_TYPES[type], out.at + (from / block) * bytes, count / block, w.at + 4 * from);
        await machine.host.breathe();
      }
    return { bytes: result, relativeError: energy > 0 ? error / energy : 0, loss, how };
  });
}

async function toInt4(machine: Machine, w: Matrix, group: number, known: Knowledge, replace: boolean): Promise<Quantised> {
  const coded = takeCoded(machine, w, group, 15);
  try {
    await machine.scope(async (take) => {
      const weights = known.importance ? take("f64", w.cols) : undefined;
      if (weights) machine.f64(weights.at, w.cols).set(Float64Array.from(known.importance!, (v) => 2 * v));
      await gridInt4(machine, w, coded, { symmetric: true, search: known.search, weights: weights?.at ?? 0 });
    });
    let loss: number | undefined;
    if (known.inputs) loss = (await gptq(machine, w, coded, known.inputs)) / 2;
    else await roundCodes(machine, w, coded);
    const how = known.inputs ? "feedback" : !known.search ? "rounded" : known.importance ? "weighted" : "searched";
    const { error, energy } = await valuesOf(machine, w, coded, replace);
    const groups = (w.rows * w.cols) / group;
    const codes = {
      rows: w.rows,
      cols: w.cols,
      group,
      codes: copyOf(machine.u8(coded.codes.at, w.rows * w.cols)),
      scales: Float64Array.from(machine.f64(coded.scales.at, groups)),
      zeros: Float64Array.from(machine.f64(coded.zeros.at, groups)),
    };
    return { codes, relativeError: energy > 0 ? error / energy : 0, loss, how };
  } finally {
    freeCoded(machine, coded);
  }
}

/** Squared error of codes, and their values in the place of the weights. */
async function valuesOf(machine: Machine, w: Matrix, c: Coded, replace: boolean): Promise<{ error: number; energy: number }> {
  let [error, energy] = [0, 0];
  const rows = Math.max(1, Math.floor(SLICE / w.cols));
  for (let from = 0; from < w.rows; from += rows) {
    const some = Math.min(rows, w.rows - from);
    const values = machine.f32(w.at + 4 * from * w.cols, some * w.cols);
    const codes = machine.u8(c.codes.at + from * w.cols, some * w.cols);
    const first = (from * w.cols) / c.group;
    const scales = machine.f64(c.scales.at + 8 * first, (some * w.cols) / c.group);
    const zeros = machine.f64(c.zeros.at + 8 * first, (some * w.cols) / c.group);
    for (let g = 0; g < scales.length; g++) {
      const [s, z] = [scales[g]!, zeros[g]!];
      for (let i = g * c.group; i < (g + 1) * c.group; i++) {
        const [x, value] = [values[i]!, s * (codes[i]! - z)];
        error += (x - value) ** 2;
        energy += x * x;
        if (replace) values[i] = value;
      }
    }
    await machine.host.breathe();
  }
  return { error, energy };
}
