// Small random models in code, and the two containers that they can be written to.

import type { ModelFiles } from "../../src/file/source.ts";
import { jsonBytes, type StoredTensor, writeSafetensors, writeSentencePiece } from "./folder.ts";
import {
  f32,
  flag,
  type GgufParts,
  type GgufTensor,
  i32,
  list,
  TYPE_IDS,
  text,
  u32,
  type Value,
  writeGguf,
  writeHeader,
} from "./gguf.ts";
import { noise } from "./noise.ts";

export interface Shape {
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocab: number;
  readonly tied: boolean;
}

/** Weights by their Hugging Face names, as float32, rows of rotated heads in half-split order. */
export interface Tiny {
  readonly shape: Shape;
  readonly weights: ReadonlyMap<string, { readonly shape: readonly number[]; readonly values: Float32Array }>;
}

const standard: Shape = { layers: 2, hidden: 64, intermediate: 96, heads: 4, kvHeads: 2, headDim: 16, vocab: 320, tied: true };

/** Shapes of all weights by name. */
export function dims({
  layers,
  hidden,
  intermediate,
  heads,
  kvHeads,
  headDim,
  vocab,
  tied,
}: Shape): Map<string, readonly number[]> {
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  const layer = {
    "input_layernorm.weight": [hidden],
    "post_attention_layernorm.weight": [hidden],
    "self_attn.q_proj.weight": [q, hidden],
    "self_attn.k_proj.weight": [kv, hidden],
    "self_attn.v_proj.weight": [kv, hidden],
    "self_attn.o_proj.weight": [hidden, q],
    "mlp.gate_proj.weight": [intermediate, hidden],
    "mlp.up_proj.weight": [intermediate, hidden],
    "mlp.down_proj.weight": [hidden, intermediate],
  };
  const outer: [string, number[]][] = [
    ["model.embed_tokens.weight", [vocab, hidden]],
    ["model.norm.weight", [hidden]],
    ...(tied ? [] : [["lm_head.weight", [vocab, hidden]] as [string, number[]]]),
  ];
  const inner = Array.from({ length: layers }, (_, i) =>
    Object.entries(layer).map(([name, shape]): [string, number[]] => [`model.layers.${i}.${name}`, shape]),
  );
  return new Map([...outer, ...inner.flat()]);
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export function tinyModel(overrides: Partial<Shape> = {}, seed = 1): Tiny {
  const shape = { ...standard, ...overrides };
  const random = noise(seed);
  const values = (name: string, [rows, cols]: readonly number[]): Float32Array => {
    // Norms are values that every float type holds; linears are uniform with a deviation of about 1 / sqrt(cols).
    const width = name.includes("embed") ? 0.3 : 3.46 / Math.sqrt(cols ?? 1);
    return Float32Array.from(
      { length: rows! * (cols ?? 1) },
      cols === undefined ? () => 0.75 + Math.floor(random() * 32) / 64 : () => (random() - 0.5) * width,
    );
  };
  return { shape, weights: new Map([...dims(shape)].map(([name, size]) => [name, { shape: size, values: values(name, size) }])) };
}

/** A GGUF of F16 zeros that takes no memory, whatever its shape. */
export function hollowModel(overrides: Partial<Shape>): ModelFiles {
  const shape = { ...standard, ...overrides };
  let size = 0;
  const tensors = [...dims(shape)].map(([name, size_]): GgufTensor => {
    const offset = size;
    size += Math.ceil((2 * sizeOf(size_)) / 32) * 32;
    return { name: ggufName(name), type: TYPE_IDS.F16, shape: size_, bytes: new Uint8Array(0), offset };
  });
  const header = writeHeader({ metadata: tinyMetadata(shape), tensors });
  const read = async (offset: number, length: number) => {
    const out = new Uint8Array(length);
    if (offset < header.length) out.set(header.subarray(offset, offset + length));
    return out;
  };
  return {
    entry: "hollow.gguf",
    open: async (name) => ({ name, size: header.length + size, read, close: async () => {} }),
    close: async () => {},
  };
}

/** <unk>, <s>, </s>, the 256 bytes, then letters: enough for any text. */
export function pieces(vocab: number): { pieces: string[]; scores: number[]; types: number[] } {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`);
  const names = [
    "<unk>",
    "<s>",
    "</s>",
    ...bytes,
    ...Array.from({ length: Math.max(0, vocab - 259) }, (_, i) => String.fromCodePoint(i < 26 ? 97 + i : 0x4e00 + i)),
  ].slice(0, vocab);
  return {
    pieces: names,
    scores: names.map((_, i) => -i),
    types: names.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1)),
  };
}

export type FloatType = "F32" | "F16" | "BF16";

const scratch = new DataView(new ArrayBuffer(4));

/** The half nearest to a float in its normal range; smaller ones become zero. */
export function halfBits(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  const exponent = ((bits >>> 23) & 255) - 112;
  if (exponent <= 0) return 0;
  const rounded = (exponent << 10) + ((bits & 0x7fffff) >>> 13) + ((bits >>> 12) & 1);
  return ((bits >>> 31) << 15) | rounded;
}

export function halfValue(bits: number): number {
  const magnitude =
    (bits & 0x7c00) === 0 ? (bits & 0x3ff) * 2 ** -24 : (1 + (bits & 0x3ff) / 1024) * 2 ** (((bits >> 10) & 31) - 15);
  return bits & 0x8000 ? -magnitude : magnitude;
}

export function floatBytes(values: Float32Array, type: FloatType): Uint8Array {
  if (type === "F32") return new Uint8Array(values.slice().buffer);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return new Uint8Array(Uint16Array.from(values, (v, i) => (type === "BF16" ? bits[i]! >>> 16 : halfBits(v))).buffer);
}

/** Rows of each head in the order of GGUF: 2i is i, 2i + 1 is i + dim / 2. */
export function interleaved<T extends Uint8Array | Float32Array>(data: T, rows: number, heads: number): T {
  const [width, dim] = [data.length / rows, rows / heads];
  const out = data.slice() as T;
  for (let row = 0; row < rows; row++) {
    const r = row % dim;
    const from = row - r + (r & 1) * (dim / 2) + (r >> 1);
    out.set(data.subarray(from * width, (from + 1) * width), row * width);
  }
  return out;
}

/** Undoes `interleaved`. */
export function halfSplit<T extends Uint8Array | Float32Array>(data: T, rows: number, heads: number): T {
  const [width, dim] = [data.length / rows, rows / heads];
  const out = data.slice() as T;
  for (let row = 0; row < rows; row++) {
    const r = row % dim;
    const to = row - r + (r & 1) * (dim / 2) + (r >> 1);
    out.set(data.subarray(row * width, (row + 1) * width), to * width);
  }
  return out;
}

const ggufNames: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens/, "token_embd"],
  [/^model\.norm/, "output_norm"],
  [/^lm_head/, "output"],
  [/^model\.layers\.(\d+)\.input_layernorm/, "blk.$1.attn_norm"],
  [/^model\.layers\.(\d+)\.post_attention_layernorm/, "blk.$1.ffn_norm"],
  [/^model\.layers\.(\d+)\.self_attn\.o_proj/, "blk.$1.attn_output"],
  [/^model\.layers\.(\d+)\.self_attn\.([qkv])_proj/, "blk.$1.attn_$2"],
  [/^model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj/, "blk.$1.ffn_$2"],
];

export function ggufName(name: string): string {
  const [pattern, to] = ggufNames.find(([from]) => from.test(name))!;
  return name.replace(pattern, to);
}

/** Heads of a rotated weight, 0 for others. */
export const rotatedHeads = (name: string, { heads, kvHeads }: Shape): number =>
  /q_proj/.test(name) ? heads : /k_proj/.test(name) ? kvHeads : 0;

export function tinyMetadata(
  { layers, hidden, intermediate, heads, kvHeads, headDim, vocab }: Shape,
  architecture = "minicpm",
): [string, Value][] {
  const tokens = pieces(vocab);
  const own = (name: string) => `${architecture}.${name}`;
  return [
    ["general.architecture", text(architecture)],
    ["general.name", text("tiny")],
    [own("block_count"), u32(layers)],
    [own("context_length"), u32(2048)],
    [own("embedding_length"), u32(hidden)],
    [own("feed_forward_length"), u32(intermediate)],
    [own("attention.head_count"), u32(heads)],
    [own("attention.head_count_kv"), u32(kvHeads)],
    [own("attention.key_length"), u32(headDim)],
    [own("attention.value_length"), u32(headDim)],
    [own("attention.layer_norm_rms_epsilon"), f32(1e-5)],
    [own("rope.dimension_count"), u32(headDim)],
    [own("rope.freq_base"), f32(10000)],
    [own("vocab_size"), u32(vocab)],
    ...(architecture === "minicpm"
      ? ([
          [own("embedding_scale"), f32(12)],
          [own("residual_scale"), f32(1.4 / Math.sqrt(layers))],
          [own("logit_scale"), f32(hidden / 256)],
        ] as [string, Value][])
      : []),
    ["tokenizer.ggml.model", text("llama")],
    ["tokenizer.ggml.tokens", list(8, tokens.pieces.map(text))],
    ["tokenizer.ggml.scores", list(6, tokens.scores.map(f32))],
    ["tokenizer.ggml.token_type", list(5, tokens.types.map(i32))],
    ["tokenizer.ggml.bos_token_id", u32(1)],
    ["tokenizer.ggml.eos_token_id", u32(2)],
    ["tokenizer.ggml.unknown_token_id", u32(0)],
    ["tokenizer.ggml.add_bos_token", flag(true)],
  ];
}

export function tinyTensors({ shape, weights }: Tiny, type: FloatType = "F32"): GgufTensor[] {
  return [...weights].map(([name, { shape: dims, values }]) => {
    const [heads, stored] = [rotatedHeads(name, shape), dims.length === 1 ? "F32" : type];
    return {
      name: ggufName(name),
      type: TYPE_IDS[stored],
      shape: dims,
      bytes: floatBytes(heads ? interleaved(values, dims[0]!, heads) : values, stored),
    };
  });
}

/** The parts of its GGUF, to be changed before they are written. */
export const tinyParts = (model: Tiny, type: FloatType = "F32", architecture = "minicpm"): GgufParts => ({
  metadata: tinyMetadata(model.shape, architecture),
  tensors: tinyTensors(model, type),
});

export const tinyGguf = (model: Tiny = tinyModel(), type: FloatType = "F32", architecture = "minicpm"): Uint8Array =>
  writeGguf(tinyParts(model, type, architecture));

export const tinyConfig = ({
  layers,
  hidden,
  intermediate,
  heads,
  kvHeads,
  headDim,
  vocab,
  tied,
}: Shape): Record<string, unknown> => ({
  architectures: ["MiniCPMForCausalLM"],
  model_type: "minicpm",
  hidden_act: "silu",
  hidden_size: hidden,
  intermediate_size: intermediate,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: kvHeads,
  head_dim: headDim,
  vocab_size: vocab,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  scale_emb: 12,
  scale_depth: 1.4,
  dim_model_base: 256,
  tie_word_embeddings: tied,
  bos_token_id: 1,
  eos_token_id: 2,
});

export const tinyStored = ({ weights }: Tiny, dtype: FloatType = "F32"): StoredTensor[] =>
  [...weights].map(([name, { shape, values }]) => ({ name, dtype, shape, bytes: floatBytes(values, dtype) }));

export function tinyFolder(model: Tiny = tinyModel(), dtype: FloatType = "F32"): Record<string, Uint8Array> {
  const { pieces: names, scores, types } = pieces(model.shape.vocab);
  return {
    "config.json": jsonBytes(tinyConfig(model.shape)),
    "model.safetensors": writeSafetensors(tinyStored(model, dtype)),
    "tokenizer.model": writeSentencePiece(names, scores, types),
    "tokenizer_config.json": jsonBytes({ bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>", add_bos_token: true }),
  };
}
