// MTP layers as drafters: against their definition, in all their files' forms, and never a token of the text changed.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { checkDraft, type DraftInput, draftOptions, type MtpInput } from "../../src/door/draft.ts";
import type { EngineHooks } from "../../src/engine/engine.ts";
import type { EngineOptions } from "../../src/engine/types.ts";
import { CpmError } from "../../src/errors.ts";
import { mtpTensors } from "../../src/train/shape.ts";
import { filesOf, load } from "../support/engine.ts";
import { jsonBytes, type StoredTensor, writeSafetensors } from "../support/folder.ts";
import { f32, TYPE_IDS, text, u32, writeGguf } from "../support/gguf.ts";
import { shared } from "../support/golden.ts";
import { gptqTensors } from "../support/gptq.ts";
import { type Head, tinyMtp } from "../support/head.ts";
import { noise } from "../support/noise.ts";
import { floatBytes, halfBits, interleaved, tinyConfig, tinyGguf, tinyModel } from "../support/tiny.ts";
import { greedy, say } from "./rig.ts";

interface Round {
  readonly token: number;
  readonly position: number;
  readonly drafted: readonly number[];
  readonly accepted: number;
}
interface Case {
  readonly options: { readonly target_hidden?: "pre"; readonly own_hidden?: "pre" };
  readonly p_min: number;
  readonly n_max: number;
  readonly rounds: readonly Round[];
}

const [target, head, file] = ["mtp-target.gguf", "mtp-head.safetensors", "mtp.json"].map(
  (name) => shared(`golden/quant/${name}`)!,
) as [string, string, string];
describe("MTP against its definition", () => {
  // "eagle-rows" of the file is an EAGLE head, which golden.test.ts holds to its own definition.
  for (const name of ["post", "pre", "post-then-pre", "p-min"])
    for (const threads of [1, 2])
      test(`${name}: the same drafts, accepted and text (${threads} threads)`, async () => {
        const golden = JSON.parse(readFileSync(file, "utf8")) as {
          prompt: number[];
          new_tokens: number[];
          cases: Record<string, Case>;
        };
        const { options, p_min, n_max, rounds } = golden.cases[name]!;
        const seen: Round[] = [];
        let position = golden.prompt.length;
        const watch: EngineHooks["watch"] = (tree, path) => {
          const [token, ...drafted] = Array.from(tree.tokens).slice(0, tree.size) as [number, ...number[]];
          seen.push({ token, position, drafted, accepted: path.length - 1 });
          position += path.length;
        };
        const draft = checkDraft({
          mtp: head,
          tree: { depth: n_max, width: 1, size: n_max + 1 },
          states: { target: options.target_hidden, own: options.own_hidden },
          leastChance: p_min,
          adaptive: false,
          lookup: false,
          weights: "float",
        });
        const engine = await load(target, { kvType: "f32", threads, draft }, { watch }, head);
        Object.assign(engine.info.tokenizer, { stop: [] });
        const result = await say(engine, golden.prompt, { maxTokens: 60 });
        expect(result.tokens.slice(0, 40)).toEqual(golden.new_tokens);
        expect(seen.slice(0, rounds.length)).toEqual(
          rounds.map(({ token, position, drafted, accepted }) => ({ token, position, drafted, accepted })),
        );
        expect(result.draft!.drafter).toBe("mtp");
      });
});

const tiny = tinyModel({}, 5);
const { shape } = tiny;
const { hidden: H, heads, kvHeads, vocab } = shape;

const stored = (tensors: Head, named: (name: string) => string): StoredTensor[] =>
  [...tensors].map(([name, { shape, values }]) => ({
    name: `${named(name)}.weight`,
    dtype: "F32",
    shape,
    bytes: floatBytes(values, "F32"),
  }));
const layer = (options?: Parameters<typeof tinyMtp>[1]): Head => tinyMtp(shape, options);
const published = (tensors: Head): StoredTensor[] => stored(tensors, (name) => `model.layers.2.${name}`);

const trainedNames: Readonly<Record<string, string>> = {
  enorm: "mtp.norm_e",
  hnorm: "mtp.norm_h",
  eh_proj: "mtp.proj",
  "shared_head.norm": "mtp.norm",
};
function trained(tensors: Head): StoredTensor[] {
  const swapped = new Map(tensors);
  const { values } = tensors.get("eh_proj")!;
  const turned = values.map((_, i) => values[i - (i % (2 * H)) + ((i + H) % (2 * H))]!);
  swapped.set("eh_proj", { shape: [H, 2 * H], values: turned });
  return stored(swapped, (name) => trainedNames[name] ?? `mtp.layers.0.${name}`);
}

