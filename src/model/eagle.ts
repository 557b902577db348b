// A draft head's files (EAGLE-2 or EAGLE-3 for a given target): safetensors with the published tensor names.
import { CpmError, modelError } from "../errors.ts";
import { parseObject } from "../file/json.ts";
import { openSafetensors } from "../file/safetensors.ts";
import type { ModelFiles } from "../file/source.ts";
import type { FileTensor } from "../file/tensor.ts";
import type { ModelConfig, WeightFile } from "./config.ts";
import { Fields, LIMITS } from "./fields.ts";
import { inOrder } from "./gptq.ts";
import { type Gptq, quantizeConfig, readGptq, readLinear, readRope, readText, readWeight } from "./huggingface.ts";
import type { Rope } from "./rope.ts";
import { TensorTable } from "./shapes.ts";

type Linears = { readonly [K in "fc" | "q" | "k" | "v" | "o" | "gate" | "up" | "down"]: WeightFile };
type Norms = {
  readonly [K in "embedNorm" | "hiddenNorm" | "attnNorm" | "ffnNorm" | "norm" | "bias" | "tapNorm"]: FileTensor | undefined;
};

/** A head, understood and checked against its target: see cpp/model/draft.h for what its parts do. */
export interface HeadFile {
  readonly version: 2 | 3;
  /** EAGLE-3: what the layer adds to is normed, too (norm_before_residual). */
  readonly normedResidual?: boolean;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly intermediate: number;
  readonly rmsEps: number;
  /** How its heads turn; absent: as the target's. */
  readonly rope?: Rope | undefined;
  /** EAGLE-3: the layers whose inputs it reads, times `tapScale`. */
  readonly taps?: { readonly layers: readonly number[]; readonly scale: number } | undefined;
  /** Columns of fc: twice the hidden size, or three times (EAGLE-3). */
  readonly fcInputs: number;
  readonly residualScale: number;
  readonly linears: Linears;
  readonly norms: Norms;
  /** EAGLE-3 and MTP: rows of its own, and for each the token it means. */
  readonly head: WeightFile | undefined;
  /** MTP: an embedding of its own. */
  readonly embedding?: WeightFile | undefined;
  /** An MTP layer: a norm before the head, which is the target's where it has none; `firstRow`: a row for the text's first token. */
  readonly mtp?: { readonly firstRow: boolean } | undefined;
  readonly vocabulary: Int32Array | undefined;
}

/**
 * Reads a head: a bare .safetensors file, or a folder with its config.json. Throws "unsupported" for heads of more than one
 * layer or with tensors that a head does not have (biases of its layer, say), "bad-model" for what is missing, damaged, or belongs to another target.
 */
export async function readHead(files: ModelFiles, target: ModelConfig, signal?: AbortSignal): Promise<HeadFile> {
  const { tensors, unreadable } = await openSafetensors(files, signal);
  const table = new TensorTable(files.entry || "model.safetensors", tensors, unreadable);
  // Beside a bare file lies whatever; a folder's config.json is the head's own.
  const text = files.entry === "" ? await readText(files, "config.json", signal) : undefined;
  const outer = text === undefined ? {} : parseObject(text, "config.json");
  // Speculators' files have the layer's fields within.
  const within = outer["transformer_layer_config"];
  const json = typeof within === "object" && within !== null ? { ...outer, ...(within as Record<string, unknown>) } : outer;
  const f = new Fields("config.json", (key) => (Object.hasOwn(json, key) ? json[key] : undefined));
  checkScales(f, target);
  if (f.count("num_hidden_layers", 1, LIMITS.layers, 1) !== 1)
    throw new CpmError("unsupported", "config.json: a draft head of several layers is not supported; heads of one layer are", {
      file: "config.json",
      field: "num_hidden_layers",
    });
  const heads = f.count("num_attention_heads", 1, LIMITS.heads, target.heads);
  const kvHeads = f.count("num_key_value_heads", 1, heads, target.kvHeads);
  if (heads % kvHeads) f.fail("num_key_value_heads", `a divisor of ${heads}`, kvHeads);
  const third = ["midlayer.", "layers.0."].find((p) => table.has(`${p}hidden_norm.weight`));
  const version = third === undefined ? 2 : 3;
  const minicpm = target.architecture === "minicpm";
  const norms = { residual: f.flag("norm_before_residual", false), taps: f.flag("norm_before_fc", false) };
  if (version === 2 && (norms.residual || norms.taps))
    throw new CpmError(
      "unsupported",
      "config.json: norms before fc or the residual are those of EAGLE-3 heads; this one has no hidden_norm",
      {
        file: "config.json",
        field: norms.taps ? "norm_before_fc" : "norm_before_residual",
      },
    );
  // MiniCPM's heads leave out what is the target's; others are of Llama's class, which has its own idea of silence.
  const split = !minicpm && f.raw("num_attention_heads") !== undefined && target.hidden % heads === 0;
  const headDim = f.count("head_dim", 2, LIMITS.headDim, split ? target.hidden / heads : target.headDim);
  if (headDim % 2 || headDim > 512) f.fail("head_dim", "an even number up to 512", headDim);
  const turns = ["rope_theta", "rope_scaling", "rope_parameters"].some((key) => (f.raw(key) ?? null) !== null);
  const own = !minicpm && text !== undefined && (version === 3 || turns);
  const contextLength = f.count("max_position_embeddings", 1, LIMITS.context, target.contextLength);
  const common = {
    heads,
    kvHeads,
    headDim,
    ...(own ? { rope: readRope(f, headDim, contextLength) } : {}),
    ...(version === 3 ? { taps: { layers: tappedLayers(f, target), scale: minicpm ? target.residualScale : 1 } } : {}),
    ...(norms.residual ? { normedResidual: true } : {}),
    rmsEps: f.number("rms_norm_eps", target.rmsEps),
    // The head counts as one layer more.
    residualScale:
      target.residualScale === 1 || !minicpm
        ? 1
        : (target.residualScale * Math.sqrt(target.layers)) / Math.sqrt(target.layers + 1),
  };
  const shape = { heads, kvHeads, headDim, hidden: target.hidden };
  const gptq = readGptq(f, await quantizeConfig(files, f, signal));
  const read =
    third !== undefined ? await readThird(table, third, shape, gptq, target, norms.taps, signal) : readSecond(table, shape, gptq);
  const linears = { ...read.linears };
  for (const name of Object.keys(linears) as (keyof typeof linears)[]) linears[name] = await inOrder(linears[name], signal);
  table.refuseUnused(COPIES);
  return { ...common, ...read, linears };
}

