// The models that can be trained: their shape, the names and sizes of their tensors, and how they begin.
import { CpmError } from "../errors.ts";
import type { SparseConfig } from "../model/sparse.ts";
import { shown } from "../shown.ts";

/** A decoder of MiniCPM's family. */
export interface TrainShape {
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocab: number;
  readonly rmsEps: number;
  readonly ropeTheta: number;
  /** Divisors of the rotation's frequencies (headDim / 2), or none. */
  readonly ropeFactors?: readonly number[] | undefined;
  /** Multiplies cos and sin. */
  readonly ropeScale: number;
  readonly embeddingScale: number;
  readonly residualScale: number;
  /** Of an EAGLE-2 head's layer: scale_depth / sqrt(layers + 1). */
  readonly headResidualScale: number;
  /** Multiplies the final hidden state before the head. */
  readonly logitScale: number;
  readonly tied: boolean;
  /** hidden / dim_model_base: muP's width. */
  readonly width: number;
  /** InfLLM v2; undefined: dense. */
  readonly sparse?: (SparseConfig & { readonly exactLse?: boolean }) | undefined;
}

/** A tensor by its name in safetensors; shape [out, in], or [n] of norms. */
export interface TensorShape {
  readonly name: string;
  readonly shape: readonly number[];
}

export const countOf = ({ shape }: TensorShape): number => shape.reduce((a, b) => a * b, 1);

/** The seven linear layers of a block, as [name, out, in]. */
export function blockMatrices(s: TrainShape): readonly (readonly [string, number, number])[] {
  const [q, kv] = [s.heads * s.headDim, s.kvHeads * s.headDim];
  return [
    ["self_attn.q_proj", q, s.hidden],
    ["self_attn.k_proj", kv, s.hidden],
    ["self_attn.v_proj", kv, s.hidden],
    ["self_attn.o_proj", s.hidden, q],
    ["mlp.gate_proj", s.intermediate, s.hidden],
    ["mlp.up_proj", s.intermediate, s.hidden],
    ["mlp.down_proj", s.hidden, s.intermediate],
  ];
}

/** Tensors of one decoder layer. */
export const blockTensors = (s: TrainShape, prefix: string): TensorShape[] => [
  { name: `${prefix}input_layernorm.weight`, shape: [s.hidden] },
  ...blockMatrices(s)
    .slice(0, 4)
    .map(([name, out, of]) => ({ name: `${prefix}${name}.weight`, shape: [out, of] })),
  { name: `${prefix}post_attention_layernorm.weight`, shape: [s.hidden] },
  ...blockMatrices(s)
    .slice(4)
    .map(([name, out, of]) => ({ name: `${prefix}${name}.weight`, shape: [out, of] })),
];

export const EMBEDDING = "model.embed_tokens.weight";
export const HEAD = "lm_head.weight";
export const NORM = "model.norm.weight";
export const layerPrefix = (layer: number): string => `model.layers.${layer}.`;

/** Tensors of a model, in the order in which their gradients are summed up for clipping. */
export const modelTensors = (s: TrainShape): TensorShape[] => [
  { name: EMBEDDING, shape: [s.vocab, s.hidden] },
  ...Array.from({ length: s.layers }, (_, l) => blockTensors(s, layerPrefix(l))).flat(),
  { name: NORM, shape: [s.hidden] },
  ...(s.tied ? [] : [{ name: HEAD, shape: [s.vocab, s.hidden] }]),
];

/** Tensors of an EAGLE-2 head, as published ones are named. */
export const eagleTensors = (s: TrainShape): TensorShape[] => [
  { name: "input_norm1.weight", shape: [s.hidden] },
  { name: "input_norm2.weight", shape: [s.hidden] },
  { name: "fc.weight", shape: [s.hidden, 2 * s.hidden] },
  { name: "fc.bias", shape: [s.hidden] },
  ...blockTensors(s, "layers.0."),
];