const ggufNames: Readonly<Record<string, string>> = {
  enorm: "nextn.enorm",
  hnorm: "nextn.hnorm",
  eh_proj: "nextn.eh_proj",
  "shared_head.norm": "nextn.shared_head_norm",
  "shared_head.head": "nextn.shared_head_head",
  embed_tokens: "nextn.embed_tokens",
  input_layernorm: "attn_norm",
  post_attention_layernorm: "ffn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};
const gguf = (tensors: Head, architecture: string): Uint8Array =>
  writeGguf({
    metadata: [
      ["general.architecture", text(architecture)],
      [`${architecture}.nextn_predict_layers`, u32(1)],
      [`${architecture}.rope.freq_base`, f32(10000)],
    ],
    tensors: [...tensors].map(([name, { shape, values }]) => {
      const turned = architecture === "minicpm" ? (name.includes("q_proj") ? heads : name.includes("k_proj") ? kvHeads : 0) : 0;
      const own = turned ? interleaved(values, shape[0]!, turned) : values;
      return { name: `blk.2.${ggufNames[name]!}.weight`, type: TYPE_IDS.F32, shape, bytes: floatBytes(own, "F32") };
    }),
  });

const prompt = [1, 50, 99, 148, 7, 260, 50, 99];

/** The chains drafted for a text, and the text, which is plain decoding's. */
async function drafts(
  files: MtpInput["mtp"],
  more: Omit<MtpInput, "mtp"> = {},
  options: Partial<EngineOptions> = {},
  tokens: readonly number[] = prompt,
): Promise<number[][]> {
  const seen: number[][] = [];
  const input = { mtp: files, adaptive: false, lookup: false, ...more };
  const full = await draftOptions(input, filesOf);
  const engine = await load(
    tinyGguf(tiny),
    { kvType: "f32", draft: full.options, ...options },
    { watch: (tree) => void seen.push(Array.from(tree.tokens).slice(0, tree.size)) },
    full.files,
  );
  for (const sampling of [greedy, { ...greedy, temperature: 0.9, seed: 4 }]) {
    const plain = await say(engine, tokens, { maxTokens: 24, draft: "off", sampling });
    const quick = await say(engine, tokens, { maxTokens: 24, sampling });
    expect(quick.tokens).toEqual(plain.tokens);
    expect(quick.draft!.drafted).toBeGreaterThan(10);
  }
  return seen;
}

test("every form of the files is the same layer", async () => {
  const tensors = layer();
  const wanted = await drafts({ "mtp.safetensors": writeSafetensors(published(tensors)) });
  expect(wanted.some((chain) => chain.length === 4)).toBe(true);
  const trunk = [...tiny.weights].map(([name, { shape, values }]) => ({
    name,
    dtype: "F32" as const,
    shape,
    bytes: floatBytes(values, "F32"),
  }));
  const folder = {
    "config.json": jsonBytes(tinyConfig(shape)),
    "model.safetensors": writeSafetensors([...trunk, ...published(tensors)]),
  };
  expect(await drafts(folder)).toEqual(wanted);
  expect(await drafts({ "mtp.gguf": gguf(tensors, "minicpm") })).toEqual(wanted);
  expect(await drafts({ "mtp.gguf": gguf(tensors, "qwen3") })).toEqual(wanted);
  // Without a norm of its own the model's.
  const bare = new Map(tensors);
  const { values } = tiny.weights.get("model.norm.weight")!;
  bare.set("shared_head.norm", { shape: [H], values });
  const named = await drafts({ "mtp.safetensors": writeSafetensors(published(bare)) });
  bare.delete("shared_head.norm");
  expect(await drafts({ "mtp.safetensors": writeSafetensors(published(bare)) })).toEqual(named);
  expect(named).not.toEqual(wanted);
});

test("what cpm train writes: the projection's halves the other way round, and no row for the first token", async () => {
  // Where attention adds nothing, the first row makes no difference.
  const blind = layer({ blind: true });
  const wanted = await drafts({ "mtp.safetensors": writeSafetensors(published(blind)) });
  expect(await drafts({ "model.safetensors": writeSafetensors(trained(blind)) })).toEqual(wanted);
  const tensors = layer();
  const others = await drafts({ "mtp.safetensors": writeSafetensors(published(tensors)) });
  expect(await drafts({ "model.safetensors": writeSafetensors(trained(tensors)) })).not.toEqual(others);
});

test("the tensors of the trainer's MTP layer, under its names, are a layer that drafts", async () => {
  const random = noise(9);
  const list = mtpTensors({
    ...shape,
    rmsEps: 1e-5,
    ropeTheta: 10000,
    ropeScale: 1,
    embeddingScale: 12,
    residualScale: 1,
    headResidualScale: 1,
    logitScale: 1,
    width: 1,
  });
  const tensors = list.map(({ name, shape: size }): StoredTensor => {
    const values = Float32Array.from({ length: size.reduce((a, b) => a * b, 1) }, () =>
      size.length === 1 ? 1 : 0.2 * (random() - 0.5),
    );
    return { name, dtype: "F32", shape: size, bytes: floatBytes(values, "F32") };
  });
  expect(tensors.length).toBe(13);
  const folder = { "config.json": jsonBytes(tinyConfig(shape)), "model.safetensors": writeSafetensors(tensors) };
  expect((await drafts(folder)).some((chain) => chain.length === 4)).toBe(true);
});

test("rows and an embedding of its own are used", async () => {
  const tensors = layer({ rows: true });
  const wanted = await drafts({ "mtp.safetensors": writeSafetensors(published(tensors)) });
  expect(await drafts({ "mtp.gguf": gguf(tensors, "minicpm") })).toEqual(wanted);
  for (const name of ["embed_tokens", "shared_head.head"]) {
    const fewer = new Map(tensors);
    fewer.delete(name);
    expect(await drafts({ "mtp.safetensors": writeSafetensors(published(fewer)) }), name).not.toEqual(wanted);
  }
  await expect(drafts({ "mtp.safetensors": writeSafetensors(published(tensors)) }, { vocabulary: [1, 2, 3] })).rejects.toThrow(
    /this MTP layer has rows of its own/,
  );
});

test("trees, windows, draft vocabularies, 8 and 4 bits, threads, sparse attention: the text is plain decoding's", async () => {
  const files = { "mtp.safetensors": writeSafetensors(published(layer())) };
  const long = Array.from({ length: 300 }, (_, i) => (i * 37 + 5) % 320);
  const seen = await drafts(files, { tree: { depth: 3, width: 3, size: 12 }, states: { target: "pre", own: "pre" } });
  expect(seen.some((tree) => tree.length === 12)).toBe(true);
  await drafts(files, { window: 16 }, {}, long);
  const few = Array.from({ length: 60 }, (_, i) => 5 * i + 2);
  const chains = await drafts(files, { vocabulary: few });
  for (const [, ...drafted] of chains) for (const token of drafted) expect(few).toContain(token);
  const wanted = await drafts(files, { weights: "float" }, {}, long);
  expect(await drafts(files, { weights: "float" }, { threads: 2 }, long)).toEqual(wanted);
  await drafts(files, { weights: "int8" }, {}, long);
  await drafts(files, {}, { sparse: { denseLen: 0, topk: 1, windowSize: 64 } }, long);
  const q = layer();
  const linears = [...q].filter(([, { shape }]) => shape.length === 2);
  const int4 = {
    "config.json": jsonBytes({
      ...tinyConfig(shape),
      quantization_config: { quant_method: "gptq", bits: 4, group_size: 32, sym: true },
    }),
    "model.safetensors": writeSafetensors([
      ...published(new Map([...q].filter(([, { shape }]) => shape.length === 1))),
      ...linears.flatMap(([name, { shape, values }]) => {
        const [rows, cols] = shape as [number, number];
        // Codes 0 to 15 around 8, one scale of about the floats' size for all.
        const codes = Uint8Array.from(values, (value) => Math.max(0, Math.min(15, Math.round(value / 0.03) + 8)));
        const scales = new Uint16Array((rows * cols) / 32).fill(halfBits(0.03));
        return gptqTensors(`model.layers.2.${name}.`, codes, scales, rows, cols, 32, undefined);
      }),
    ]),
  };
  await drafts(int4, {}, {}, long);
});

test("sessions that are cut, copied, restored and slide go on with the same text", async () => {
  const files = { "mtp.safetensors": writeSafetensors(published(layer())) };
  const { options } = await draftOptions({ mtp: files, adaptive: false, lookup: false }, filesOf);
  const engine = await load(tinyGguf(tiny), { contextSize: 256, draft: options }, {}, files);
  const plain = async (tokens: readonly number[], more = {}) =>
    (await say(engine, tokens, { maxTokens: 30, draft: "off", ...more })).tokens;
  const session = await engine.open();
  const first = await say(engine, prompt, { maxTokens: 30 }, session);
  expect(first.tokens).toEqual(await plain(prompt));
  const longer = [...prompt, ...first.tokens.slice(0, 9), 17, 18];
  expect((await say(engine, longer, { maxTokens: 30 }, session)).tokens).toEqual(await plain(longer));
  await engine.truncate(session, 3);
  const other = [...prompt.slice(0, 3), 200, 201, 202];
  expect((await say(engine, other, { maxTokens: 30 }, session)).tokens).toEqual(await plain(other));
  const restored = await engine.restore(await engine.save(session));
  const on = [...other, 5];
  expect((await say(engine, on, { maxTokens: 30 }, restored)).tokens).toEqual(await plain(on));
  await engine.truncate(session, 0);
  expect((await say(engine, prompt, { maxTokens: 30 }, session)).tokens).toEqual(first.tokens);
  const full = Array.from({ length: 240 }, (_, i) => (i * 11) % 320);
  const more = { maxTokens: 60, whenFull: "slide" as const };
  expect((await say(engine, full, more)).tokens).toEqual(await plain(full, more));
});

test("its memory is planned: what it says is what it takes", async () => {
  const files = { "mtp.safetensors": writeSafetensors(published(layer({ rows: true }))) };
  const { options: draft } = await draftOptions({ mtp: files, adaptive: false, lookup: false }, filesOf);
  const engine = await load(tinyGguf(tiny), { contextSize: 256, draft }, {}, files);
  const { memory } = engine.info;
  expect(memory.draft).toBeGreaterThan(4 * (2 * vocab * H + 2 * H * H));
  const again = await load(tinyGguf(tiny), { contextSize: 256, draft, maxMemoryBytes: memory.total }, {}, files);
  expect((await say(again, prompt, { maxTokens: 12 })).draft!.drafted).toBeGreaterThan(0);
  await expect(
    load(tinyGguf(tiny), { contextSize: 256, draft, maxMemoryBytes: memory.total - 1 }, {}, files),
  ).rejects.toMatchObject({
    code: "out-of-memory",
  });
});

test("what is no MTP layer is refused by name", async () => {
  const tensors = layer();
  const broken = (change: (list: StoredTensor[]) => StoredTensor[]) => ({
    "m.safetensors": writeSafetensors(change(published(tensors))),
  });
  const without = (part: string) => broken((list) => list.filter(({ name }) => !name.includes(part)));
  const refusals: readonly (readonly [MtpInput["mtp"], string, RegExp])[] = [
    [without("eh_proj"), "bad-model", /model\.layers\.2\.eh_proj\.weight/],
    [without("enorm"), "bad-model", /enorm/],
    [without("q_proj"), "bad-model", /q_proj/],
    [without("gate_proj"), "bad-model", /gate_proj/],
    [
      broken((list) => [...list, ...stored(new Map([["eh_proj", tensors.get("eh_proj")!]]), (name) => `model.layers.3.${name}`)]),
      "unsupported",
      /2 MTP layers/,
    ],
    [
      broken((list) => [
        ...list,
        { name: "model.layers.2.self_attn.q_proj.bias", dtype: "F32", shape: [64], bytes: new Uint8Array(256) },
      ]),
      "unsupported",
      /bias/,
    ],
    [{ "m.gguf": tinyGguf(tiny) }, "bad-model", /blk\.N\.nextn\.eh_proj/],
  ];
  for (const [files, code, message] of refusals) {
    const error: unknown = await drafts(files).catch((cause: unknown) => cause);
    expect(error, String(message)).toBeInstanceOf(CpmError);
    expect([(error as CpmError).code, (error as CpmError).message]).toEqual([code, expect.stringMatching(message)]);
  }
  const bad: readonly (readonly [object, RegExp])[] = [
    [{ mtp: "x", eagle: "y" }, /draft: expected "lookup", \{ eagle \}, \{ mtp \}, \{ model \}/],
    [{ mtp: undefined }, /draft\.mtp: expected files/],
    [{ mtp: "x", states: { target: "mid" } }, /draft\.states\.target: expected "post" or "pre"/],
    [{ mtp: "x", states: { other: "pre" } }, /draft\.states\.other/],
    [{ mtp: "x", leastChance: 2 }, /draft\.leastChance/],
    [{ mtp: "x", leastChance: 0.5, tree: { depth: 2, width: 2, size: 4 } }, /draft\.leastChance: expected a chain/],
    [{ mtp: "x", stats: {} }, /draft\.stats.*did you mean "?states/],
  ];
  for (const [input, message] of bad) expect(() => checkDraft(input as DraftInput), String(message)).toThrow(message);
});
