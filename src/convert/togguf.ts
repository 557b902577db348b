// A Hugging Face folder -> a GGUF, as llama.cpp's converter writes it: keys, tensors and their order.
import { CpmError } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import type { FileTensor, TensorType } from "../file/tensor.ts";
import { type GgufKind, type GgufTensorPlan, layoutGguf, type TypedValue } from "../file/write/gguf.ts";
import { type Output, TensorWriter } from "../file/write/output.ts";
import type { ModelConfig, ModelFile } from "../model/config.ts";
import { tokenizerOfGguf } from "../model/gguf.ts";
import { readText } from "../model/huggingface.ts";
import { readModel } from "../model/read.ts";
import type { TokenizerData } from "../text/vocabulary.ts";
import { bytesAs, type Copy, isFloat } from "./copy.ts";
import { ggufName } from "./names.ts";
import { type Converted, type ConvertOptions, Copier, typesOf } from "./progress.ts";
import { type GgufVocabulary, ggufVocabulary } from "./vocabulary.ts";

/** general.file_type. Source: llama.h, llama_ftype. */
const FILE_TYPES: Readonly<Partial<Record<TensorType, number>>> = { F32: 0, F16: 1, BF16: 32 };

/** Metadata in the order in which it is written. */
class Keys {
  readonly all = new Map<string, TypedValue>();

  add(kind: GgufKind, key: string, value: number | string | boolean | undefined): this {
    if (value !== undefined) this.all.set(key, { kind, value });
    return this;
  }

  list(array: GgufKind, key: string, value: ArrayLike<number> | readonly string[] | undefined): this {
    if (value !== undefined) this.all.set(key, { array, value });
    return this;
  }
}

/** A float tensor of the factors that LongRoPE divides by. */
interface Factors {
  readonly name: string;
  readonly values: Float32Array;
}

/**
 * Writes the GGUF of a folder to what `open` gives (it is told the size). No value changes: matrices keep their type, norms become F32.
 * What the converter leaves out is written where the model would be another without it: an original context that differs, the attention
 * factor, sparse_config (keys ARCH.sparse.*), stop tokens that their names do not tell.
 * Rejects with CpmError "bad-model", "unsupported" (packed weights, a tokenizer that no GGUF describes), "io", or the signal's reason.
 */
export async function toGguf(
  files: ModelFiles,
  open: (size: number) => Promise<Output>,
  options: ConvertOptions = {},
): Promise<Converted> {
  const { signal } = options;
  const model = await readModel(files, signal);
  const notes: string[] = [];
  const copies = copiesOf(model, notes);
  const { config } = model;
  const factors = factorsOf(config);
  const vocabulary = await ggufVocabulary(files, model.tokenizer, config.vocab, signal);
  notes.push(...vocabulary.notes);
  const generation = await readText(files, "generation_config.json", signal);
  const card = await readText(files, "README.md", signal);
  const keys = new Keys();
  const parameters =
    copies.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0) +
    factors.reduce((sum, { values }) => sum + values.length, 0);
  general(keys, config, {
    name: options.name ?? nameOf(namedIn(model) ?? options.fallbackName ?? config.name),
    parameters,
    generation,
    card,
  });
  architecture(keys, model, copies);
  keys.add("u32", "general.quantization_version", 2);
  tokenizer(keys, vocabulary, config.vocab);
  const plans: GgufTensorPlan[] = [
    ...factors.map(({ name, values }) => ({ name, type: "F32" as const, shape: [values.length] })),
    ...copies,
  ];
  const layout = layoutGguf(keys.all, plans);
  const output = await open(layout.size);
  try {
    const writer = await TensorWriter.begin(output, layout, []);
    for (const { name, values } of factors) await writer.write(name, bytesAs(values, "F32")!);
    const copier = new Copier(copies, options);
    for (const copy of copies) await copier.write(writer, copy);
    signal?.throwIfAborted();
    await writer.finish();
  } catch (error) {
    await output.discard().catch(() => {});
    throw error;
  }
  return { tensors: plans.length, bytes: layout.size, types: typesOf(copies), notes };
}

