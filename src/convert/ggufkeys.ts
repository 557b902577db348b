// The keys of a GGUF that is made from a folder, in the order in which llama.cpp's converter writes them; families' own come last.
import type { TensorType } from "../file/tensor.ts";
import type { GgufKind, TypedValue } from "../file/write/gguf.ts";
import { type ModelConfig, type ModelFile, ropeDim } from "../model/config.ts";
import { familyOfFolder } from "../model/families/index.ts";
import { tokenizerOfGguf } from "../model/gguf.ts";
import { attentionFactor } from "../model/longrope.ts";
import { yarnScale } from "../model/rope.ts";
import type { TokenizerData } from "../text/vocabulary.ts";
import type { Copy } from "./copy.ts";
import type { GgufVocabulary } from "./vocabulary.ts";

/** general.file_type. Source: llama.h, llama_ftype. */
const FILE_TYPES: Readonly<Partial<Record<TensorType, number>>> = { F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, BF16: 32 };

/** Metadata in the order in which it is written. */
export class Keys {
  readonly all = new Map<string, TypedValue>();

  add(kind: GgufKind, key: string, value: number | string | boolean | undefined): this {
    if (value !== undefined) this.all.set(key, { kind, value });
    return this;
  }

  list(array: GgufKind, key: string, value: ArrayLike<number> | readonly (string | boolean)[] | undefined): this {
    if (value !== undefined) this.all.set(key, { array, value });
    return this;
  }
}

export interface KeySources {
  readonly copies: readonly Copy[];
  readonly vocabulary: GgufVocabulary;
  /** Elements of all tensors. */
  readonly parameters: number;
  readonly name: string | undefined;
  readonly fallbackName: string | undefined;
  /** Texts of generation_config.json and README.md. */
  readonly generation: string | undefined;
  readonly card: string | undefined;
}

/** All keys of a model's GGUF. */
export function ggufKeys(model: ModelFile, from: KeySources): Keys {
  const { config } = model;
  const { copies, vocabulary, parameters, generation, card } = from;
  const keys = new Keys();
  const name = from.name ?? nameOf(namedIn(model) ?? from.fallbackName ?? config.name);
  general(keys, config, { name, parameters, generation, card });
  architecture(keys, model, copies);
  keys.add("u32", "general.quantization_version", 2);
  tokenizer(keys, vocabulary, config.vocab);
  return keys;
}

/** What config.json calls the model, if that is a name and no path of somebody's disk. */
function namedIn({ metadata }: ModelFile): string | undefined {
  const name = metadata["_name_or_path"];
  return typeof name === "string" && /^[^/]+(?:\/[^/]+)?$/.test(name) ? name : undefined;
}

/** "openbmb/MiniCPM4-0.5B" -> "MiniCPM4 0.5B"; words in small letters get a capital. Source: gguf-py, id_to_title. */
function nameOf(id: string): string {
  const last = id.replace(/\/+$/, "").split("/").at(-1)!;
  const words = last.trim().replaceAll("-", " ").split(/\s+/);
  const title = (word: string) =>
    /[a-z]/.test(word) && word === word.toLowerCase() && !/^(?:v\d+(?:\.\d+)*|\d.*)$/.test(word)
      ? word.replace(/[a-z]+/g, (w) => w[0]!.toUpperCase() + w.slice(1))
      : word;
  return words.map(title).join(" ");
}

/** "433M", "8.2B". Source: gguf-py, size_label. */
function sizeLabel(parameters: number): string {
  const [unit, scale] = (
    [
      ["T", 1e12],
      ["B", 1e9],
      ["M", 1e6],
      ["K", 1e3],
    ] as const
  ).find(([, n]) => parameters > n) ?? ["K", 1e3];
  const scaled = parameters / scale;
  const whole = String(Math.round(scaled)).replace(/^0+/, "");
  return `${scaled.toFixed(Math.max(0, 2 - whole.length))}${unit}`;
}

interface About {
  readonly name: string;
  readonly parameters: number;
  readonly generation: string | undefined;
  readonly card: string | undefined;
}

/** general.architecture of a folder's model: what llama.cpp's converter calls it. */
export function ggufArchitecture({ architecture }: ModelConfig): string {
  const renamed: Readonly<Record<string, string>> = { mistral: "llama", olmo3: "olmo2" };
  const own = familyOfFolder(architecture, undefined).architectures[0]!;
  return Object.hasOwn(renamed, own) ? renamed[own]! : own;
}

