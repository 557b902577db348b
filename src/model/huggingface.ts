// A Hugging Face folder -> a model: config.json, safetensors, tokenizer files.
import { CpmError, modelError } from "../errors.ts";
import { parseObject, shown } from "../file/json.ts";
import { openSafetensors } from "../file/safetensors.ts";
import { type ModelFiles, whereIs } from "../file/source.ts";
import type { TokenizerData } from "../text/vocabulary.ts";
import {
  type LayerFiles,
  LINEARS,
  type ModelConfig,
  type ModelFile,
  type Traits,
  type VectorFile,
  type WeightFile,
} from "./config.ts";
import { type Family, familyOfFolder } from "./families/index.ts";
import { Fields, LIMITS } from "./fields.ts";
import { inOrder } from "./gptq.ts";
import { eachLinear, folderNames, fusedLinears, wantedVectors } from "./layers.ts";
import { type Rope, ropeOf, sameFactors } from "./rope.ts";
import { linearShapes, TensorTable } from "./shapes.ts";
import { tokenizerOfFolder } from "./tokenizer.ts";

export { tokenizerOfFolder };

const MAX_TEXT = 64 << 20;

/** A text file of the folder, undefined when there is none. */
export async function readText(files: ModelFiles, name: string, signal?: AbortSignal): Promise<string | undefined> {
  const source = await files.open(name, signal);
  if (!source) return undefined;
  if (source.size > MAX_TEXT)
    throw modelError({ file: name, expected: `at most ${MAX_TEXT} bytes`, found: String(source.size) }, "file size");
  return new TextDecoder().decode(await source.read(0, source.size, signal));
}

/** Understands a folder. Throws "unsupported" for other architectures, "bad-model" for what is missing or contradicts itself. */
export async function modelOfFolder(files: ModelFiles, signal?: AbortSignal): Promise<ModelFile> {
  const text = await readText(files, "config.json", signal);
  if (text === undefined)
    throw modelError(
      { file: "config.json", expected: "beside the weights", found: `no such file (${whereIs(files, "config.json")})` },
      "configuration is missing",
      "give the whole folder of the model",
    );
  const json = parseObject(text, "config.json");
  const family = familyOfFolder(inside(json).text("model_type"), className(json));
  // A model that also sees keeps what it reads and writes with in a part of its own.
  const f = inside(inside(json).object("text_config") ?? json, family.defaults);
  const { tensors, unreadable } = await openSafetensors(files, signal);
  const table = new TensorTable("model.safetensors", tensors, unreadable);
  const prefix = PREFIXES.find((p) => table.has(`${p}embed_tokens.weight`)) ?? "model.";
  const config = readConfig(f, family, table, json);
  const gptq = readGptq(f, await quantizeConfig(files, f, signal));
  if (!gptq) refusePacked(table);
  const shapes = linearShapes(config);
  const names = folderNames(config.traits?.norms);
  const wanted = wantedVectors(config, names);
  const layers = Array.from({ length: config.layers }, (_, i): LayerFiles => {
    const p = `${prefix}layers.${i}.`;
    const linear = (name: string, shape: readonly [number, number]) => readWeight(table, `${p}${name}`, shape, gptq);
    const vector = (name: string, length: number): VectorFile => ({
      tensor: table.get(`${p}${name}`, [length]),
      ...(family.lessOne && name.endsWith(".weight") ? { plus: 1 } : {}),
    });
    return {
      ...(family.fused ? fusedLinears(config, names, linear) : eachLinear((l) => linear(names.linears[l], shapes[l]))),
      vectors: Object.fromEntries(wanted.map((v) => [v.vector, vector(v.name, v.length)])),
    };
  });
  const tokenizer = await tokenizerOfFolder(files, text, signal);
  checkVocabulary(config.vocab, tokenizer);
  const matrix = (name: string): WeightFile => ({
    kind: "plain",
    tensor: table.get(name, [config.vocab, config.hidden]),
    ropeHeads: 0,
  });
  const rest = {
    embedding: matrix(`${prefix}embed_tokens.weight`),
    norm: { tensor: table.get(`${prefix}norm.weight`, [config.hidden]), ...(family.lessOne ? { plus: 1 } : {}) },
    head: config.tied ? undefined : matrix(headName(table)),
  };
  table.refuseUnused(config.tied ? HARMLESS_TIED : HARMLESS);
  return {
    config,
    ...rest,
    layers: await withGroups(layers, signal),
    tokenizer,
    metadata: json,
    tensors: [...tensors.values()],
    format: gptq ? "safetensors, GPTQ int4" : "safetensors",
  };
}

