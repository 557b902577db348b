// Draft heads of random weights for tiny targets, and the file that they are written to.

import { type StoredTensor, writeSafetensors } from "./folder.ts";
import { noise } from "./noise.ts";
import { floatBytes, type Shape } from "./tiny.ts";

/** Tensors by their published names, as float32. */
export type Head = ReadonlyMap<string, { readonly shape: readonly number[]; readonly values: Float32Array }>;

/** A head of one layer. EAGLE-2 with a bias and all norms; EAGLE-3 with rows of its own for every other token. */
export function tinyHead(version: 2 | 3, target: Shape, intermediate = target.intermediate, seed = 23): Head {
  const random = noise(seed);
  const { hidden, vocab } = target;
  const [q, kv] = [target.heads * target.headDim, target.kvHeads * target.headDim];
  const p = version === 2 ? "layers.0." : "midlayer.";
  const inputs = version === 2 ? hidden : 2 * hidden;
  const linears: Record<string, [number, number]> = {
    fc: [hidden, version * hidden],
    [`${p}self_attn.q_proj`]: [q, inputs],
    [`${p}self_attn.k_proj`]: [kv, inputs],
    [`${p}self_attn.v_proj`]: [kv, inputs],
    [`${p}self_attn.o_proj`]: [hidden, q],
    [`${p}mlp.gate_proj`]: [intermediate, hidden],
    [`${p}mlp.up_proj`]: [intermediate, hidden],
    [`${p}mlp.down_proj`]: [hidden, intermediate],
    ...(version === 3 ? { lm_head: [Math.floor(vocab / 2), hidden] as [number, number] } : {}),
  };
  const norms =
    version === 2
      ? ["input_norm1", "input_norm2", `${p}input_layernorm`, `${p}post_attention_layernorm`]
      : [`${p}input_layernorm`, `${p}hidden_norm`, `${p}post_attention_layernorm`, "norm"];
  const vector = (least: number) => ({
    shape: [hidden],
    values: Float32Array.from({ length: hidden }, () => least + 0.4 * random()),
  });
  const head = new Map<string, { readonly shape: readonly number[]; readonly values: Float32Array }>();
  for (const [name, [rows, cols]] of Object.entries(linears)) {
    const values = Float32Array.from({ length: rows * cols }, () => ((random() - 0.5) * 3.46) / Math.sqrt(cols));
    head.set(`${name}.weight`, { shape: [rows, cols], values });
  }
  for (const name of norms) head.set(`${name}.weight`, vector(0.8));
  if (version === 2) head.set("fc.bias", vector(-0.2));
  return head;
}

export const headTensors = (head: Head): StoredTensor[] =>
  [...head].map(([name, { shape, values }]) => ({ name, dtype: "F32", shape, bytes: floatBytes(values, "F32") }));

/** The bare file; an EAGLE-3 head with the tokens that its rows mean. */
export const headFile = (head: Head): Uint8Array => writeSafetensors([...headTensors(head), ...offsets(head)]);

/** Which tokens the rows of an EAGLE-3 head mean: every other one. */
export function offsets(head: Head): StoredTensor[] {
  const rows = head.get("lm_head.weight")?.shape[0];
  if (rows === undefined) return [];
  return [
    { name: "d2t", dtype: "I32", shape: [rows], bytes: new Uint8Array(Int32Array.from({ length: rows }, (_, i) => i).buffer) },
  ];
}

/** An MTP layer by the names behind `model.layers.N.`. `blind`: its attention adds nothing; `rows`: with a head and an embedding of its own. */
export function tinyMtp(
  { hidden, heads, kvHeads, headDim, vocab, intermediate }: Shape,
  { blind = false, rows = false }: { readonly blind?: boolean; readonly rows?: boolean } = {},
): Head {
  const random = noise(31);
  const sizes: Readonly<Record<string, readonly number[]>> = {
    enorm: [hidden],
    hnorm: [hidden],
    eh_proj: [hidden, 2 * hidden],
    "shared_head.norm": [hidden],
    input_layernorm: [hidden],
    post_attention_layernorm: [hidden],
    "self_attn.q_proj": [heads * headDim, hidden],
    "self_attn.k_proj": [kvHeads * headDim, hidden],
    "self_attn.v_proj": [kvHeads * headDim, hidden],
    "self_attn.o_proj": [hidden, heads * headDim],
    "mlp.gate_proj": [intermediate, hidden],
    "mlp.up_proj": [intermediate, hidden],
    "mlp.down_proj": [hidden, intermediate],
    ...(rows ? { "shared_head.head": [vocab, hidden], embed_tokens: [vocab, hidden] } : {}),
  };
  return new Map(
    Object.entries(sizes).map(([name, shape]) => {
      const cols = shape[1];
      const make = cols === undefined ? () => 0.8 + 0.4 * random() : () => ((random() - 0.5) * 3.46) / Math.sqrt(cols);
      const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, make);
      return [name, { shape, values: blind && name.includes("o_proj") ? values.fill(0) : values }] as const;
    }),
  );
}