function general(keys: Keys, config: ModelConfig, { name, parameters, generation, card }: About): void {
  const sampling = (generation === undefined ? {} : JSON.parse(generation)) as Record<string, unknown>;
  const number = (key: string) => (typeof sampling[key] === "number" ? sampling[key] : undefined);
  const license = /^---\r?\n(?:(?!---)[^\n]*\n)*?license:[ \t]*["']?([\w.-]+)["']?[ \t]*\r?\n/.exec(card ?? "")?.[1];
  const topK = number("top_k");
  keys
    .add("string", "general.architecture", ggufArchitecture(config))
    .add("string", "general.type", "model")
    .add("i32", "general.sampling.top_k", Number.isInteger(topK) ? topK : undefined)
    .add("f32", "general.sampling.top_p", number("top_p"))
    .add("f32", "general.sampling.min_p", number("min_p"))
    .add("f32", "general.sampling.temp", number("temperature"))
    .add("string", "general.name", name)
    .add("string", "general.size_label", sizeLabel(parameters))
    .add("string", "general.license", license);
}

const objectOf = (value: unknown): Record<string, unknown> | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;

/** The configuration of the part that reads and writes, and the rotation as it is written there. */
function written({ metadata }: ModelFile): { fields: Record<string, unknown>; rope: Record<string, unknown>; kind: string } {
  const fields = objectOf(metadata["text_config"]) ?? metadata;
  const parameters = objectOf(fields["rope_parameters"]);
  const rope = objectOf(parameters?.["full_attention"]) ?? objectOf(fields["rope_scaling"]) ?? parameters ?? {};
  const kind = rope["rope_type"] ?? rope["type"] ?? "default";
  return { fields, rope, kind: kind === "su" ? "longrope" : typeof kind === "string" ? kind : "" };
}

/** A float tensor of divisors that a GGUF has beside its weights. */
export interface Factors {
  readonly name: string;
  readonly values: Float32Array;
}

/** Divisors of frequencies that no keys say: Llama 3's rule worked out, LongRoPE's two sets. */
export function factorsOf(model: ModelFile): Factors[] {
  const { ropeLong, ropeShort } = model.config;
  const { kind } = written(model);
  if (!ropeLong || !ropeShort) return [];
  if (kind === "llama3") return [{ name: "rope_freqs.weight", values: ropeShort }];
  if (kind !== "longrope") return [];
  return [
    { name: "rope_factors_long.weight", values: ropeLong },
    { name: "rope_factors_short.weight", values: ropeShort },
  ];
}

const num = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);

function ropeKeys(keys: Keys, key: (name: string) => string, model: ModelFile, arch: string): void {
  const { config } = model;
  const { fields, rope, kind } = written(model);
  const add = (name: string, value: number | undefined) => keys.add("f32", key(`rope.scaling.${name}`), value);
  const linear = kind === "linear" && config.ropeLong !== undefined;
  const yarn = kind === "yarn";
  const long = kind === "longrope";
  const original = long
    ? config.ropeOriginalContext
    : yarn
      ? (num(rope["original_max_position_embeddings"]) ?? num(fields["original_max_position_embeddings"]) ?? config.contextLength)
      : undefined;
  // Phi-3's files say neither that their rotation is stretched nor leave out from where on.
  const phi = arch === "phi3";
  keys.add("string", key("rope.scaling.type"), linear || yarn ? kind : long && !phi ? "longrope" : undefined);
  const factor = num(rope["factor"]) ?? (yarn ? config.contextLength / original! : config.ropeLong?.[0]);
  add("factor", linear || yarn ? factor : undefined);
  keys.add(
    "u32",
    key("rope.scaling.original_context_length"),
    phi ? config.ropeOriginalContext : yarn || (long && original !== config.contextLength) ? original : undefined,
  );
  const silent = long ? attentionFactor(config.contextLength, config.ropeOriginalContext) : 1;
  add("attn_factor", long && (config.ropeScale !== 1 || silent !== 1) ? config.ropeScale : undefined);
  if (!yarn) return;
  const usual = Math.fround(config.ropeScale) === Math.fround(yarnScale(factor!));
  add("yarn_attn_factor", usual && rope["attention_factor"] === undefined ? undefined : config.ropeScale);
  add("yarn_beta_fast", num(rope["beta_fast"]));
  add("yarn_beta_slow", num(rope["beta_slow"]));
}

/** Windows that llama.cpp knows from the architecture alone, by layer. */
const USUAL_WINDOWS: Readonly<Record<string, (layer: number) => boolean>> = {
  gemma2: (i) => i % 2 === 0,
  gemma3: (i) => (i + 1) % 6 !== 0,
  llama: () => true,
  phi3: () => true,
};

/** What families add. Source: the converter's classes of each; where it says nothing of a window, the model would be another. */
function traitKeys(keys: Keys, key: (name: string) => string, { config }: ModelFile, arch: string): void {
  const { window, layerKinds, scoreCap, logitCap, ropeLocal, attentionScale } = config.traits ?? {};
  const windows = layerKinds?.map((kind) => kind.window) ?? [];
  keys.add("u32", key("attention.sliding_window"), window ?? (arch === "phi3" ? 0 : undefined));
  const usual = USUAL_WINDOWS[arch];
  if (window !== undefined && !(usual && windows.every((w, i) => w === usual(i))))
    keys.list("bool", key("attention.sliding_window_pattern"), windows);
  keys
    .add("f32", key("attn_logit_softcapping"), scoreCap)
    .add("f32", key("final_logit_softcapping"), logitCap)
    .add("f32", key("rope.freq_base_swa"), ropeLocal?.theta);
  if (arch === "minicpm" || arch === "granite")
    keys
      .add("f32", key("embedding_scale"), config.embeddingScale)
      .add("f32", key("residual_scale"), config.residualScale)
      .add("f32", key("logit_scale"), 1 / config.logitScale);
  if (arch === "granite") keys.add("f32", key("attention.scale"), attentionScale);
}