/** Every piece that text can become needs a row of the embedding. Added tokens beyond it only fail when they are used. */
function checkVocabulary(rows: number, { vocabulary, bos }: TokenizerData): void {
  let pieces = (bos ?? -1) + 1;
  if (vocabulary.kind === "pieces") {
    for (const [id, type] of vocabulary.types.entries()) if (type === 1) pieces = Math.max(pieces, id + 1);
  } else {
    const ids = Object.values((vocabulary.tokenizer["model"] as { vocab?: object }).vocab ?? {});
    for (const id of ids) if (typeof id === "number") pieces = Math.max(pieces, id + 1);
  }
  if (pieces > rows)
    throw modelError(
      { file: "config.json", field: "vocab_size", expected: `at least ${pieces}, the tokenizer's size`, found: String(rows) },
      "vocabulary and embedding disagree",
    );
}

/** Where the tensors of the part that reads and writes begin; those of models that also see come second. */
const PREFIXES = ["model.", "language_model.model.", "model.language_model."];
const HARMLESS = /\.rotary_emb\.inv_freq$|(?:^|\.)(?:vision_tower|multi_modal_projector)\./;
const HARMLESS_TIED = new RegExp(`${HARMLESS.source}|(?:^|\\.)lm_head\\.weight$`);

const headName = (table: TensorTable): string =>
  table.has("language_model.lm_head.weight") ? "language_model.lm_head.weight" : "lm_head.weight";

/** The class that a configuration names. */
function className(json: Record<string, unknown>): string | undefined {
  const names = json["architectures"];
  const first: unknown = Array.isArray(names) ? names[0] : undefined;
  return typeof first === "string" ? first : undefined;
}

const ACTIVATIONS: Readonly<Record<string, Traits["activation"] | "silu">> = {
  silu: "silu",
  swish: "silu",
  gelu_pytorch_tanh: "gelu",
  gelu_new: "gelu",
};

function readActivation(f: Fields): Pick<Traits, "activation"> {
  const key = f.raw("hidden_activation") === undefined ? "hidden_act" : "hidden_activation";
  const name = f.text(key) ?? "silu";
  if (!Object.hasOwn(ACTIVATIONS, name))
    throw new CpmError("unsupported", `config.json: ${key} "${name}" is not supported; "silu" and "gelu_pytorch_tanh" are`, {
      file: "config.json",
      field: key,
    });
  return ACTIVATIONS[name] === "gelu" ? { activation: "gelu" } : {};
}

