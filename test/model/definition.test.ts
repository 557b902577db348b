// The families' definition against the golden files, and the engine against the definition at sizes and settings that these do not have.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { load, logitsOf } from "../support/engine.ts";
import { familiesAt, familyNames, familySequences, randomFamily, traitFamilies } from "../support/families.ts";
import { divergence, row } from "../support/golden.ts";
import { noise } from "../support/noise.ts";
import { evaluate, safetensors, type Weights } from "./definition.mjs";
import { rounded } from "./families.mjs";

type Config = Readonly<Record<string, unknown>>;
const parse = (bytes: Uint8Array): Config => JSON.parse(new TextDecoder().decode(bytes)) as Config;
const reader = (weights: Weights) => (name: string) => weights.get(name)?.values;

for (const name of familyNames)
  test(`${name}: the definition gives the published code's logits`, () => {
    const config = parse(readFileSync(`${familiesAt}/${name}/config.json`));
    const tensor = reader(safetensors(readFileSync(`${familiesAt}/${name}/model.safetensors`)));
    for (const { tokens, positions, logits } of familySequences(name)) {
      const all = evaluate(config, tensor, tokens);
      // Six digits are written there.
      for (const [i, at] of positions.entries())
        for (const [v, z] of logits[i]!.entries())
          expect(Math.abs(all[at]![v]! - z)).toBeLessThan(3e-5 * Math.max(1, Math.abs(z)));
    }
  });

/** Sizes and settings of a family at random. `unit`: what hidden and inner sizes are multiples of. */
function variation(name: string, seed: number, unit: number): Record<string, unknown> {
  const random = noise(seed * 7919 + name.length);
  const own = parse(readFileSync(`${familiesAt}/${name}/config.json`));
  const type = String(own["model_type"]);
  const from = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const between = (low: number, high: number) => low + Math.floor(random() * (high - low + 1));
  const layers = between(2, 5);
  const kvHeads = between(1, 3);
  const heads = kvHeads * between(1, 4);
  const rope = own["rope_parameters"] as Record<string, unknown>;
  const lists = JSON.stringify(rope).includes("long_factor");
  // Rotations with a list of factors are made for one size of head.
  const listed = lists ? Number(own["head_dim"] ?? Number(own["hidden_size"]) / Number(own["num_attention_heads"])) : undefined;
  const headDim = listed ?? 2 * between(2, 20);
  const kinds = () => Array.from({ length: layers }, () => from(["sliding_attention", "full_attention"]));
  const window = own["sliding_window"] ? { sliding_window: between(1, 40) } : {};
  const theta = 10 ** (3 + 3 * random());
  const turned = (p: Record<string, unknown>) => ({
    ...p,
    rope_theta: theta * (1 + random()),
    ...(p["factor"] === undefined ? {} : { factor: 1.5 + 8 * random() }),
    ...(p["rope_type"] === "llama3" ? { low_freq_factor: 0.5 + random(), high_freq_factor: 2 + 4 * random() } : {}),
    ...(p["partial_rotary_factor"] === undefined || lists ? {} : { partial_rotary_factor: from([0.5, 1]) }),
  });
  const nested = rope["full_attention"] !== undefined;
  const rotation = nested
    ? Object.fromEntries(Object.entries(rope).map(([k, p]) => [k, turned(p as typeof rope)]))
    : turned(rope);
  const scalars: Record<string, Record<string, unknown>> = {
    granite: {
      embedding_multiplier: 1 + 8 * random(),
      residual_multiplier: 0.2 + random(),
      attention_multiplier: 0.05 + 0.3 * random(),
      logits_scaling: 1 + 6 * random(),
    },
    gemma2: {
      query_pre_attn_scalar: between(4, 40),
      attn_logit_softcapping: from([null, 3, 50]),
      final_logit_softcapping: from([null, 5, 30]),
    },
    gemma3_text: { query_pre_attn_scalar: between(4, 40), final_logit_softcapping: from([null, 5]) },
    smollm3: { no_rope_layers: Array.from({ length: layers }, () => from([0, 1])), no_rope_layer_interval: undefined },
    exaone4: { sliding_window_pattern: "LLLG" },
    qwen2: { max_window_layers: between(0, layers) },
    qwen3: { max_window_layers: between(0, layers) },
  };
  const biased = ["llama", "qwen3", "smollm3", "gemma2", "gemma3_text", "olmo2", "olmo3", "granite"].includes(type);
  const inner = ["llama", "smollm3", "granite"].includes(type);
  return {
    hidden_size: unit * between(Math.ceil(24 / unit), Math.ceil(100 / unit)),
    intermediate_size: unit * between(Math.ceil(20 / unit), Math.ceil(130 / unit)),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    vocab_size: between(270, 400),
    rms_norm_eps: from([1e-6, 1e-5]),
    tie_word_embeddings: type.startsWith("gemma") || random() < 0.5,
    rope_parameters: rotation,
    ...(own["layer_types"] ? { layer_types: kinds() } : {}),
    ...(biased ? { attention_bias: random() < 0.5 } : {}),
    ...(inner ? { mlp_bias: random() < 0.5 } : {}),
    ...window,
    ...scalars[type],
  };
}