/** What the names of an EAGLE-3 head's tensors begin with here: it has an lm_head.weight beside the target's. Files leave it out. */
export const EAGLE3 = "eagle3.";

/** Tensors of an EAGLE-3 head that drafts `vocab` tokens (default: the target's). */
export const eagle3Tensors = (s: TrainShape, vocab = s.vocab): TensorShape[] => {
  const layer = blockTensors(s, "midlayer.").map((t) =>
    /\.(?:q|k|v)_proj\./.test(t.name) ? { ...t, shape: [t.shape[0]!, 2 * s.hidden] } : t,
  );
  return [
    { name: "fc.weight", shape: [s.hidden, 3 * s.hidden] },
    { name: "midlayer.hidden_norm.weight", shape: [s.hidden] },
    ...layer,
    { name: "norm.weight", shape: [s.hidden] },
    { name: "lm_head.weight", shape: [vocab, s.hidden] },
  ].map((t) => ({ ...t, name: `${EAGLE3}${t.name}` }));
};

/** Tensors of a multi-token-prediction layer. */
export const mtpTensors = (s: TrainShape): TensorShape[] => [
  { name: "mtp.norm_h.weight", shape: [s.hidden] },
  { name: "mtp.norm_e.weight", shape: [s.hidden] },
  { name: "mtp.proj.weight", shape: [s.hidden, 2 * s.hidden] },
  ...blockTensors(s, "mtp.layers.0."),
  { name: "mtp.norm.weight", shape: [s.hidden] },
];

/** Tensors of LoRA adapters of `rank` on the linear layers whose names end as one of `targets`. */
export const loraTensors = (s: TrainShape, rank: number, targets?: readonly string[]): TensorShape[] =>
  Array.from({ length: s.layers }, (_, l) =>
    blockMatrices(s)
      .filter(([name]) => !targets || targets.some((t) => name.endsWith(t)))
      .flatMap(([name, out, of]) => [
        { name: `${layerPrefix(l)}${name}.lora_A.weight`, shape: [rank, of] },
        { name: `${layerPrefix(l)}${name}.lora_B.weight`, shape: [out, rank] },
      ]),
  ).flat();

/** Whether muP scales this tensor with the width: matrices of layers, and only those. */
export const isHidden = ({ name, shape }: TensorShape): boolean =>
  shape.length === 2 && name !== EMBEDDING && name.replace(EAGLE3, "") !== HEAD;

/** MiniCPM's muP: [factor of the learning rate, standard deviation at the start (undefined: ones)] of a tensor. */
export const mupScales = (t: TensorShape, width: number, std = 0.1): readonly [number, number | undefined] =>
  isHidden(t) ? [1 / width, std / Math.sqrt(width)] : [1, t.shape.length === 2 ? std : undefined];

/** Checks what kernels take for granted. @throws CpmError "unsupported" */
export function checkShape(s: TrainShape): void {
  const fail = (field: string, expected: string, found: unknown): never => {
    throw new CpmError("unsupported", `training: ${field}: expected ${expected}, found ${shown(found)}`, {
      field,
      expected,
      found: shown(found),
    });
  };
  for (const field of ["layers", "hidden", "intermediate", "heads", "kvHeads", "headDim", "vocab"] as const)
    if (!(Number.isInteger(s[field]) && s[field] > 0)) fail(field, "a whole number above 0", s[field]);
  if (s.heads % s.kvHeads !== 0) fail("kvHeads", `a divisor of ${s.heads} heads`, s.kvHeads);
  if (s.headDim % 2 !== 0) fail("headDim", "an even number", s.headDim);
  if (s.vocab * s.hidden > 2 ** 31 - 1) fail("vocab", "fewer than 2^31 numbers in the embedding", s.vocab * s.hidden);
  if (s.ropeFactors && s.ropeFactors.length !== s.headDim / 2)
    fail("ropeFactors", `${s.headDim / 2} divisors`, s.ropeFactors.length);
}
