import { expect, test } from "vitest";
import { checkDraft } from "../../src/door/draft.ts";
import { load } from "../support/engine.ts";
import { noise } from "../support/noise.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";
import { say } from "./rig.ts";

// The definition in double precision: rows one by one, keys and values in lists.
type Vector = Float64Array;
const shape = { layers: 6, hidden: 64, intermediate: 96, heads: 4, kvHeads: 2, headDim: 16, vocab: 320, tied: true };
const tiny = tinyModel(shape, 3);
const { hidden: H, heads, kvHeads, headDim: D, layers: N, vocab } = shape;
const [scaleEmbedding, eps, residual] = [12, 1e-5, 1.4 / Math.sqrt(N)];

const times = (w: Float32Array, x: Vector): Vector => {
  const rows = w.length / x.length;
  return Float64Array.from({ length: rows }, (_, r) => x.reduce((sum, v, k) => sum + w[r * x.length + k]! * v, 0));
};
const rms = (x: Vector, w: Float32Array): Vector => {
  const scale = 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length + eps);
  return x.map((v, k) => v * scale * w[k]!);
};
const joined = (...parts: Vector[]): Vector => Float64Array.from(parts.flatMap((p) => [...p]));
const plus = (x: Vector, y: Vector, r: number): Vector => x.map((v, k) => v + r * y[k]!);