function readConfig(f: Fields, family: Family, table: TensorTable, json: Record<string, unknown>): ModelConfig {
  for (const key of ["num_experts", "num_local_experts", "n_routed_experts", "use_bidirectional_attention"]) {
    if (f.raw(key))
      throw new CpmError("unsupported", `config.json: ${key} is not supported`, { file: "config.json", field: key });
  }
  const hidden = f.count("hidden_size", 1, LIMITS.hidden);
  const heads = f.count("num_attention_heads", 1, LIMITS.heads);
  const kvHeads = f.count("num_key_value_heads", 1, heads, heads);
  if (heads % kvHeads) f.fail("num_key_value_heads", `a divisor of ${heads}`, kvHeads);
  const headDim = f.count("head_dim", 2, LIMITS.headDim, hidden % heads ? undefined : hidden / heads);
  if (headDim % 2) f.fail("head_dim", "an even number", headDim);
  const layers = f.count("num_hidden_layers", 1, LIMITS.layers);
  const contextLength = f.count("max_position_embeddings", 1, LIMITS.context);
  // Configuration classes differ in what they mean by silence; the weights know.
  const tied = inside(json).flag("tie_word_embeddings", f.flag("tie_word_embeddings", !table.has(headName(table))));
  const sizes = { layers, hidden, heads, kvHeads, headDim, contextLength };
  const said = family.folder(f, sizes, (dim, kind) => readRope(f, dim, contextLength, kind));
  const rope = said.rope ?? readRope(f, headDim, contextLength);
  // MiniCPM's own factors are the same for both lengths, or chosen for a context once.
  const byLength = !family.types.includes("minicpm") && !sameFactors(rope.ropeShort, rope.ropeLong);
  const traits: Traits = {
    ...(family.norms ? { norms: family.norms } : {}),
    ...(family.qkNorm ? { qkNorm: family.qkNorm } : {}),
    ...said.traits,
    ...readActivation(f),
    ...(byLength ? { ropeByLength: true } : {}),
  };
  return {
    architecture: f.text("model_type") ?? family.types[0]!,
    name: f.text("_name_or_path") || (className(json) ?? family.types[0]!),
    ...sizes,
    intermediate: f.count("intermediate_size", 1, LIMITS.inner),
    vocab: f.count("vocab_size", 1, LIMITS.vocab),
    rmsEps: f.number("rms_norm_eps", 1e-6),
    ...rope,
    embeddingScale: said.embeddingScale ?? 1,
    residualScale: said.residualScale ?? 1,
    logitScale: said.logitScale ?? 1,
    tied,
    sparse: readSparse(f.object("sparse_config")),
    ...(Object.keys(traits).length > 0 ? { traits } : {}),
  };
}

/** config.json's fields, and what a family's configuration class has where they are absent. */
const inside = (object: Record<string, unknown>, defaults: Readonly<Record<string, unknown>> = {}): Fields =>
  new Fields("config.json", (key) => (Object.hasOwn(object, key) ? object[key] : defaults[key]));

function readSparse(object: Record<string, unknown> | undefined): ModelConfig["sparse"] {
  const known = Object.entries(object ?? {}).filter(
    (pair): pair is [string, number | boolean] => typeof pair[1] === "number" || typeof pair[1] === "boolean",
  );
  return object && Object.fromEntries(known);
}

/** Published files say it in rope_theta and rope_scaling, newer ones in rope_parameters, for each kind of layers where they differ. */
export function readRope(f: Fields, dim: number, contextLength: number, kind?: "full_attention" | "sliding_attention"): Rope {
  const parameters = f.object("rope_parameters");
  const nested = kind && parameters?.[kind];
  const own = typeof nested === "object" && nested !== null ? (nested as Record<string, unknown>) : undefined;
  const scaling = own ?? f.object("rope_scaling") ?? parameters;
  const inner = scaling && inside(scaling);
  const theta = own ? inner!.number("rope_theta", f.number("rope_theta", 10000)) : thetaOf(f, inner);
  return ropeOf(scaling, theta, dim, contextLength, f);
}

const thetaOf = (f: Fields, inner: Fields | undefined): number =>
  f.raw("rope_theta") === undefined && inner ? inner.number("rope_theta", 10000) : f.number("rope_theta", 10000);

export interface Gptq {
  /** Columns that share a scale; infinite: all of a row. */
  readonly group: number;
  readonly zeroPlusOne: boolean;
}

/** quantize_config.json, which older GPTQ tools wrote instead of a part of config.json. */
export async function quantizeConfig(
  files: ModelFiles,
  f: Fields,
  signal?: AbortSignal,
): Promise<Record<string, unknown> | undefined> {
  if (f.object("quantization_config")) return undefined;
  const text = await readText(files, "quantize_config.json", signal);
  return text === undefined ? undefined : { quant_method: "gptq", ...parseObject(text, "quantize_config.json") };
}