/** Copies of what the target has, tables that follow from the configuration, and d2t the other way round. */
const COPIES = /^(?:model\.)?(?:embed_tokens\.weight|lm_head\.weight|t2d)$|\brotary_emb\.(?:inv_freq|cos_cached|sin_cached)$/;

/** What the head computes with must be what the target computes with. */
export function checkScales(f: Fields, target: ModelConfig): void {
  const same = (key: string, mine: number) => {
    const value = f.raw(key);
    if (
      value !== undefined &&
      target.architecture === "minicpm" &&
      !(typeof value === "number" && Math.abs(value - mine) <= 1e-3 * Math.abs(mine))
    )
      f.fail(key, `${mine}, as the target's`, value, "the head belongs to another model");
  };
  same("hidden_size", target.hidden);
  same("scale_emb", target.embeddingScale);
  same("scale_depth", target.residualScale * Math.sqrt(target.layers));
  same("dim_model_base", target.logitScale * target.hidden);
}

interface Shape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly hidden: number;
}

type Read = Omit<HeadFile, "heads" | "kvHeads" | "headDim" | "rope" | "taps" | "rmsEps" | "residualScale">;

/**
 * The layers whose inputs an EAGLE-3 head reads: 2, half of them, and three before the last, unless its config.json lists others (within
 * eagle_config by their outputs, as SGLang counts them).
 */
function tappedLayers(f: Fields, { layers }: ModelConfig): readonly number[] {
  const key = "eagle_aux_hidden_state_layer_ids";
  const inner = f.object("eagle_config")?.[key];
  const given = f.raw(key) ?? inner ?? undefined;
  if (given === undefined) return [2, layers >> 1, layers - 3];
  const step = f.raw(key) === undefined ? 1 : 0;
  const ids = Array.isArray(given) ? given.map((id: unknown) => (typeof id === "number" ? id + step : Number.NaN)) : [];
  if (ids.length !== 3 || ids.some((id) => !Number.isSafeInteger(id) || id < 0 || id >= layers))
    f.fail(key, `three of the target's ${layers} layers`, given);
  return ids;
}

/** The layer's own intermediate size: rows of its gate. */
export function innerSize(table: TensorTable, name: string, hint = "give the folder or file of an EAGLE head"): number {
  const plain = table.find(`${name}.weight`);
  const rows = plain?.shape[0] ?? table.find(`${name}.qweight`)?.shape[1];
  if (rows === undefined)
    throw modelError({ field: `${name}.weight`, expected: "a tensor", found: "none of this name" }, "tensor is missing", hint);
  if (rows < 4 || rows > LIMITS.inner || rows % 4)
    throw modelError({ field: `${name}.weight`, expected: "a multiple of 4", found: String(rows) }, "intermediate size");
  return rows;
}

