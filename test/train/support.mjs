// What the scripts of this folder share: machines on modules as committed, shapes from the definition's configurations, safetensors.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Machine } from "../../dist/train/machine.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const modules = new Map();
const module = (name) => {
  if (!modules.has(name)) modules.set(name, WebAssembly.compile(readFileSync(`${root}wasm/${name}.wasm`)));
  return modules.get(name);
};

let variant = "base";
/** Which build float32 machines run from now on: "base", or "relaxed" (fused multiply-adds; Node 26). */
export const useVariant = (name) => {
  variant = name;
};

/** A machine: "float32" or "float64" numbers; more than one thread, and fused multiply-adds, start workers. */
export async function machineOf(real = "float32", threads = 1, options = {}) {
  if (real === "float64") return await Machine.create({ module: await module("train.float64"), shared: false, threads: 1 });
  if (threads === 1 && variant === "base")
    return await Machine.create({ module: await module("train"), shared: false, threads: 1, ...options });
  const { openTrainingMachine } = await import("../../dist/host/train.node.js");
  return await openTrainingMachine({ threads, variant, ...options });
}

/** TrainShape of a configuration as minicpm4.py has it. */
export function shapeOf(c, tied) {
  return {
    layers: c.n_layers,
    hidden: c.hidden,
    intermediate: c.intermediate,
    heads: c.n_heads,
    kvHeads: c.n_kv_heads,
    headDim: c.head_dim,
    vocab: c.vocab,
    rmsEps: c.rms_eps ?? 1e-5,
    ropeTheta: c.rope_theta ?? 10000,
    ropeFactors: c.rope_factors ?? undefined,
    ropeScale: c.rope_mscale ?? 1,
    embeddingScale: c.scale_emb ?? 12,
    residualScale: (c.scale_depth ?? 1.4) / Math.sqrt(c.n_layers),
    headResidualScale: (c.scale_depth ?? 1.4) / Math.sqrt(c.n_layers + 1),
    logitScale: (c.dim_model_base ?? 256) / c.hidden,
    tied: Boolean(tied),
    width: c.hidden / (c.dim_model_base ?? 256),
    sparse: c.sparse
      ? {
          kernelSize: c.sparse.kernel_size,
          kernelStride: c.sparse.kernel_stride,
          blockSize: c.sparse.block_size,
          initBlocks: c.sparse.init_blocks,
          windowSize: c.sparse.window_size,
          topk: c.sparse.topk,
          denseLen: c.sparse.dense_len,
          exactLse: c.sparse.exact_lse,
        }
      : undefined,
  };
}

const ARRAYS = { F32: Float32Array, F64: Float64Array, I32: Int32Array };

/** Tensors of a safetensors file by name: { shape, data }. */
export function readTensors(path) {
  const raw = readFileSync(path);
  const length = Number(raw.readBigUInt64LE(0));
  const header = JSON.parse(raw.subarray(8, 8 + length).toString());
  return Object.fromEntries(
    Object.entries(header)
      .filter(([name]) => name !== "__metadata__")
      .map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [begin, end],
          },
        ]) => {
          const bytes = raw.buffer.slice(raw.byteOffset + 8 + length + begin, raw.byteOffset + 8 + length + end);
          return [name, { shape, data: new ARRAYS[dtype](bytes) }];
        },
      ),
  );
}
