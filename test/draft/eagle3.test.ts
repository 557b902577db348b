// EAGLE-3 heads as they are published for MiniCPM4.1, Llama 3 and Qwen 3, held to their definition in double precision.
import { describe, expect, test } from "vitest";
import { checkDraft } from "../../src/door/draft.ts";
import { memoryFiles } from "../../src/file/bytes.ts";
import type { ModelInput } from "../../src/file/kind.ts";
import { readHead } from "../../src/model/eagle.ts";
import { readModel } from "../../src/model/read.ts";
import { load } from "../support/engine.ts";
import { jsonBytes, type StoredTensor, writeSafetensors } from "../support/folder.ts";
import { noise } from "../support/noise.ts";
import { floatBytes, type Shape, type Tiny, tinyConfig, tinyFolder, tinyGguf, tinyModel } from "../support/tiny.ts";
import { type Cache, joined, layer, rms, type Sizes, times, type Vector } from "./definition.ts";
import { say } from "./rig.ts";

interface Kind {
  readonly shape: Shape;
  /** Of the target: rotation, residual scale, embedding scale, norms of queries and keys. */
  readonly theta: number;
  readonly minicpm: boolean;
  readonly qkNorms: boolean;
  /** Of the head. */
  readonly head: { readonly heads: number; readonly kvHeads: number; readonly headDim: number; readonly theta: number };
  readonly prefix: "midlayer" | "layers.0";
  readonly taps: readonly number[];
  /** Norms of what the layer adds to, and of all taps together. */
  readonly norms?: "residual" | "residual and taps";
  /** config.json beside the head; absent: a bare file. */
  readonly config?: Readonly<Record<string, unknown>>;
}

const shape: Shape = { layers: 6, hidden: 64, intermediate: 96, heads: 4, kvHeads: 2, headDim: 16, vocab: 320, tied: true };
const kinds: Readonly<Record<string, Kind>> = {
  "MiniCPM4.1": {
    shape,
    theta: 10000,
    minicpm: true,
    qkNorms: false,
    head: { heads: 4, kvHeads: 2, headDim: 16, theta: 10000 },
    prefix: "midlayer",
    taps: [2, 3, 3],
  },
  "Llama 3: a rotation of the head's own, the class's default": {
    shape: { ...shape, layers: 8 },
    theta: 500000,
    minicpm: false,
    qkNorms: false,
    head: { heads: 4, kvHeads: 4, headDim: 16, theta: 10000 },
    prefix: "midlayer",
    taps: [2, 4, 5],
    config: {
      architectures: ["LlamaForCausalLMEagle3"],
      num_hidden_layers: 1,
      num_attention_heads: 4,
      num_key_value_heads: 4,
      draft_vocab_size: 100,
      rms_norm_eps: 1e-5,
    },
  },
  "Qwen 3: heads of another size, no q/k norms in the head, other spelling, layers that its file lists": {
    shape: { ...shape, layers: 7, headDim: 24 },
    theta: 1e6,
    minicpm: false,
    qkNorms: true,
    head: { heads: 2, kvHeads: 1, headDim: 48, theta: 1e6 },
    prefix: "layers.0",
    taps: [1, 3, 6],
    config: {
      num_hidden_layers: 1,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      head_dim: 48,
      rope_theta: 1e6,
      rms_norm_eps: 1e-5,
      eagle_aux_hidden_state_layer_ids: [1, 3, 6],
    },
  },
  "norms before the residual": {
    shape,
    theta: 500000,
    minicpm: false,
    qkNorms: false,
    head: { heads: 4, kvHeads: 2, headDim: 16, theta: 10000 },
    prefix: "midlayer",
    taps: [2, 3, 3],
    norms: "residual",
    config: { num_attention_heads: 4, num_key_value_heads: 2, rms_norm_eps: 1e-5, norm_before_residual: true },
  },
  "speculators' form: norms before the residual and before fc": {
    shape,
    theta: 500000,
    minicpm: false,
    qkNorms: true,
    head: { heads: 4, kvHeads: 2, headDim: 16, theta: 20000 },
    prefix: "layers.0",
    taps: [2, 3, 3],
    norms: "residual and taps",
    config: {
      transformer_layer_config: { num_attention_heads: 4, num_key_value_heads: 2, rope_theta: 20000, rms_norm_eps: 1e-5 },
      norm_before_residual: true,
      norm_before_fc: true,
    },
  },
  "speculators' form: the layer's fields within, layers counted by their outputs": {
    shape,
    theta: 500000,
    minicpm: false,
    qkNorms: true,
    head: { heads: 4, kvHeads: 2, headDim: 16, theta: 20000 },
    prefix: "layers.0",
    taps: [1, 2, 5],
    config: {
      architectures: ["Eagle3Speculator"],
      transformer_layer_config: { num_attention_heads: 4, num_key_value_heads: 2, rope_theta: 20000, rms_norm_eps: 1e-5 },
      eagle_config: { eagle_aux_hidden_state_layer_ids: [0, 1, 4] },
    },
  },
};

