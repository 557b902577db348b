// What the training wing's tests share: machines on the modules as committed, small models, batches.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Batch } from "../../src/train/batch.ts";
import { Machine } from "../../src/train/machine.ts";
import type { TrainShape } from "../../src/train/shape.ts";

export const root = fileURLToPath(new URL("../../", import.meta.url));
const modules = new Map<string, Promise<WebAssembly.Module>>();

export async function machineOf(name: "train" | "train.float64" = "train", maxMemoryBytes?: number): Promise<Machine> {
  let module = modules.get(name);
  if (!module) {
    module = WebAssembly.compile(readFileSync(`${root}wasm/${name}.wasm`));
    modules.set(name, module);
  }
  return await Machine.create({ module: await module, shared: false, threads: 1, maxMemoryBytes });
}

/** Numbers in [0, 1) from a seed. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return ((x ^ (x >>> 15)) >>> 0) / 2 ** 32;
  };
}

/** Normal numbers (Box and Muller). */
export function normal(seed: number): () => number {
  const next = random(seed);
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

/** Sizes that no vector divides. */
export const SMALL: TrainShape = {
  layers: 2,
  hidden: 14,
  intermediate: 11,
  heads: 4,
  kvHeads: 2,
  headDim: 6,
  vocab: 19,
  rmsEps: 1e-5,
  ropeTheta: 10000,
  ropeFactors: [1, 1.5, 3],
  ropeScale: 1.05,
  embeddingScale: 3,
  residualScale: 0.9,
  headResidualScale: 0.8,
  logitScale: 0.6,
  tied: false,
  width: 2,
};

/** Rows with a whole document, a padded one, and two packed ones, by turns; some predictions do not count. */
export function batchOf(shape: TrainShape, rows: number, length: number, seed: number): Batch {
  const next = random(seed);
  const count = rows * length;
  const batch = {
    rows,
    length,
    tokens: new Int32Array(count),
    segments: new Int32Array(count).fill(-1),
    labels: new Int32Array(count).fill(-1),
    weights: new Float32Array(count),
  };
  for (let row = 0; row < rows; row++) {
    const cut = Math.floor(length * 0.6);
    const lengths = [[length], [length - 3], [cut, length - cut]][row % 3]!;
    let at = row * length;
    for (const [document, size] of lengths.entries()) {
      for (let i = 0; i < size; i++) {
        batch.tokens[at + i] = Math.floor(next() * shape.vocab);
        batch.segments[at + i] = document;
      }
      for (let i = 0; i < size - 1; i++) {
        batch.labels[at + i] = batch.tokens[at + i + 1]!;
        batch.weights[at + i] = next() < 0.8 ? [0.5, 1, 2][Math.floor(next() * 3)]! : 0;
      }
      at += size;
    }
  }
  return batch;
}
