// A Hugging Face folder -> a model: config.json, safetensors, tokenizer files.
import { CpmError, modelError } from "../errors.ts";
import { parseObject, shown } from "../file/json.ts";
import { openSafetensors } from "../file/safetensors.ts";
import { type ModelFiles, whereIs } from "../file/source.ts";
import type { TokenizerData } from "../text/vocabulary.ts";
import type { LayerFiles, ModelConfig, ModelFile, WeightFile } from "./config.ts";
import { Fields, LIMITS } from "./fields.ts";
import { inOrder } from "./gptq.ts";
import { attentionFactor } from "./longrope.ts";
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
  const f = inside(json);
  const { tensors, unreadable } = await openSafetensors(files, signal);
  const table = new TensorTable("model.safetensors", tensors, unreadable);
  const config = readConfig(f, table);
  const gptq = readGptq(f, await quantizeConfig(files, f, signal));
  if (!gptq) refusePacked(table);
  const shapes = linearShapes(config);
  const layers = Array.from({ length: config.layers }, (_, i): LayerFiles => {
    const p = `model.layers.${i}.`;
    const linear = (name: string, shape: readonly [number, number]) => readLinear(table, `${p}${name}`, shape, gptq);
    return {
      attnNorm: table.get(`${p}input_layernorm.weight`, [config.hidden]),
      q: linear("self_attn.q_proj", shapes.q as [number, number]),
      k: linear("self_attn.k_proj", shapes.k as [number, number]),
      v: linear("self_attn.v_proj", shapes.v as [number, number]),
      o: linear("self_attn.o_proj", shapes.o as [number, number]),
      ffnNorm: table.get(`${p}post_attention_layernorm.weight`, [config.hidden]),
      gate: linear("mlp.gate_proj", shapes.gate as [number, number]),
      up: linear("mlp.up_proj", shapes.up as [number, number]),
      down: linear("mlp.down_proj", shapes.down as [number, number]),
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
    embedding: matrix("model.embed_tokens.weight"),
    norm: table.get("model.norm.weight", [config.hidden]),
    head: config.tied ? undefined : matrix("lm_head.weight"),
  };
  table.refuseUnused(config.tied ? /\.rotary_emb\.inv_freq$|^lm_head\.weight$/ : /\.rotary_emb\.inv_freq$/);
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

function readConfig(f: Fields, table: TensorTable): ModelConfig {
  const names = f.raw("architectures");
  const first: unknown = Array.isArray(names) ? names[0] : undefined;
  const named = typeof first === "string" ? first : undefined;
  const type = f.text("model_type") ?? (named === "LlamaForCausalLM" ? "llama" : "minicpm");
  const minicpm = type === "minicpm" && (named === undefined || named === "MiniCPMForCausalLM");
  if (!minicpm && !(type === "llama" && (named === undefined || named === "LlamaForCausalLM")))
    throw new CpmError(
      "unsupported",
      `config.json: model_type "${type}" (${named ?? "no architecture named"}) is not supported; MiniCPMForCausalLM and LlamaForCausalLM are`,
      { file: "config.json", field: "model_type", found: type },
    );
  const act = f.text("hidden_act") ?? "silu";
  if (act !== "silu")
    throw new CpmError("unsupported", `config.json: hidden_act "${act}" is not supported; "silu" is`, {
      file: "config.json",
      field: "hidden_act",
    });
  for (const key of ["attention_bias", "mlp_bias", "num_experts", "num_local_experts"]) {
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
  const tied = f.flag("tie_word_embeddings", !table.has("lm_head.weight"));
  const rope = f.object("rope_scaling") ?? f.object("rope_parameters");
  return {
    architecture: minicpm ? "minicpm" : "llama",
    name: f.text("_name_or_path") || (named ?? type),
    layers,
    hidden,
    intermediate: f.count("intermediate_size", 1, LIMITS.inner),
    heads,
    kvHeads,
    headDim,
    vocab: f.count("vocab_size", 1, LIMITS.vocab),
    contextLength,
    rmsEps: f.number("rms_norm_eps", 1e-6),
    // Newer files keep it beside the scaling.
    ropeTheta:
      rope && f.raw("rope_theta") === undefined ? inside(rope).number("rope_theta", 10000) : f.number("rope_theta", 10000),
    ...readRope(f, rope, headDim, contextLength),
    embeddingScale: minicpm ? f.number("scale_emb", 1) : 1,
    residualScale: minicpm ? f.number("scale_depth", Math.sqrt(layers)) / Math.sqrt(layers) : 1,
    logitScale: minicpm ? f.number("dim_model_base", hidden) / hidden : 1,
    tied,
    sparse: readSparse(f.object("sparse_config")),
  };
}

const inside = (object: Record<string, unknown>): Fields =>
  new Fields("config.json", (key) => (Object.hasOwn(object, key) ? object[key] : undefined));

function readSparse(object: Record<string, unknown> | undefined): ModelConfig["sparse"] {
  const known = Object.entries(object ?? {}).filter(
    (pair): pair is [string, number | boolean] => typeof pair[1] === "number" || typeof pair[1] === "boolean",
  );
  return object && Object.fromEntries(known);
}

type Rope = Pick<ModelConfig, "ropeShort" | "ropeLong" | "ropeOriginalContext" | "ropeScale">;

function readRope(f: Fields, scaling: Record<string, unknown> | undefined, headDim: number, contextLength: number): Rope {
  const plain = { ropeShort: undefined, ropeLong: undefined, ropeOriginalContext: contextLength, ropeScale: 1 };
  if (!scaling) return plain;
  const s = inside(scaling);
  const kind = s.text("rope_type") ?? s.text("type") ?? "default";
  if (kind === "default") return plain;
  if (kind === "linear") {
    const factors = new Float32Array(headDim / 2).fill(s.number("factor"));
    return { ...plain, ropeShort: factors, ropeLong: factors };
  }
  if (kind !== "longrope" && kind !== "su")
    throw new CpmError(
      "unsupported",
      `config.json: rope_scaling type "${kind}" is not supported; "longrope", "linear" and "default" are`,
      { file: "config.json", field: "rope_scaling", found: kind },
    );
  const original = s.count(
    "original_max_position_embeddings",
    1,
    LIMITS.context,
    f.count("original_max_position_embeddings", 1, LIMITS.context, contextLength),
  );
  return {
    ropeShort: factorList(s, "short_factor", headDim),
    ropeLong: factorList(s, "long_factor", headDim),
    ropeOriginalContext: original,
    ropeScale: s.raw("attention_factor") === undefined ? attentionFactor(contextLength, original) : s.number("attention_factor"),
  };
}

function factorList(s: Fields, key: string, headDim: number): Float32Array {
  const value = s.raw(key);
  if (
    !Array.isArray(value) ||
    value.length !== headDim / 2 ||
    !value.every((x) => typeof x === "number" && Number.isFinite(x) && x > 0)
  )
    s.fail(`rope_scaling.${key}`, `${headDim / 2} positive numbers`, value);
  return Float32Array.from(value);
}

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
    const { q, k, v, o, gate, up, down } = layer;
    const [Q, K, V, O, G, U, D] = [
      await inOrder(q, signal),
      await inOrder(k, signal),
      await inOrder(v, signal),
      await inOrder(o, signal),
      await inOrder(gate, signal),
      await inOrder(up, signal),
      await inOrder(down, signal),
    ];
    done.push({ ...layer, q: Q, k: K, v: V, o: O, gate: G, up: U, down: D });
  }
  return done;
}