/** The matrices and norms in the folder's order, each under its name in a GGUF. */
function copiesOf(model: ModelFile, notes: string[]): Copy[] {
  const { config } = model;
  const packed = model.layers.flatMap((l) => [l.q, l.k, l.v, l.o, l.gate, l.up, l.down]).find((w) => w.kind !== "plain");
  if (packed)
    throw new CpmError(
      "unsupported",
      "these weights are packed (GPTQ): a GGUF has other blocks, and converting would change values; convert the float folder and quantise that with cpm quantize",
      { file: "config.json", field: "quantization_config" },
    );
  const rotated = (name: string) => {
    const heads = name.endsWith(".attn_q.weight") ? config.heads : name.endsWith(".attn_k.weight") ? config.kvHeads : 0;
    return heads ? { rows: { order: "interleaved" as const, heads } } : {};
  };
  return model.tensors.flatMap((tensor: FileTensor): Copy[] => {
    const name = ggufName(tensor.name);
    if (name === undefined) return [];
    if (name === "output.weight" && config.tied) {
      notes.push("lm_head.weight is left out: the configuration ties the head to the embedding");
      return [];
    }
    if (!isFloat(tensor.type))
      throw new CpmError("unsupported", `${tensor.name}: a tensor of type ${tensor.type} is no weight; convert a float folder`, {
        field: tensor.name,
      });
    // llama.cpp multiplies norms in float32 alone.
    const type = tensor.shape.length === 1 ? "F32" : tensor.type;
    return [{ name, type, shape: tensor.shape, tensor, ...rotated(name) }];
  });
}

function factorsOf({ ropeLong, ropeShort }: ModelConfig): Factors[] {
  if (!ropeLong || !ropeShort || isLinear(ropeLong, ropeShort)) return [];
  return [
    { name: "rope_factors_long.weight", values: ropeLong },
    { name: "rope_factors_short.weight", values: ropeShort },
  ];
}

/** One factor for every frequency is what "linear" scaling means, and has keys of its own. */
const isLinear = (long: Float32Array, short: Float32Array): boolean =>
  long === short && long.every((factor) => factor === long[0]);

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

function general(keys: Keys, config: ModelConfig, { name, parameters, generation, card }: About): void {
  const sampling = (generation === undefined ? {} : JSON.parse(generation)) as Record<string, unknown>;
  const number = (key: string) => (typeof sampling[key] === "number" ? sampling[key] : undefined);
  const license = /^---\r?\n(?:(?!---)[^\n]*\n)*?license:[ \t]*["']?([\w.-]+)["']?[ \t]*\r?\n/.exec(card ?? "")?.[1];
  const topK = number("top_k");
  keys
    .add("string", "general.architecture", config.architecture)
    .add("string", "general.type", "model")
    .add("i32", "general.sampling.top_k", Number.isInteger(topK) ? topK : undefined)
    .add("f32", "general.sampling.top_p", number("top_p"))
    .add("f32", "general.sampling.min_p", number("min_p"))
    .add("f32", "general.sampling.temp", number("temperature"))
    .add("string", "general.name", name)
    .add("string", "general.size_label", sizeLabel(parameters))
    .add("string", "general.license", license);
}

function architecture(keys: Keys, { config, metadata }: ModelFile, copies: readonly Copy[]): void {
  const arch = config.architecture;
  const key = (name: string) => `${arch}.${name}`;
  const linear = config.ropeLong && config.ropeShort && isLinear(config.ropeLong, config.ropeShort);
  const stretched = config.ropeLong !== undefined && !linear;
  const wide = metadata["head_dim"] === undefined || metadata["head_dim"] === null ? undefined : config.headDim;
  keys
    .add("u32", key("block_count"), config.layers)
    .add("u32", key("context_length"), config.contextLength)
    .add("u32", key("embedding_length"), config.hidden)
    .add("u32", key("feed_forward_length"), config.intermediate)
    .add("u32", key("attention.head_count"), config.heads)
    .add("u32", key("attention.head_count_kv"), config.kvHeads)
    .add("string", key("rope.scaling.type"), stretched ? "longrope" : linear ? "linear" : undefined)
    .add("f32", key("rope.scaling.factor"), linear ? config.ropeLong![0] : undefined)
    .add(
      "u32",
      key("rope.scaling.original_context_length"),
      stretched && config.ropeOriginalContext !== config.contextLength ? config.ropeOriginalContext : undefined,
    )
    .add("f32", key("rope.scaling.attn_factor"), stretched && config.ropeScale !== 1 ? config.ropeScale : undefined)
    .add("f32", key("rope.freq_base"), config.ropeTheta)
    .add("f32", key("attention.layer_norm_rms_epsilon"), config.rmsEps)
    .add("u32", key("attention.key_length"), wide)
    .add("u32", key("attention.value_length"), wide)
    .add("u32", "general.file_type", fileType(copies));
  if (arch === "minicpm")
    keys
      .add("f32", key("embedding_scale"), config.embeddingScale)
      .add("f32", key("residual_scale"), config.residualScale)
      .add("f32", key("logit_scale"), 1 / config.logitScale);
  else keys.add("u32", key("vocab_size"), config.vocab).add("u32", key("rope.dimension_count"), config.headDim);
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
const metadataOf = (keys: Keys) =>
  new Map([...keys.all].flatMap(([key, typed]) => ("value" in typed ? [[key, typed.value] as const] : []))) as Parameters<
    typeof tokenizerOfGguf
  >[1];
