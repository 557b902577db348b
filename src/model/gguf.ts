// A GGUF container -> a model. Keys and defaults as llama.cpp writes and reads them.
import { CpmError, modelError } from "../errors.ts";
import type { Gguf } from "../file/gguf.ts";
import { shown } from "../file/json.ts";
import type { GgufValue } from "../file/metadata.ts";
import type { Edges } from "../text/edges.ts";
import type { PieceVocabulary, TokenizerData } from "../text/vocabulary.ts";
import {
  type LayerFiles,
  LINEARS,
  type Linear,
  type ModelConfig,
  type ModelFile,
  type Traits,
  type VectorFile,
} from "./config.ts";
import { type Family, familyOfGguf } from "./families/index.ts";
import { Fields, LIMITS } from "./fields.ts";
import { eachLinear, fusedLinears, ggufNames, wantedVectors } from "./layers.ts";
import { attentionFactor } from "./longrope.ts";
import { type Rope, sameFactors, yarnFactors, yarnScale } from "./rope.ts";
import { linearShapes, readFloats, TensorTable } from "./shapes.ts";
import { stopTokens } from "./stops.ts";

type Metadata = ReadonlyMap<string, GgufValue>;

/** Understands a GGUF. Throws "unsupported" for other architectures and "bad-model" for what contradicts itself. */
export async function modelOfGguf(file: string, gguf: Gguf, signal?: AbortSignal): Promise<ModelFile> {
  const fields = new Fields(file, (key) => gguf.metadata.get(key));
  const architecture =
    fields.text("general.architecture") ?? fields.fail("general.architecture", 'a family\'s name, like "llama"', undefined);
  const family = familyOfGguf(file, architecture);
  const tokenizer = tokenizerOfGguf(file, gguf.metadata);
  const table = new TensorTable(file, new Map(gguf.tensors.map((t) => [t.name, t])));
  const config = await readConfig(fields, architecture, family, table, tokenizer, signal);
  const { hidden, heads, kvHeads, vocab } = config;
  const shapes = linearShapes(config);
  const wanted = wantedVectors(config, ggufNames);
  const plain = (name: string, shape: readonly number[], ropeHeads = 0) =>
    ({ kind: "plain", tensor: table.get(`${name}.weight`, shape), ropeHeads }) as const;
  // Rows of rotated heads, where the family's are interleaved.
  const rotated = (linear: Linear) => (family.interleaved ? (linear === "q" ? heads : linear === "k" ? kvHeads : 0) : 0);
  const layers = Array.from({ length: config.layers }, (_, i): LayerFiles => {
    const b = `blk.${i}.`;
    const get = (name: string, shape: readonly [number, number]) => plain(b + name, shape);
    const fused = family.fused && table.has(`${b}${ggufNames.qkv}.weight`);
    return {
      ...(fused
        ? fusedLinears(config, ggufNames, get)
        : eachLinear((l) => plain(b + ggufNames.linears[l], shapes[l], rotated(l)))),
      vectors: Object.fromEntries(
        wanted.map((v) => [
          v.vector,
          { tensor: table.get(b + v.name, [v.length]), ropeHeads: family.interleaved ? v.heads : 0 } satisfies VectorFile,
        ]),
      ),
    };
  });
  const rest = {
    embedding: plain("token_embd", [vocab, hidden]),
    norm: { tensor: table.get("output_norm.weight", [hidden]) },
    head: config.tied ? undefined : plain("output", [vocab, hidden]),
  };
  // llama.cpp itself passes over the rotation angles that old converters stored.
  table.refuseUnused(/^blk\.\d+\.attn_rot_embd$/);
  return {
    config,
    ...rest,
    layers,
    tokenizer,
    metadata: Object.fromEntries(gguf.metadata),
    tensors: gguf.tensors,
    format: `GGUF v${gguf.version}`,
  };
}

