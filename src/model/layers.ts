// A layer's tensors in either container: their names, and which of them a configuration asks for.
import {
  type LayerFiles,
  LINEARS,
  type Linear,
  type ModelConfig,
  type Traits,
  type VectorName,
  type WeightFile,
} from "./config.ts";
import { packedRows } from "./gptq.ts";
import { linearShapes } from "./shapes.ts";

/** Names below a layer, without ".weight" and ".bias". */
export interface LayerNames {
  readonly linears: Readonly<Record<Linear, string>>;
  readonly norms: Readonly<Record<Exclude<VectorName, `${Linear}Bias`>, string>>;
  readonly qkv: string;
  readonly gateUp: string;
}

/** Names of a Hugging Face folder. The norm between attention and MLP is called alike whichever side it stands on. */
export const folderNames = (norms: Traits["norms"]): LayerNames => ({
  linears: {
    q: "self_attn.q_proj",
    k: "self_attn.k_proj",
    v: "self_attn.v_proj",
    o: "self_attn.o_proj",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
  },
  norms: {
    attnNorm: "input_layernorm",
    ffnNorm: norms === "both" ? "pre_feedforward_layernorm" : "post_attention_layernorm",
    attnPost: "post_attention_layernorm",
    ffnPost: "post_feedforward_layernorm",
    qNorm: "self_attn.q_norm",
    kNorm: "self_attn.k_norm",
  },
  qkv: "self_attn.qkv_proj",
  gateUp: "mlp.gate_up_proj",
});

export const ggufNames: LayerNames = {
  linears: {
    q: "attn_q",
    k: "attn_k",
    v: "attn_v",
    o: "attn_output",
    gate: "ffn_gate",
    up: "ffn_up",
    down: "ffn_down",
  },
  norms: {
    attnNorm: "attn_norm",
    ffnNorm: "ffn_norm",
    attnPost: "post_attention_norm",
    ffnPost: "post_ffw_norm",
    qNorm: "attn_q_norm",
    kNorm: "attn_k_norm",
  },
  qkv: "attn_qkv",
  gateUp: "ffn_up",
};

/** A vector that every layer of a configuration has: its name in files, its length, and the heads whose rows it follows. */
export interface WantedVector {
  readonly vector: VectorName;
  readonly name: string;
  readonly length: number;
  readonly heads: number;
}

export function wantedVectors(c: ModelConfig, names: LayerNames): WantedVector[] {
  const { norms, qkNorm, biases = [] } = c.traits ?? {};
  const norm = (vector: keyof LayerNames["norms"], length = c.hidden): WantedVector => ({
    vector,
    name: `${names.norms[vector]}.weight`,
    length,
    heads: 0,
  });
  const shapes = linearShapes(c);
  return [
    ...(norms === "post" ? [] : [norm("attnNorm"), norm("ffnNorm")]),
    ...(norms === undefined ? [] : [norm("attnPost"), norm("ffnPost")]),
    ...(qkNorm === "head" ? [norm("qNorm", c.headDim), norm("kNorm", c.headDim)] : []),
    ...(qkNorm === "whole" ? [norm("qNorm", c.heads * c.headDim), norm("kNorm", c.kvHeads * c.headDim)] : []),
    ...biases.map(
      (linear): WantedVector => ({
        vector: `${linear}Bias`,
        name: `${names.linears[linear]}.bias`,
        length: shapes[linear][0],
        heads: linear === "q" ? c.heads : linear === "k" ? c.kvHeads : 0,
      }),
    ),
  ];
}

/** Rows [first, first + rows) of a weight. */
function rowsOf(whole: WeightFile, first: number, rows: number): WeightFile {
  if (whole.kind === "gptq") return packedRows(whole, first, rows);
  const { tensor } = whole;
  const bytes = tensor.bytes / tensor.shape[0]!;
  const part = { ...tensor, shape: [rows, tensor.shape[1]!], offset: tensor.offset + first * bytes, bytes: rows * bytes };
  return { kind: "plain", tensor: part, ropeHeads: 0 };
}

/** The linears of a layer whose q, k and v lie in one tensor, and gate and up in another: rows in this order. */
export function fusedLinears(
  c: ModelConfig,
  names: LayerNames,
  get: (name: string, shape: readonly [number, number]) => WeightFile,
): Pick<LayerFiles, Linear> {
  const shapes = linearShapes(c);
  const [q, kv, inner] = [shapes.q[0], shapes.k[0], c.intermediate];
  const qkv = get(names.qkv, [q + 2 * kv, c.hidden]);
  const both = get(names.gateUp, [2 * inner, c.hidden]);
  return {
    q: rowsOf(qkv, 0, q),
    k: rowsOf(qkv, q, kv),
    v: rowsOf(qkv, q + kv, kv),
    o: get(names.linears.o, shapes.o),
    gate: rowsOf(both, 0, inner),
    up: rowsOf(both, inner, inner),
    down: get(names.linears.down, shapes.down),
  };
}

/** An object by linear. */
export const eachLinear = <T>(make: (linear: Linear) => T): Record<Linear, T> =>
  Object.fromEntries(LINEARS.map((linear) => [linear, make(linear)])) as Record<Linear, T>;
