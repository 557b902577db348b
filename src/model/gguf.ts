// A GGUF container -> a model. Keys and defaults as llama.cpp writes and reads them.
import { CpmError } from "../errors.ts";
import type { Gguf } from "../file/gguf.ts";
import type { GgufValue } from "../file/metadata.ts";
import type { FileTensor } from "../file/tensor.ts";
import type { PieceVocabulary, TokenizerData } from "../text/vocabulary.ts";
import type { LayerFiles, ModelConfig, ModelFile, WeightFile } from "./config.ts";
import { Fields, LIMITS } from "./fields.ts";
import { attentionFactor } from "./longrope.ts";
import { linearShapes, readFloats, TensorTable } from "./shapes.ts";

type Metadata = ReadonlyMap<string, GgufValue>;

/** Understands a GGUF. Throws "unsupported" for other architectures and "bad-model" for what contradicts itself. */
export async function modelOfGguf(file: string, gguf: Gguf, signal?: AbortSignal): Promise<ModelFile> {
  const fields = new Fields(file, (key) => gguf.metadata.get(key));
  const architecture =
    fields.text("general.architecture") ?? fields.fail("general.architecture", '"minicpm" or "llama"', undefined);
  if (architecture !== "minicpm" && architecture !== "llama")
    throw new CpmError(
      "unsupported",
      `${file}: general.architecture: "${architecture}" is not supported; this runtime runs "minicpm" (MiniCPM4, BitCPM4) and "llama" (MiniCPM5, llamas)`,
      { file, field: "general.architecture", found: architecture },
    );
  const tokenizer = tokenizerOfGguf(file, gguf.metadata);
  const table = new TensorTable(file, new Map(gguf.tensors.map((t) => [t.name, t])));
  const config = await readConfig(fields, architecture, table, tokenizer, signal);
  refuseExtras(file, gguf.tensors);
  const { hidden, heads, kvHeads, vocab } = config;
  const shapes = linearShapes(config);
  const plain = (name: string, shape: readonly number[], ropeHeads = 0): WeightFile => ({
    kind: "plain",
    tensor: table.get(name, shape),
    ropeHeads,
  });
  const layers = Array.from({ length: config.layers }, (_, i): LayerFiles => {
    const b = `blk.${i}.`;
    return {
      attnNorm: table.get(`${b}attn_norm.weight`, [hidden]),
      q: plain(`${b}attn_q.weight`, shapes.q, heads),
      k: plain(`${b}attn_k.weight`, shapes.k, kvHeads),
      v: plain(`${b}attn_v.weight`, shapes.v),
      o: plain(`${b}attn_output.weight`, shapes.o),
      ffnNorm: table.get(`${b}ffn_norm.weight`, [hidden]),
      gate: plain(`${b}ffn_gate.weight`, shapes.gate),
      up: plain(`${b}ffn_up.weight`, shapes.up),
      down: plain(`${b}ffn_down.weight`, shapes.down),
    };
  });
  return {
    config,
    embedding: plain("token_embd.weight", [vocab, hidden]),
    norm: table.get("output_norm.weight", [hidden]),
    head: config.tied ? undefined : plain("output.weight", [vocab, hidden]),
    layers,
    tokenizer,
    metadata: Object.fromEntries(gguf.metadata),
    tensors: gguf.tensors,
    format: `GGUF v${gguf.version}`,
  };
}

/** Tensors that would change the result if they were ignored. */
function refuseExtras(file: string, tensors: readonly FileTensor[]): void {
  const extra = tensors.find(
    (t) =>
      /\.(bias|ffn_gate_inp|ffn_gate_exps|attn_q_norm|attn_k_norm|attn_qkv|ssm_|attn_kv_a)/.test(t.name) ||
      t.name.endsWith(".bias"),
  );
  if (extra)
    throw new CpmError("unsupported", `${file}: tensor ${extra.name}: biases, expert and q/k-norm layers are not supported`, {
      file,
      field: extra.name,
    });
}