const eps = 1e-5;
const draftVocab = 100;
// Draft id i is token 3 i + 1.
const offsets = BigInt64Array.from({ length: draftVocab }, (_, i) => BigInt(2 * i + 1));
type Weights = ReadonlyMap<string, { readonly shape: readonly number[]; readonly values: Float32Array }>;

function headOf({ shape: { hidden: H }, head: { heads, kvHeads, headDim: D }, prefix: p, norms }: Kind): Weights {
  const random = noise(17);
  const tensor = (rows: number, cols: number, size = 3 / Math.sqrt(cols)) => ({
    shape: [rows, cols],
    values: Float32Array.from({ length: rows * cols }, () => (random() - 0.5) * size),
  });
  const norm = (size = H) => ({ shape: [size], values: Float32Array.from({ length: size }, () => 0.8 + 0.4 * random()) });
  return new Map([
    ["fc.weight", tensor(H, 3 * H)],
    [`${p}.self_attn.q_proj.weight`, tensor(heads * D, 2 * H)],
    [`${p}.self_attn.k_proj.weight`, tensor(kvHeads * D, 2 * H)],
    [`${p}.self_attn.v_proj.weight`, tensor(kvHeads * D, 2 * H)],
    [`${p}.self_attn.o_proj.weight`, tensor(H, heads * D)],
    [`${p}.mlp.gate_proj.weight`, tensor(96, H)],
    [`${p}.mlp.up_proj.weight`, tensor(96, H)],
    [`${p}.mlp.down_proj.weight`, tensor(H, 96)],
    [`${p}.hidden_norm.weight`, norm()],
    [`${p}.input_layernorm.weight`, norm()],
    [`${p}.post_attention_layernorm.weight`, norm()],
    ["norm.weight", norm()],
    ["lm_head.weight", tensor(draftVocab, H, 12 / Math.sqrt(H))],
    ...(norms === "residual and taps" ? [["input_norm.weight", norm(3 * H)] as const] : []),
  ]);
}

const stored = (weights: Weights): StoredTensor[] =>
  [...weights].map(([name, { shape, values }]) => ({ name, dtype: "F32", shape, bytes: floatBytes(values, "F32") }));

function headFiles(kind: Kind): Record<string, Uint8Array> {
  const d2t: StoredTensor = { name: "d2t", dtype: "I64", shape: [draftVocab], bytes: new Uint8Array(offsets.slice().buffer) };
  const t2d: StoredTensor = { name: "t2d", dtype: "BOOL", shape: [320], bytes: new Uint8Array(320) };
  const file = writeSafetensors([...stored(headOf(kind)), d2t, ...(kind.config ? [t2d] : [])]);
  return { "model.safetensors": file, ...(kind.config ? { "config.json": jsonBytes({ ...kind.config }) } : {}) };
}

/** The target, with norms of queries and keys where its family has them. */
function targetOf({ shape, minicpm, qkNorms, theta }: Kind): { tiny: Tiny; files: Record<string, Uint8Array> } {
  const tiny = tinyModel(shape, 3);
  if (minicpm) return { tiny, files: { "m.gguf": tinyGguf(tiny) } };
  const random = noise(29);
  const weights = new Map(tiny.weights);
  for (let i = 0; qkNorms && i < shape.layers; i++)
    for (const part of ["q", "k"]) {
      const values = Float32Array.from({ length: shape.headDim }, () => 0.75 + Math.floor(random() * 32) / 64);
      weights.set(`model.layers.${i}.self_attn.${part}_norm.weight`, { shape: [shape.headDim], values });
    }
  const { scale_emb, scale_depth, dim_model_base, ...rest } = tinyConfig(shape);
  const named = qkNorms ? ["Qwen3ForCausalLM", "qwen3"] : ["LlamaForCausalLM", "llama"];
  const config = { ...rest, architectures: [named[0]], model_type: named[1], rope_theta: theta };
  const files = { ...tinyFolder(tiny), "config.json": jsonBytes(config), "model.safetensors": writeSafetensors(stored(weights)) };
  return { tiny: { shape, weights }, files };
}