for (const [index, name] of traitFamilies.entries())
  test(`${name}: at other sizes and settings the engine computes what the definition says`, async () => {
    const seed = index + 1;
    const sizes = variation(name, seed, 4);
    const folder = await randomFamily(name, sizes, seed % 2 ? "F16" : "F32", seed);
    const config = parse(folder["config.json"]!);
    const random = noise(seed);
    const vocab = config["vocab_size"] as number;
    const tokens = Array.from({ length: 30 + Math.floor(random() * 30) }, () => 3 + Math.floor(random() * (vocab - 3)));
    const expected = evaluate(config, reader(safetensors(folder["model.safetensors"]!)), tokens);
    const engine = await load(folder, { kvType: "f32", contextSize: 128, batchSize: seed % 3 ? 64 : 8 });
    const found = await logitsOf(engine, tokens);
    for (const [t, z] of expected.entries())
      expect(divergence(Array.from(z), row(found, vocab, t)), `${t} of ${JSON.stringify(sizes)}`).toBeLessThan(1e-6);
  });

test("exaone 4: full layers do not turn where a window is set, even if none has it", async () => {
  const sizes = { layer_types: Array.from({ length: 4 }, () => "full_attention") };
  const folder = await randomFamily("exaone4-window", sizes);
  const tokens = Array.from({ length: 20 }, (_, i) => 3 + 7 * i);
  const expected = evaluate(parse(folder["config.json"]!), reader(safetensors(folder["model.safetensors"]!)), tokens);
  const engine = await load(folder, { kvType: "f32", contextSize: 64 });
  expect(divergence(Array.from(expected[19]!), row(await logitsOf(engine, tokens), engine.info.config.vocab, 19))).toBeLessThan(
    1e-6,
  );
});

/** What a GGUF cannot say at these settings. */
const FOLDER_ONLY = ["smollm3", "gemma2", "gemma3", "exaone4", "olmo3"];

const sayable = traitFamilies.filter((n) => !FOLDER_ONLY.some((family) => n.startsWith(family)));
for (const [index, name] of sayable.entries())
  test(`${name}: rounded forms at other sizes lose what 8 bits of inputs cost, and no more`, async () => {
    const type = index % 2 ? "Q8_0" : "Q4_0";
    // Deeper models amplify a code that was rounded the other way.
    const sizes = { ...variation(name, 5 + index, 32), attention_bias: undefined, num_hidden_layers: 2 };
    const folder = await randomFamily(name, sizes, "F16", 4);
    const config = parse(folder["config.json"]!);
    const vocab = config["vocab_size"] as number;
    const tokens = Array.from({ length: 60 }, (_, i) => 3 + ((i * 7919 + 5) % (vocab - 3)));
    const weights = safetensors(folder["model.safetensors"]!);
    const positions = [0, 7, 20, 41, 59];
    const logits = evaluate(config, reader(weights), tokens);
    const sequences = [{ tokens, positions, logits: positions.map((at) => logits[at]!), greedy: [] }];
    const { part, passed } = await rounded({ config, weights, source: folder, sequences, type });
    expect(passed ? "ok" : part, JSON.stringify(sizes)).toBe("ok");
  });