/** Packed weights that no configuration explains. */
function refusePacked(table: TensorTable): void {
  const name = "model.layers.0.self_attn.q_proj.qweight";
  if (table.has(name))
    throw modelError(
      { file: "config.json", field: "quantization_config", expected: `the layout of ${name}`, found: "nothing" },
      "quantisation",
      "put quantize_config.json beside config.json, or download the folder again",
    );
}

/** How linears are packed; `beside`: what quantize_config.json says. */
export function readGptq(f: Fields, beside?: Record<string, unknown>): Gptq | undefined {
  const object = f.object("quantization_config") ?? beside;
  if (!object) return undefined;
  const q = inside(object);
  const refuse = (key: string, expected: string): never => {
    throw new CpmError(
      "unsupported",
      `config.json: quantization_config.${key}: ${shown(q.raw(key))} is not supported; expected ${expected}`,
      { file: "config.json", field: `quantization_config.${key}` },
    );
  };
  if (q.text("quant_method") !== "gptq") refuse("quant_method", '"gptq"');
  if (q.raw("bits") !== 4) refuse("bits", "4");
  const format = q.text("checkpoint_format") ?? "gptq";
  if (format !== "gptq" && format !== "gptq_v2") refuse("checkpoint_format", '"gptq" or "gptq_v2"');
  const whole = q.raw("group_size") === -1;
  const group = whole ? Number.POSITIVE_INFINITY : q.count("group_size", 32, 1 << 20, 128);
  if (!whole && group % 32) refuse("group_size", "a multiple of 32, or -1 for one group a row");
  return { group, zeroPlusOne: format === "gptq" };
}

export function readLinear(
  table: TensorTable,
  name: string,
  shape: readonly [number, number],
  gptq: Gptq | undefined,
): WeightFile {
  if (table.has(`${name}.bias`))
    throw new CpmError("unsupported", `model.safetensors: ${name}.bias: biases are not supported`, { field: `${name}.bias` });
  return readWeight(table, name, shape, gptq);
}

/** A linear whose bias, if it has one, is read elsewhere. */
export function readWeight(
  table: TensorTable,
  name: string,
  [rows, cols]: readonly [number, number],
  gptq: Gptq | undefined,
): WeightFile {
  if (!gptq || !table.has(`${name}.qweight`))
    return { kind: "plain", tensor: table.get(`${name}.weight`, [rows, cols]), ropeHeads: 0 };
  const { zeroPlusOne } = gptq;
  const group = Math.min(gptq.group, cols);
  if (cols % group || cols % 32 || rows % 8)
    throw modelError(
      {
        field: `${name}.qweight`,
        expected: `columns that are a multiple of ${group} and rows of 8`,
        found: `[${rows}, ${cols}]`,
      },
      "GPTQ shape",
    );
  const scales = table.get(`${name}.scales`, [cols / group, rows]);
  if (scales.type !== "F16") throw modelError({ field: scales.name, expected: "F16", found: scales.type }, "GPTQ scales");
  return {
    kind: "gptq",
    rows,
    cols,
    group,
    zeroPlusOne,
    qweight: table.get(`${name}.qweight`, [cols / 8, rows], { integer: true }),
    scales,
    zeros: table.has(`${name}.qzeros`) ? table.get(`${name}.qzeros`, [cols / group, rows / 8], { integer: true }) : undefined,
    order: table.has(`${name}.g_idx`) ? table.get(`${name}.g_idx`, [cols], { integer: true }) : undefined,
  };
}

/** The layers with every linear whose g_idx is out of order as plain numbers. */
async function withGroups(layers: readonly LayerFiles[], signal?: AbortSignal): Promise<LayerFiles[]> {
  const done: LayerFiles[] = [];
  for (const layer of layers) {
    const linears = { ...layer };
    for (const name of LINEARS) linears[name] = await inOrder(layer[name], signal);
    done.push(linears);
  }
  return done;
}