async function readConfig(
  f: Fields,
  architecture: string,
  family: Family,
  table: TensorTable,
  tokenizer: TokenizerData,
  signal?: AbortSignal,
): Promise<ModelConfig> {
  const own = f.under(`${architecture}.`);
  if (own.raw("expert_count"))
    throw new CpmError("unsupported", `${f.file}: ${architecture}.expert_count: a mixture of experts is not supported`, {
      file: f.file,
      field: `${architecture}.expert_count`,
    });
  const layers = own.count("block_count", 1, LIMITS.layers);
  const hidden = own.count("embedding_length", 1, LIMITS.hidden);
  const heads = perLayer(own, "attention.head_count", layers).count(LIMITS.heads);
  const kvHeads = perLayer(own, "attention.head_count_kv", layers).count(heads, heads);
  if (heads % kvHeads) own.fail("attention.head_count_kv", `a divisor of ${heads}`, kvHeads);
  const headDim =
    own.raw("attention.key_length") === undefined ? hidden / heads : own.count("attention.key_length", 2, LIMITS.headDim);
  if (!Number.isSafeInteger(headDim) || headDim % 2 || headDim < 2 || headDim > LIMITS.headDim)
    own.fail("attention.head_count", "an even head size (embedding_length / head_count)", headDim);
  const valueDim = own.count("attention.value_length", 2, LIMITS.headDim, headDim);
  if (valueDim !== headDim) own.fail("attention.value_length", `${headDim}, as the keys`, valueDim);
  const turned = own.count("rope.dimension_count", 2, headDim, headDim);
  if (turned % 2) own.fail("rope.dimension_count", "an even number", turned);
  const pieces = tokenizer.vocabulary.kind === "pieces" ? tokenizer.vocabulary.pieces.length : 0;
  const contextLength = own.count("context_length", 1, LIMITS.context);
  const sizes = { layers, hidden, heads, kvHeads, headDim, contextLength };
  const rope = await readRope(own, turned, contextLength, table, signal);
  const said = family.gguf(own, sizes, rope);
  const biases = new Set([
    ...(said.traits?.biases ?? []),
    ...LINEARS.filter((l) => table.has(`blk.0.${ggufNames.linears[l]}.bias`)),
  ]);
  const byLength = architecture !== "minicpm" && !sameFactors(rope.ropeShort, rope.ropeLong);
  const traits: Traits = {
    ...(family.norms ? { norms: family.norms } : {}),
    ...(family.qkNorm ? { qkNorm: family.qkNorm } : {}),
    ...said.traits,
    ...(biases.size > 0 ? { biases: [...biases] } : {}),
    ...(turned === headDim ? {} : { ropeDim: turned }),
    ...(byLength ? { ropeByLength: true } : {}),
  };
  return {
    architecture,
    name: f.text("general.name") ?? f.file,
    ...sizes,
    intermediate: perLayer(own, "feed_forward_length", layers).count(LIMITS.inner),
    // The tokens decide, and the embedding is held to them; vocab_size is often left over from before tokens were added.
    vocab: pieces,
    rmsEps: own.number("attention.layer_norm_rms_epsilon"),
    ...rope,
    embeddingScale: said.embeddingScale ?? 1,
    residualScale: said.residualScale ?? 1,
    logitScale: said.logitScale ?? 1,
    tied: !table.has("output.weight"),
    sparse: readSparse(f, architecture),
    ...(Object.keys(traits).length > 0 ? { traits } : {}),
  };
}