function architecture(keys: Keys, model: ModelFile, copies: readonly Copy[]): void {
  const { config } = model;
  const arch = ggufArchitecture(config);
  const key = (name: string) => `${arch}.${name}`;
  const stated = num(written(model).fields["head_dim"]) !== undefined;
  const wide = stated || config.headDim * config.heads !== config.hidden || arch.startsWith("gemma");
  keys
    .add("u32", key("block_count"), config.layers)
    .add("u32", key("context_length"), config.contextLength)
    .add("u32", key("embedding_length"), config.hidden)
    .add("u32", key("feed_forward_length"), config.intermediate)
    .add("u32", key("attention.head_count"), config.heads)
    .add("u32", key("attention.head_count_kv"), config.kvHeads);
  ropeKeys(keys, key, model, arch);
  keys
    .add("f32", key("rope.freq_base"), config.ropeTheta)
    .add("f32", key("attention.layer_norm_rms_epsilon"), config.rmsEps)
    .add("u32", key("attention.key_length"), wide ? config.headDim : undefined)
    .add("u32", key("attention.value_length"), wide ? config.headDim : undefined)
    .add("u32", "general.file_type", fileType(copies));
  const turns = ["llama", "smollm3", "granite", "phi3"].includes(arch);
  const counts = ["llama", "smollm3", "granite", "exaone4"].includes(arch);
  keys
    .add("u32", key("vocab_size"), counts ? config.vocab : undefined)
    .add("u32", key("rope.dimension_count"), turns ? ropeDim(config) : undefined);
  traitKeys(keys, key, model, arch);
  for (const [name, value] of Object.entries(config.sparse ?? {})) {
    const known = ["kernel_size", "kernel_stride", "block_size", "init_blocks", "window_size", "topk", "dense_len"].includes(
      name,
    );
    if (known && Number.isInteger(value)) keys.add("u32", key(`sparse.${name}`), value);
    if (name === "exact_lse" && typeof value === "boolean") keys.add("bool", key("sparse.exact_lse"), value);
  }
}

/** What most weights are. */
function fileType(copies: readonly Copy[]): number | undefined {
  const bytes = new Map<TensorType, number>();
  for (const { type, shape, tensor } of copies) if (shape.length > 1) bytes.set(type, (bytes.get(type) ?? 0) + tensor.bytes);
  const [most] = [...bytes].sort(([, a], [, b]) => b - a);
  return most && FILE_TYPES[most[0]];
}

function tokenizer(keys: Keys, { data, vocabulary }: GgufVocabulary, size: number): void {
  const key = (name: string) => `tokenizer.ggml.${name}`;
  const below = (id: number | undefined) => (id !== undefined && id < size ? id : undefined);
  const spm = vocabulary.model === "spm";
  // Silence means a dummy space in SentencePiece-type vocabularies.
  keys
    .add("bool", key("add_space_prefix"), spm && !vocabulary.addSpacePrefix ? false : undefined)
    .add("string", key("model"), spm ? "llama" : "gpt2")
    .add("string", key("pre"), vocabulary.pre)
    .list("string", key("tokens"), vocabulary.pieces)
    .list("f32", key("scores"), spm ? vocabulary.scores : undefined)
    .list("i32", key("token_type"), vocabulary.types)
    .list("string", key("merges"), vocabulary.merges)
    .add("u32", key("bos_token_id"), below(data.bos))
    .add("u32", key("eos_token_id"), below(data.eos))
    .add("u32", key("unknown_token_id"), below(data.unk))
    .add("u32", key("padding_token_id"), below(padOf(data)))
    .add("bool", key("add_bos_token"), data.addBos)
    .add("bool", key("add_eos_token"), data.addEos);
  const named = Object.entries(data.chatTemplates ?? {});
  keys.list("string", "tokenizer.chat_templates", named.length > 0 ? named.map(([name]) => name) : undefined);
  for (const [name, template] of named) keys.add("string", `tokenizer.chat_template.${name}`, template);
  keys.add("string", "tokenizer.chat_template", data.chatTemplate);
  // Stop tokens that a reader finds neither as EOS nor by their names.
  const read = tokenizerOfGguf("the converted file", metadataOf(keys));
  const [eot, eom] = data.stop.filter((id) => id < size && !read.stop.includes(id));
  keys.add("u32", key("eot_token_id"), eot).add("u32", key("eom_token_id"), eom);
}

function padOf({ templateTokens, vocabulary }: TokenizerData): number | undefined {
  const name = templateTokens?.["pad_token"];
  if (typeof name !== "string" || vocabulary.kind !== "pieces") return undefined;
  const at = vocabulary.pieces.indexOf(name);
  return at < 0 ? undefined : at;
}

/** What a reader of the written keys would see. */
export const metadataOf = (keys: Keys) =>
  new Map([...keys.all].flatMap(([key, typed]) => ("value" in typed ? [[key, typed.value] as const] : []))) as Parameters<
    typeof tokenizerOfGguf
  >[1];