async function readConfig(
  f: Fields,
  architecture: "minicpm" | "llama",
  table: TensorTable,
  tokenizer: TokenizerData,
  signal?: AbortSignal,
): Promise<ModelConfig> {
  const key = (name: string) => `${architecture}.${name}`;
  const layers = f.count(key("block_count"), 1, LIMITS.layers);
  const hidden = f.count(key("embedding_length"), 1, LIMITS.hidden);
  const heads = f.count(key("attention.head_count"), 1, LIMITS.heads);
  const kvHeads = f.count(key("attention.head_count_kv"), 1, heads, heads);
  if (heads % kvHeads) f.fail(key("attention.head_count_kv"), `a divisor of ${heads}`, kvHeads);
  const headDim =
    f.raw(key("attention.key_length")) === undefined ? hidden / heads : f.count(key("attention.key_length"), 2, LIMITS.headDim);
  if (!Number.isSafeInteger(headDim) || headDim % 2 || headDim < 2 || headDim > LIMITS.headDim)
    f.fail(key("attention.head_count"), "an even head size (embedding_length / head_count)", headDim);
  const valueDim = f.count(key("attention.value_length"), 2, LIMITS.headDim, headDim);
  if (valueDim !== headDim) f.fail(key("attention.value_length"), `${headDim}, as the keys`, valueDim);
  const turned = f.count(key("rope.dimension_count"), 2, LIMITS.headDim, headDim);
  if (turned !== headDim)
    throw new CpmError(
      "unsupported",
      `${f.file}: ${key("rope.dimension_count")}: partial rotation (${turned} of ${headDim}) is not supported`,
      { file: f.file, field: key("rope.dimension_count") },
    );
  const pieces = tokenizer.vocabulary.kind === "pieces" ? tokenizer.vocabulary.pieces.length : 0;
  const vocab = f.count(key("vocab_size"), 1, LIMITS.vocab, pieces);
  if (vocab !== pieces)
    f.fail(key("vocab_size"), `${pieces}, the number of tokenizer.ggml.tokens`, vocab, "vocabulary and tokenizer disagree");
  const minicpm = architecture === "minicpm";
  const contextLength = f.count(key("context_length"), 1, LIMITS.context);
  const logitScale = f.raw(key("logit_scale"));
  return {
    architecture,
    name: f.text("general.name") ?? f.file,
    layers,
    hidden,
    intermediate: f.count(key("feed_forward_length"), 1, LIMITS.inner),
    heads,
    kvHeads,
    headDim,
    vocab,
    contextLength,
    rmsEps: f.number(key("attention.layer_norm_rms_epsilon"), 1e-5),
    ropeTheta: f.number(key("rope.freq_base"), 10000),
    ...(await readRope(f, key, headDim, contextLength, table, signal)),
    embeddingScale: minicpm ? f.number(key("embedding_scale"), 12) : 1,
    residualScale: minicpm ? f.number(key("residual_scale"), 1.4 / Math.sqrt(layers)) : 1,
    // A stored logit_scale divides; files from before it was stored mean a factor of 256 / hidden.
    logitScale: !minicpm ? 1 : logitScale === undefined ? 256 / hidden : 1 / f.number(key("logit_scale")),
    tied: !table.has("output.weight"),
    sparse: readSparse(f, architecture),
  };
}

/** InfLLM v2 keys of this project, `<arch>.sparse.<name>` with the names of sparse_config; llama.cpp writes none. */
function readSparse(f: Fields, architecture: string): ModelConfig["sparse"] {
  const names = ["kernel_size", "kernel_stride", "block_size", "init_blocks", "window_size", "topk", "dense_len"];
  const found = names.flatMap((name) =>
    f.raw(`${architecture}.sparse.${name}`) === undefined
      ? []
      : [[name, f.count(`${architecture}.sparse.${name}`, 0, 1 << 30)] as const],
  );
  const exact =
    f.raw(`${architecture}.sparse.exact_lse`) === undefined
      ? []
      : [["exact_lse", f.flag(`${architecture}.sparse.exact_lse`, true)] as const];
  return found.length || exact.length ? Object.fromEntries([...found, ...exact]) : undefined;
}