/** A count that files give once, or once for each layer. Layers that differ are not supported. */
function perLayer(f: Fields, key: string, layers: number): { count(most: number, fallback?: number): number } {
  const value = f.raw(key);
  const list = Array.isArray(value) || ArrayBuffer.isView(value) ? (value as ArrayLike<unknown>) : undefined;
  if (list === undefined) return { count: (most, fallback) => f.count(key, 1, most, fallback) };
  if (list.length !== layers) f.fail(key, `one value, or ${layers}: one for each layer`, value);
  for (let i = 1; i < list.length; i++)
    if (list[i] !== list[0])
      throw new CpmError(
        "unsupported",
        `${f.file}: ${key}: layers of different shapes are not supported, found ${shown(value)}`,
        {
          file: f.file,
          field: key,
        },
      );
  const one = new Fields(f.file, () => list[0]);
  return { count: (most) => one.count(key, 1, most) };
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

async function readRope(f: Fields, dim: number, contextLength: number, table: TensorTable, signal?: AbortSignal): Promise<Rope> {
  const theta = f.number("rope.freq_base", 10000);
  const number = (key: string) => (f.raw(key) === undefined ? undefined : f.number(key));
  // Before there were types, a factor meant a linear one; its first name was scale_linear.
  const given = number("rope.scaling.factor") ?? number("rope.scale_linear");
  const kind = f.text("rope.scaling.type") ?? (given === undefined ? "none" : "linear");
  const factor = given ?? (kind === "linear" || kind === "yarn" ? f.number("rope.scaling.factor") : 1);
  if (kind !== "none" && kind !== "longrope" && kind !== "linear" && kind !== "yarn")
    throw new CpmError(
      "unsupported",
      `${f.file}: rope.scaling.type: "${kind}" is not supported; "none", "linear", "yarn" and "longrope" are`,
      { file: f.file, field: "rope.scaling.type", found: kind },
    );
  const factors = async (name: string) => (table.has(name) ? readFloats(table.get(name, [dim / 2]), signal) : undefined);
  const original = f.count("rope.scaling.original_context_length", 1, LIMITS.context, contextLength);
  // Llama 3.1's rule as divisors, which converters work out.
  const one = await factors("rope_freqs.weight");
  if (kind === "yarn") {
    const [fast, slow] = [number("rope.scaling.yarn_beta_fast"), number("rope.scaling.yarn_beta_slow")];
    const ramp = yarnFactors(dim, theta, { factor, original, fast, slow });
    const scale = number("rope.scaling.yarn_attn_factor") ?? number("rope.scaling.attn_factor") ?? yarnScale(factor);
    return { ropeTheta: theta, ropeShort: ramp, ropeLong: ramp, ropeOriginalContext: original, ropeScale: scale };
  }
  const linear = kind === "linear" && factor !== 1 ? new Float32Array(dim / 2).fill(factor) : undefined;
  const [short, long] = [await factors("rope_factors_short.weight"), await factors("rope_factors_long.weight")];
  if (!short !== !long)
    throw modelError(
      { file: f.file, field: `rope_factors_${short ? "long" : "short"}.weight`, expected: "both lists of factors", found: "one" },
      "tensor is missing",
    );
  if (kind === "longrope" && !short && !one)
    throw modelError(
      { file: f.file, field: "rope_factors_short.weight", expected: "LongRoPE's lists of factors", found: "none" },
      "tensor is missing",
    );
  return {
    ropeTheta: theta,
    ropeShort: short ?? one ?? linear,
    ropeLong: long ?? one ?? linear,
    ropeOriginalContext: original,
    ropeScale: number("rope.scaling.attn_factor") ?? (kind === "longrope" ? attentionFactor(contextLength, original) : 1),
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
    ...(kind === "llama" && f.text("general.architecture") === "phi3" ? { edges: phiEdges(pieces, types) } : {}),
    ...(scores && kind === "llama" ? { scores: Float32Array.from(scores) } : {}),
    ...(kind === "gpt2" ? { merges: merges!, pre: f.text(key("pre")) ?? "default" } : {}),
  };
  const ids = new Map<string, number>();
  for (const [at, piece] of pieces.entries()) if (!ids.has(piece)) ids.set(piece, at);
  const id = (name: string, fallback?: number) => {
    const value = f.raw(key(name));
    // What converters write for "none".
    if (value === undefined || value === UNSET) return fallback;
    return f.count(key(name), 0, pieces.length - 1);
  };
  const usual = (at: number) => (kind === "llama" && at < pieces.length ? at : undefined);
  const bos = id("bos_token_id", usual(1));
  const eos = id("eos_token_id", usual(2));
  const addsBos = kind === "llama" || addsBosByName.has(f.text(key("pre")) ?? "");
  const templates = [...metadata].flatMap(([name, value]): [string, string][] => {
    const at = /^tokenizer\.chat_template\.(\w[\w.-]*)$/.exec(name)?.[1];
    return at !== undefined && typeof value === "string" ? [[at, value]] : [];
  });
  return {
    vocabulary,
    bos,
    eos,
    stop: stopTokens((name) => ids.get(name), [eos, id("eot_token_id"), id("eom_token_id")]),
    unk: id("unknown_token_id"),
    addBos: f.flag(key("add_bos_token"), addsBos) && bos !== undefined,
    addEos: f.flag(key("add_eos_token"), false),
    chatTemplate: f.text("tokenizer.chat_template"),
    ...(templates.length > 0 ? { chatTemplates: Object.fromEntries(templates) } : {}),
  };
}

/** Phi-3's special tokens take the white space behind them, which its tokenizer.json says and no key of a GGUF. */
function phiEdges(pieces: readonly string[], types: ArrayLike<number> | undefined): ReadonlyMap<number, Edges> {
  const rest = ["<unk>", "<s>", "<|endoftext|>"];
  const special = (id: number) => types?.[id] === 3 || types?.[id] === 4;
  return new Map(
    pieces.flatMap((piece, id): [number, Edges][] =>
      special(id) && !rest.includes(piece) ? [[id, { left: false, right: true, word: false }]] : [],
    ),
  );
}

const UNSET = 0xffffffff;

/** Pre-tokenisers whose vocabularies begin texts with BOS unless the file says otherwise, as llama.cpp has them. */
const addsBosByName: ReadonlySet<string> = new Set(
  "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano tekken chameleon".split(" "),
);

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
