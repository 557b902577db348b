// Sparse attention (InfLLM v2): its configuration, out of a model file and out of options, checked against what the kernels run.
import { CpmError } from "../errors.ts";
import { shown } from "../shown.ts";
import type { ModelConfig } from "./config.ts";

/** What each query attends to once a sequence is `denseLen` tokens long. Source: InfLLM-V2 (arXiv 2509.24663). */
export interface SparseConfig {
  /** Keys that one compressed key is the mean of. */
  readonly kernelSize: number;
  /** Distance of their starts, in tokens. */
  readonly kernelStride: number;
  /** Tokens of a block. */
  readonly blockSize: number;
  /** Blocks at the start that every query attends to. */
  readonly initBlocks: number;
  /** Tokens of the local window, a multiple of blockSize. */
  readonly windowSize: number;
  /** Blocks attended to beside the local window; the init blocks count towards it. */
  readonly topk: number;
  /** Sequences shorter than this attend densely. */
  readonly denseLen: number;
  /** Exact log-sum-exp; false: over keys compressed four times as much, which needs fewer of them. */
  readonly exactLse: boolean;
}

/** true: the model's own configuration, or the published one; false: dense; single fields override. */
export type SparseOption = boolean | Partial<SparseConfig>;

/** The published defaults. */
export const PUBLISHED_SPARSE: SparseConfig = {
  kernelSize: 32,
  kernelStride: 16,
  blockSize: 64,
  initBlocks: 1,
  windowSize: 2048,
  topk: 64,
  denseLen: 8192,
  exactLse: true,
};

/** Fields by their names in sparse_config and in GGUF keys. */
export const SPARSE_NAMES = {
  kernelSize: "kernel_size",
  kernelStride: "kernel_stride",
  blockSize: "block_size",
  initBlocks: "init_blocks",
  windowSize: "window_size",
  topk: "topk",
  denseLen: "dense_len",
  exactLse: "exact_lse",
} as const satisfies Record<keyof SparseConfig, string>;

const FIELDS = Object.keys(SPARSE_NAMES) as (keyof SparseConfig)[];
const MOST = 1 << 24;

function refuse(code: "bad-option" | "bad-model", field: string, expected: string, found: unknown): never {
  throw new CpmError(code, `${field}: expected ${expected}, found ${shown(found)}`, { field, expected, found: shown(found) });
}

/** The configuration that a model file carries, in our names; undefined when it carries none. */
function ofFile(raw: ModelConfig["sparse"]): SparseConfig | undefined {
  if (!raw) return undefined;
  if (raw["use_nope"])
    throw new CpmError(
      "unsupported",
      "sparse_config.use_nope: choosing blocks by keys without positions is not supported; load with sparse: false to attend densely",
      { field: "sparse_config.use_nope" },
    );
  const merged: Record<string, unknown> = { ...PUBLISHED_SPARSE };
  for (const field of FIELDS) if (raw[SPARSE_NAMES[field]] !== undefined) merged[field] = raw[SPARSE_NAMES[field]];
  // The published files write -1 for "always".
  if (merged["denseLen"] === -1) merged["denseLen"] = 0;
  return checkSparse(merged, "bad-model", (field) => `sparse_config.${SPARSE_NAMES[field]}`);
}

/** Refuses what the kernels cannot run, naming the field. */
function checkSparse(
  raw: Readonly<Record<string, unknown>>,
  code: "bad-option" | "bad-model",
  name: (field: keyof SparseConfig) => string,
): SparseConfig {
  const least = { kernelSize: 1, kernelStride: 1, blockSize: 1, initBlocks: 0, windowSize: 1, topk: 0, denseLen: 0 };
  for (const [field, low] of Object.entries(least) as [keyof typeof least, number][]) {
    const value = raw[field];
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < low || value > MOST)
      refuse(code, name(field), `a whole number from ${low} to ${MOST}`, value);
  }
  if (typeof raw["exactLse"] !== "boolean") refuse(code, name("exactLse"), "true or false", raw["exactLse"]);
  const c = raw as unknown as SparseConfig;
  const multiple = (field: keyof SparseConfig, of: number, what: string) => {
    if ((c[field] as number) % of) refuse(code, name(field), `a multiple of ${what} (${of})`, c[field]);
  };
  multiple("kernelSize", c.kernelStride, "the kernel stride");
  multiple("blockSize", c.kernelStride, "the kernel stride");
  multiple("windowSize", c.blockSize, "the block size");
  if (c.blockSize % 32 && 32 % c.blockSize) refuse(code, name("blockSize"), "a multiple or a divisor of 32", c.blockSize);
  return c;
}

/**
 * What a model runs with: `option`, over the model's own configuration, over the published one. Undefined: dense.
 * Throws "bad-option" or "bad-model" for what does not fit together, "unsupported" for use_nope.
 */
export function resolveSparse(file: ModelConfig["sparse"], option: SparseOption | undefined): SparseConfig | undefined {
  if (option === false) return undefined;
  const own = ofFile(file);
  if (option === undefined) return own;
  const base = own ?? PUBLISHED_SPARSE;
  if (option === true) return base;
  const given = Object.fromEntries(Object.entries(option).filter(([, value]) => value !== undefined));
  return checkSparse({ ...base, ...given }, "bad-option", (field) => `sparse.${field}`);
}

/** The ints of struct Sparse in cpp/abi.h. A context that never gets as long as denseLen needs none. */
export function sparseWords(sparse: SparseConfig | undefined, contextSize: number): number[] {
  if (!sparse || contextSize < sparse.denseLen) return [0, 0, 0, 0, 0, 0, 0, 0];
  const { kernelSize, kernelStride, blockSize, initBlocks, windowSize, topk, denseLen, exactLse } = sparse;
  return [
    kernelSize,
    kernelStride,
    blockSize,
    initBlocks,
    windowSize / blockSize,
    Math.max(0, topk - initBlocks),
    denseLen,
    exactLse ? 0 : 1,
  ];
}
