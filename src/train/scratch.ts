// Models that begin with random numbers: a configuration, a tokenizer's files, weights from a seed.

import { tokenizerFiles } from "../convert/tokenizerfiles.ts";
import { CpmError } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import type { ModelFile } from "../model/config.ts";
import { Fields, LIMITS } from "../model/fields.ts";
import { readModel, readTokenizer } from "../model/read.ts";
import type { TokenizerData } from "../text/vocabulary.ts";
import { companions, type ExportTensor, type FolderParts, folderFiles } from "./folder.ts";
import { countOf, modelTensors, type TrainShape } from "./shape.ts";

/** Numbers in [0, 1) from a seed: SplitMix32 (Steele, Lea and Flood 2014, in 32 bits). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return ((x ^ (x >>> 15)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal numbers from a seed (Box and Muller). */
export function normal(seed: number): () => number {
  const next = uniform(seed);
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

/** A tokenizer, and the files of a folder that say it. */
export interface TokenizerParts {
  readonly tokenizer: TokenizerData;
  readonly files: FolderParts["files"];
}

/** The tokenizer of a model, of a GGUF without tensors, or of a tokenizer.json or tokenizer.model. Throws as readTokenizer does. */
export async function tokenizerParts(files: ModelFiles, signal?: AbortSignal): Promise<TokenizerParts> {
  const { tokenizer, metadata } = await readTokenizer(files, signal);
  if (Object.hasOwn(metadata, "tokenizer.ggml.tokens")) {
    const pad = metadata["tokenizer.ggml.padding_token_id"];
    return { tokenizer, files: tokenizerFiles(tokenizer, typeof pad === "number" ? pad : undefined) };
  }
  const found: Record<string, Uint8Array> = { ...(await companions(files, signal)) };
  const own = await files.open(files.entry, signal);
  // A file by itself may be called anything.
  const name = files.entry.endsWith(".model") ? "tokenizer.model" : "tokenizer.json";
  if (own && /\.(?:json|model)$/.test(files.entry) && files.entry !== "config.json")
    found[name] = await own.read(0, own.size, signal);
  return { tokenizer, files: found };
}

export interface ScratchModel {
  readonly model: ModelFile;
  readonly parts: FolderParts;
}

/**
 * A model that does not exist yet, as a reader of folders sees it: `config` has config.json's fields (`vocab_size` may be left out: the
 * tokenizer's size). Weights are zeros. Rejects with CpmError "bad-option" that names the field, or "unsupported", for configurations that
 * are none.
 */
export async function scratchModel(
  config: Readonly<Record<string, unknown>>,
  tokenizer: TokenizerParts,
  size: number,
  signal?: AbortSignal,
): Promise<ScratchModel> {
  try {
    return await readScratch(config, tokenizer, size, signal);
  } catch (error) {
    if (!(error instanceof CpmError) || error.code !== "bad-model") throw error;
    // Readers speak of damaged files; here a caller wrote the numbers.
    const { field, expected, found } = error.detail;
    const where = ["model.config", field].filter(Boolean).join(".");
    const facts = [expected && `expected ${expected}`, found && `found ${found}`].filter(Boolean).join(", ");
    throw new CpmError("bad-option", `${where}: ${facts || error.message}`, { ...error.detail, field: where }, { cause: error });
  }
}

async function readScratch(
  config: Readonly<Record<string, unknown>>,
  tokenizer: TokenizerParts,
  size: number,
  signal?: AbortSignal,
): Promise<ScratchModel> {
  const { bos, stop } = tokenizer.tokenizer;
  const full: Record<string, unknown> = {
    architectures: [config["model_type"] === "llama" ? "LlamaForCausalLM" : "MiniCPMForCausalLM"],
    model_type: "minicpm",
    vocab_size: size,
    ...(bos === undefined ? {} : { bos_token_id: bos }),
    ...(stop.length > 0 ? { eos_token_id: stop.length === 1 ? stop[0] : stop } : {}),
    hidden_act: "silu",
    ...config,
  };
  const f = new Fields("config", (key) => (Object.hasOwn(full, key) ? full[key] : undefined));
  const hidden = f.count("hidden_size", 1, LIMITS.hidden);
  const heads = f.count("num_attention_heads", 1, LIMITS.heads);
  const sizes = {
    layers: f.count("num_hidden_layers", 1, LIMITS.layers),
    hidden,
    intermediate: f.count("intermediate_size", 1, LIMITS.inner),
    heads,
    kvHeads: f.count("num_key_value_heads", 1, heads, heads),
    headDim: f.count("head_dim", 2, LIMITS.headDim, hidden % heads ? undefined : hidden / heads),
    vocab: f.count("vocab_size", 1, LIMITS.vocab),
    tied: f.flag("tie_word_embeddings", false),
  };
  full["tie_word_embeddings"] = sizes.tied;
  const most = 2 ** 40;
  const tensors = modelTensors(sizes as TrainShape).map(
    (t): ExportTensor => ({ ...t, read: (_, count) => new Float32Array(count) }),
  );
  if (tensors.reduce((sum, t) => sum + countOf(t), 0) > most)
    throw new CpmError("unsupported", "model.config: more numbers than any machine here can train", { field: "model.config" });
  const parts = { config: full, files: tokenizer.files };
  return { parts, model: await readModel(folderFiles(parts, tensors), signal) };
}