describe.each(Object.keys(kinds))("%s", (name) => {
  const kind = kinds[name]!;
  const { tiny, files } = targetOf(kind);
  const { hidden: H, layers: N, vocab } = kind.shape;
  const input = (files: Record<string, Uint8Array>, entry = ""): ModelInput =>
    entry === "" ? memoryFiles("", files) : files[entry]!;

  test("drafts the chain that its definition drafts: three taps, its own vocabulary with offsets", async () => {
    const prompt = [1, 50, 99, 148, 7, 260];
    const trees: { tokens: number[]; values: number[] }[] = [];
    const draft = {
      ...checkDraft(false),
      eagle: { depth: 4, width: 1, size: 5, window: 0, weights: "auto" as const, vocabulary: undefined },
      adaptive: false,
    };
    const watch: NonNullable<Parameters<typeof load>[2]>["watch"] = (tree) => {
      trees.push({ tokens: Array.from(tree.tokens).slice(0, tree.size), values: Array.from(tree.chance).slice(0, tree.size) });
    };
    const own = headFiles(kind);
    const engine = await load(
      input(files, kind.minicpm ? "m.gguf" : ""),
      { kvType: "f32", draft },
      { watch },
      kind.config ? input(own) : own,
    );
    const plain = await say(engine, prompt, { maxTokens: 8, draft: "off" });
    const quick = await say(engine, prompt, { maxTokens: 8 });
    expect(quick.tokens).toEqual(plain.tokens);

    const [scaleEmbedding, residual] = kind.minicpm ? [12, 1.4 / Math.sqrt(N)] : [1, 1];
    const weight = (name: string): Float32Array => tiny.weights.get(`${name}.weight`)!.values;
    const embedding = (token: number): Vector =>
      Float64Array.from(weight("model.embed_tokens").subarray(token * H, (token + 1) * H), (v) => v * scaleEmbedding);
    // The streams that enter the tapped layers, times the residual scale, for each token.
    const caches = Array.from({ length: N }, (): Cache => ({ k: [], v: [] }));
    const taps = prompt.map((token, position) => {
      let x = embedding(token);
      const entering: Vector[] = [];
      for (let i = 0; i < N; i++) {
        entering.push(x);
        const w = (name: string) => weight(`model.layers.${i}.${name}`);
        const qkNorm = kind.qkNorms ? { q: w("self_attn.q_norm"), k: w("self_attn.k_norm") } : undefined;
        const sizes = { ...kind.shape, theta: kind.theta, residual, eps, qkNorm };
        x = layer(w, sizes, caches[i]!, x, rms(x, w("input_layernorm"), eps), position);
      }
      return joined(...kind.taps.map((i) => entering[i]!.map((v) => v * residual)));
    });

    const head = headOf(kind);
    const w = (name: string) => head.get(`${kind.prefix}.${name}.weight`)!.values;
    const sizes: Sizes = { ...kind.head, residual: (residual * Math.sqrt(N)) / Math.sqrt(kind.minicpm ? N + 1 : N), eps };
    const cache: Cache = { k: [], v: [] };
    const step = (token: number, x: Vector, position: number): Vector => {
      const normed = rms(x, w("hidden_norm"), eps);
      const both = joined(rms(embedding(token), w("input_layernorm"), eps), normed);
      return layer(w, sizes, cache, kind.norms ? normed : x, both, position);
    };
    const root = quick.tokens[0]!;
    const next = [...prompt.slice(1), root];
    let y: Vector = new Float64Array(H);
    const before = head.get("input_norm.weight")?.values;
    const entered = (tap: Vector) => (before ? rms(tap, before, eps) : tap);
    for (const [t, tap] of taps.entries()) y = step(next[t]!, times(head.get("fc.weight")!.values, entered(tap)), t);
    const tokens = [root];
    const chances = [1];
    for (let depth = 1; ; depth++) {
      const logits = times(head.get("lm_head.weight")!.values, rms(y, head.get("norm.weight")!.values, eps));
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

  test("trees of it change no token of a long answer, drawn or greedy", async () => {
    const draft = {
      ...checkDraft(false),
      eagle: { depth: 3, width: 4, size: 16, window: 32, weights: "auto" as const, vocabulary: undefined },
      adaptive: false,
    };
    const own = headFiles(kind);
    const engine = await load(input(files, kind.minicpm ? "m.gguf" : ""), { draft }, {}, kind.config ? input(own) : own);
    for (const seed of [1, 2]) {
      const sampling = { temperature: 0.8, topK: 0, topP: 1, minP: 0, seed };
      const request = { maxTokens: 80, ...(seed === 1 ? {} : { sampling: { ...(await greedyOf()), ...sampling } }) };
      const plain = await say(engine, [1, 9, 30], { ...request, draft: "off" });
      const quick = await say(engine, [1, 9, 30], request);
      expect(quick.tokens).toEqual(plain.tokens);
      expect(quick.draft!.rounds).toBeGreaterThan(0);
    }
  });
});

const greedyOf = async () => (await import("./rig.ts")).greedy;

test("what a head of another make asks for is refused by name", async () => {
  const kind = kinds["Llama 3: a rotation of the head's own, the class's default"]!;
  const { config } = await readModel(memoryFiles("", targetOf(kind).files));
  const read = (more: object) =>
    readHead(memoryFiles("", { ...headFiles(kind), "config.json": jsonBytes({ ...kind.config, ...more }) }), config);
  expect((await read({})).taps).toEqual({ layers: [2, 4, 5], scale: 1 });
  for (const [more, field] of [
    [{ norm_before_fc: true }, "input_norm.weight"],
    [{ eagle_aux_hidden_state_layer_ids: [1, 2] }, "eagle_aux_hidden_state_layer_ids"],
    [{ eagle_aux_hidden_state_layer_ids: [1, 2, 8] }, "eagle_aux_hidden_state_layer_ids"],
    [{ eagle_config: { eagle_aux_hidden_state_layer_ids: [1, 2, 7] } }, "eagle_aux_hidden_state_layer_ids"],
    [{ rope_scaling: { rope_type: "dynamic", factor: 2 } }, "rope_scaling"],
    [{ head_dim: 15 }, "head_dim"],
  ] as const)
    await expect(read(more), field).rejects.toMatchObject({ detail: { field } });
});