async function readRope(
  f: Fields,
  key: (name: string) => string,
  headDim: number,
  contextLength: number,
  table: TensorTable,
  signal?: AbortSignal,
) {
  const kind = f.text(key("rope.scaling.type")) ?? "none";
  const factor = f.raw(key("rope.scaling.factor")) === undefined ? 1 : f.number(key("rope.scaling.factor"));
  if (kind !== "none" && kind !== "longrope" && kind !== "linear")
    throw new CpmError(
      "unsupported",
      `${f.file}: ${key("rope.scaling.type")}: "${kind}" is not supported; "none", "linear" and "longrope" are`,
      { file: f.file, field: key("rope.scaling.type"), found: kind },
    );
  const factors = async (name: string) => (table.has(name) ? readFloats(table.get(name, [headDim / 2]), signal) : undefined);
  const one = await factors("rope_freqs.weight");
  const linear = kind === "linear" && factor !== 1 ? new Float32Array(headDim / 2).fill(factor) : undefined;
  const original = f.count(key("rope.scaling.original_context_length"), 1, LIMITS.context, contextLength);
  return {
    ropeShort: (await factors("rope_factors_short.weight")) ?? one ?? linear,
    ropeLong: (await factors("rope_factors_long.weight")) ?? one ?? linear,
    ropeOriginalContext: original,
    ropeScale: f.number(key("rope.scaling.attn_factor"), kind === "longrope" ? attentionFactor(contextLength, original) : 1),
  };
}

/** The tokenizer of a GGUF, with or without tensors. */
export function tokenizerOfGguf(file: string, metadata: Metadata): TokenizerData {
  const f = new Fields(file, (key) => metadata.get(key));
  const key = (name: string) => `tokenizer.ggml.${name}`;
  const kind = f.text(key("model")) ?? f.fail(key("model"), '"llama" or "gpt2"', undefined);
  if (kind !== "llama" && kind !== "gpt2")
    throw new CpmError(
      "unsupported",
      `${file}: ${key("model")}: "${kind}" is not supported; "llama" (SentencePiece BPE) and "gpt2" (byte-level BPE) are`,
      { file, field: key("model"), found: kind },
    );
  const pieces = strings(f, key("tokens")) ?? f.fail(key("tokens"), "a list of pieces", undefined);
  if (pieces.length === 0 || pieces.length > LIMITS.vocab) f.fail(key("tokens"), `1 to ${LIMITS.vocab} pieces`, pieces.length);
  const scores = numbers(f, key("scores"), pieces.length);
  const types = numbers(f, key("token_type"), pieces.length);
  const merges = strings(f, key("merges"));
  if (kind === "gpt2" && !merges) f.fail(key("merges"), "a list of merges", undefined);
  if (kind === "llama" && !scores) f.fail(key("scores"), "a score for each piece", undefined);
  const vocabulary: PieceVocabulary = {
    kind: "pieces",
    model: kind === "llama" ? "spm" : "bpe",
    pieces,
    types: types ? Int32Array.from(types) : new Int32Array(pieces.length).fill(1),
    addSpacePrefix: f.flag(key("add_space_prefix"), kind === "llama"),
    ...(scores && kind === "llama" ? { scores: Float32Array.from(scores) } : {}),
    ...(kind === "gpt2" ? { merges: merges!, pre: f.text(key("pre")) ?? "default" } : {}),
  };
  const id = (name: string) => (f.raw(key(name)) === undefined ? undefined : f.count(key(name), 0, pieces.length - 1));
  const stop = [id("eos_token_id"), id("eot_token_id"), id("eom_token_id"), find(pieces, "<|im_end|>"), find(pieces, "</s>")];
  return {
    vocabulary,
    bos: id("bos_token_id"),
    stop: [...new Set(stop.filter((t) => t !== undefined))],
    unk: id("unknown_token_id"),
    addBos: f.flag(key("add_bos_token"), kind === "llama") && id("bos_token_id") !== undefined,
    addEos: f.flag(key("add_eos_token"), false),
    chatTemplate: f.text("tokenizer.chat_template"),
  };
}

const find = (pieces: readonly string[], piece: string): number | undefined => {
  const at = pieces.indexOf(piece);
  return at < 0 ? undefined : at;
};

function strings(f: Fields, key: string): readonly string[] | undefined {
  const value = f.raw(key);
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || (value.length > 0 && typeof value[0] !== "string")) f.fail(key, "a list of texts", value);
  return value as string[];
}

function numbers(f: Fields, key: string, length: number): ArrayLike<number> | undefined {
  const value = f.raw(key);
  if (value === undefined) return undefined;
  if (!(ArrayBuffer.isView(value) || Array.isArray(value))) f.fail(key, "a list of numbers", value);
  const list = value as ArrayLike<unknown>;
  if (list.length !== length) f.fail(key, `${length} values, one for each piece`, list.length);
  for (let i = 0; i < list.length; i++)
    if (typeof list[i] !== "number" || Number.isNaN(list[i])) f.fail(key, `a number for piece ${i}`, list[i]);
  return list as ArrayLike<number>;
}