function layerLinears(
  table: TensorTable,
  p: string,
  s: Shape,
  inputs: number,
  inner: number,
  gptq: Gptq | undefined,
): Omit<Linears, "fc"> {
  const [q, kv] = [s.heads * s.headDim, s.kvHeads * s.headDim];
  const linear = (name: string, rows: number, cols: number) => readLinear(table, `${p}${name}`, [rows, cols], gptq);
  const fused = table.find(`${p}self_attn.qkv_proj.weight`);
  const part = (first: number, rows: number): WeightFile => {
    const whole = table.get(fused!.name, [q + 2 * kv, inputs]);
    const bytes = whole.bytes / (q + 2 * kv);
    return {
      kind: "plain",
      tensor: { ...whole, shape: [rows, inputs], offset: whole.offset + first * bytes, bytes: rows * bytes },
      ropeHeads: 0,
    };
  };
  return {
    q: fused ? part(0, q) : linear("self_attn.q_proj", q, inputs),
    k: fused ? part(q, kv) : linear("self_attn.k_proj", kv, inputs),
    v: fused ? part(q + kv, kv) : linear("self_attn.v_proj", kv, inputs),
    o: linear("self_attn.o_proj", s.hidden, q),
    gate: linear("mlp.gate_proj", inner, s.hidden),
    up: linear("mlp.up_proj", inner, s.hidden),
    down: linear("mlp.down_proj", s.hidden, inner),
  };
}

function readSecond(table: TensorTable, s: Shape, gptq: Gptq | undefined): Read {
  const p = "layers.0.";
  const norm = (name: string) => (table.has(name) ? table.get(name, [s.hidden]) : undefined);
  const inner = innerSize(table, `${p}mlp.gate_proj`);
  return {
    version: 2,
    intermediate: inner,
    fcInputs: 2 * s.hidden,
    linears: { fc: readWeight(table, "fc", [s.hidden, 2 * s.hidden], gptq), ...layerLinears(table, p, s, s.hidden, inner, gptq) },
    norms: {
      bias: norm("fc.bias"),
      embedNorm: norm("input_norm1.weight"),
      hiddenNorm: norm("input_norm2.weight"),
      attnNorm: norm(`${p}input_layernorm.weight`),
      ffnNorm: table.get(`${p}post_attention_layernorm.weight`, [s.hidden]),
      norm: undefined,
      tapNorm: undefined,
    },
    head: undefined,
    vocabulary: undefined,
  };
}

async function readThird(
  table: TensorTable,
  p: string,
  s: Shape,
  gptq: Gptq | undefined,
  target: ModelConfig,
  normedTaps: boolean,
  signal: AbortSignal | undefined,
): Promise<Read> {
  const norm = (name: string) => table.get(name, [s.hidden]);
  const inner = innerSize(table, `${p}mlp.gate_proj`);
  if (target.layers < 4)
    throw new CpmError("unsupported", `an EAGLE-3 head taps a target of 4 layers or more; this one has ${target.layers}`);
  const vocabulary = await readOffsets(table, target, signal);
  const rows = vocabulary?.length ?? target.vocab;
  return {
    version: 3,
    intermediate: inner,
    fcInputs: 3 * s.hidden,
    linears: {
      fc: readWeight(table, "fc", [s.hidden, 3 * s.hidden], gptq),
      ...layerLinears(table, p, s, 2 * s.hidden, inner, gptq),
    },
    norms: {
      bias: table.has("fc.bias") ? norm("fc.bias") : undefined,
      embedNorm: norm(`${p}input_layernorm.weight`),
      hiddenNorm: norm(`${p}hidden_norm.weight`),
      attnNorm: undefined,
      ffnNorm: norm(`${p}post_attention_layernorm.weight`),
      norm: norm("norm.weight"),
      tapNorm: normedTaps ? table.get("input_norm.weight", [3 * s.hidden]) : undefined,
    },
    head: { kind: "plain", tensor: table.get("lm_head.weight", [rows, s.hidden]), ropeHeads: 0 },
    vocabulary,
  };
}

/** d2t: draft id i is token i + d2t[i]. */
async function readOffsets(
  table: TensorTable,
  target: ModelConfig,
  signal: AbortSignal | undefined,
): Promise<Int32Array | undefined> {
  const tensor = table.find("d2t");
  if (!tensor) return undefined;
  const fail = (expected: string, found: string): never => {
    throw modelError({ file: tensor.source.name, offset: tensor.offset, field: "d2t", expected, found }, "draft vocabulary");
  };
  if (
    (tensor.type !== "I32" && tensor.type !== "I64") ||
    tensor.shape.length !== 1 ||
    tensor.shape[0]! < 1 ||
    tensor.shape[0]! > target.vocab
  )
    fail(`at most ${target.vocab} integers`, `${tensor.type} [${tensor.shape}]`);
  const bytes = await tensor.source.read(tensor.offset, tensor.bytes, signal);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Int32Array.from({ length: tensor.shape[0]! }, (_, i) => {
    const token = i + Number(tensor.type === "I64" ? view.getBigInt64(8 * i, true) : view.getInt32(4 * i, true));
    return token >= 0 && token < target.vocab ? token : fail(`tokens below ${target.vocab}`, `${token} at ${i}`);
  });
}