function turned(x: Vector, position: number): Vector {
  const out = x.slice();
  for (let h = 0; h < x.length; h += D)
    for (let i = 0; i < D / 2; i++) {
      const angle = position * 10000 ** ((-2 * i) / D);
      const [a, b] = [x[h + i]!, x[h + i + D / 2]!];
      out[h + i] = a * Math.cos(angle) - b * Math.sin(angle);
      out[h + i + D / 2] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  return out;
}

interface Cache {
  readonly k: Vector[];
  readonly v: Vector[];
}

/** What a layer's attention and MLP make of x, `input` being what its queries, keys and values read. */
function layer(w: (name: string) => Float32Array, cache: Cache, x: Vector, input: Vector, position: number, r: number): Vector {
  const q = turned(times(w("self_attn.q_proj"), input), position);
  cache.k.push(turned(times(w("self_attn.k_proj"), input), position));
  cache.v.push(times(w("self_attn.v_proj"), input));
  const out = new Float64Array(heads * D);
  for (let h = 0; h < heads; h++) {
    const g = Math.floor(h / (heads / kvHeads)) * D;
    const scores = cache.k.map((k) => {
      let sum = 0;
      for (let d = 0; d < D; d++) sum += q[h * D + d]! * k[g + d]!;
      return sum / Math.sqrt(D);
    });
    const most = Math.max(...scores);
    const weights = scores.map((s) => Math.exp(s - most));
    const total = weights.reduce((a, b) => a + b, 0);
    for (const [j, v] of cache.v.entries()) for (let d = 0; d < D; d++) out[h * D + d]! += (weights[j]! / total) * v[g + d]!;
  }
  const y = plus(x, times(w("self_attn.o_proj"), out), r);
  const inner = rms(y, w("post_attention_layernorm"));
  const up = times(w("mlp.up_proj"), inner);
  const gate = times(w("mlp.gate_proj"), inner).map((g, k) => (g / (1 + Math.exp(-g))) * up[k]!);
  return plus(y, times(w("mlp.down_proj"), gate), r);
}

const weight = (name: string): Float32Array => tiny.weights.get(`${name}.weight`)!.values;
const embedding = (token: number): Vector =>
  Float64Array.from(weight("model.embed_tokens").subarray(token * H, (token + 1) * H), (v) => v * scaleEmbedding);

/** The streams that enter layers 2, n / 2 and n - 3, times the residual scale, for each token. */
function taps(tokens: readonly number[]): Vector[] {
  const caches = Array.from({ length: N }, (): Cache => ({ k: [], v: [] }));
  return tokens.map((token, position) => {
    let x = embedding(token);
    const entering: Vector[] = [];
    for (let i = 0; i < N; i++) {
      entering.push(x);
      const w = (name: string) => weight(`model.layers.${i}.${name}`);
      x = layer(w, caches[i]!, x, rms(x, w("input_layernorm")), position, residual);
    }
    return joined(...[2, N >> 1, N - 3].map((i) => entering[i]!.map((v) => v * residual)));
  });
}

const draftVocab = 100;
const random = noise(17);
const tensor = (rows: number, cols: number, size = 3 / Math.sqrt(cols)) => ({
  shape: [rows, cols],
  values: Float32Array.from({ length: rows * cols }, () => (random() - 0.5) * size),
});
const norm = () => ({ shape: [H], values: Float32Array.from({ length: H }, () => 0.8 + 0.4 * random()) });
const head = new Map<string, { shape: number[]; values: Float32Array }>([
  ["fc.weight", tensor(H, 3 * H)],
  ["midlayer.self_attn.q_proj.weight", tensor(heads * D, 2 * H)],
  ["midlayer.self_attn.k_proj.weight", tensor(kvHeads * D, 2 * H)],
  ["midlayer.self_attn.v_proj.weight", tensor(kvHeads * D, 2 * H)],
  ["midlayer.self_attn.o_proj.weight", tensor(H, heads * D)],
  ["midlayer.mlp.gate_proj.weight", tensor(96, H)],
  ["midlayer.mlp.up_proj.weight", tensor(96, H)],
  ["midlayer.mlp.down_proj.weight", tensor(H, 96)],
  ["midlayer.hidden_norm.weight", norm()],
  ["midlayer.input_layernorm.weight", norm()],
  ["midlayer.post_attention_layernorm.weight", norm()],
  ["norm.weight", norm()],
  ["lm_head.weight", tensor(draftVocab, H, 12 / Math.sqrt(H))],
]);
// Draft id i is token 3 i + 1.
const offsets = BigInt64Array.from({ length: draftVocab }, (_, i) => BigInt(2 * i + 1));

function safetensors(): Uint8Array {
  const entries = [...head].map(([name, { shape, values }]) => ({
    name,
    dtype: "F32",
    shape,
    bytes: new Uint8Array(values.buffer),
  }));
  entries.push({ name: "d2t", dtype: "I64", shape: [draftVocab], bytes: new Uint8Array(offsets.buffer) });
  let at = 0;
  const json = Object.fromEntries(
    entries.map(({ name, dtype, shape, bytes }) => [name, { dtype, shape, data_offsets: [at, (at += bytes.length)] }]),
  );
  const text = new TextEncoder().encode(JSON.stringify(json));
  const out = new Uint8Array(8 + text.length + at);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  let to = 8 + text.length;
  for (const { bytes } of entries) {
    out.set(bytes, to);
    to += bytes.length;
  }
  return out;
}

test("an EAGLE-3 head drafts the chain that its definition drafts: three taps, its own vocabulary with offsets", async () => {
  const prompt = [1, 50, 99, 148, 7, 260];
  const trees: { tokens: number[]; values: number[] }[] = [];
  const draft = {
    ...checkDraft(false),
    eagle: { depth: 4, width: 1, size: 5, window: 0, weights: "auto" as const, vocabulary: undefined },
    adaptive: false,
  };
  const watch: NonNullable<Parameters<typeof load>[2]>["watch"] = (tree) => {
    const values = Array.from(tree.chance).slice(0, tree.size);
    trees.push({ tokens: Array.from(tree.tokens).slice(0, tree.size), values });
  };
  const engine = await load(tinyGguf(tiny), { kvType: "f32", draft }, { watch }, { "model.safetensors": safetensors() });
  const plain = await say(engine, prompt, { maxTokens: 8, draft: "off" });
  const quick = await say(engine, prompt, { maxTokens: 8 });
  expect(quick.tokens).toEqual(plain.tokens);

  const w = (name: string) => head.get(`midlayer.${name}.weight`)!.values;
  const r = (residual * Math.sqrt(N)) / Math.sqrt(N + 1);
  const cache: Cache = { k: [], v: [] };
  const step = (token: number, x: Vector, position: number): Vector =>
    layer(w, cache, x, joined(rms(embedding(token), w("input_layernorm")), rms(x, w("hidden_norm"))), position, r);
  const root = quick.tokens[0]!;
  const next = [...prompt.slice(1), root];
  let y: Vector = new Float64Array(H);
  for (const [t, tap] of taps(prompt).entries()) y = step(next[t]!, times(head.get("fc.weight")!.values, tap), t);
  const tokens = [root];
  const chances = [1];
  for (let depth = 1; ; depth++) {
    const logits = times(head.get("lm_head.weight")!.values, rms(y, head.get("norm.weight")!.values));
    const id = logits.indexOf(Math.max(...logits));
    tokens.push(3 * id + 1);
    chances.push(1 / logits.reduce((sum, v) => sum + Math.exp(v - logits[id]!), 0));
    if (depth === 4) break;
    y = step(3 * id + 1, y, prompt.length - 1 + depth);
  }
  expect(tokens.every((t) => t < vocab)).toBe(true);
  expect(trees[0]!.tokens).toEqual(tokens);
  for (const [i, chance] of chances.entries()) expect(trees[0]!.values[i]).toBeCloseTo(chance, 4);
});
