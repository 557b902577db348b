// Hugging Face folders that lie: refused with a typed error that names the file and the field, or loaded and run.
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import { jsonBytes, type StoredTensor, writeSafetensors, writeSentencePiece, writeShards } from "../support/folder.ts";
import { ByteWriter } from "../support/gguf.ts";
import { attempt, refused } from "../support/hostile.ts";
import { noise } from "../support/noise.ts";
import { pieces, tinyConfig, tinyFolder, tinyModel, tinyStored } from "../support/tiny.ts";

const model = tinyModel({ vocab: 270 });
const folder = tinyFolder(model, "BF16");
const stored = tinyStored(model, "BF16");
const weights = folder["model.safetensors"]!;
const headerLength = 8 + Number(new DataView(weights.buffer).getBigUint64(0, true));
const json = new TextDecoder().decode(weights.subarray(8, headerLength)).trimEnd();

const withWeights = (bytes: Uint8Array) => ({ ...folder, "model.safetensors": bytes });
const withConfig = (values: Record<string, unknown>) => ({
  ...folder,
  "config.json": jsonBytes({ ...tinyConfig(model.shape), ...values }),
});
const withText = (file: string, text: string) => ({ ...folder, [file]: new TextEncoder().encode(text) });
const withHeader = (change: (header: Record<string, { dtype: unknown; shape: unknown; data_offsets: unknown }>) => void) => {
  const header = JSON.parse(json) as Parameters<typeof change>[0];
  change(header);
  return withWeights(writeSafetensors(stored, JSON.stringify(header)));
};
const q = "model.layers.0.self_attn.q_proj.weight";
const deep = (levels: number) => "[".repeat(levels) + "]".repeat(levels);

test("the folder that the others are made from loads and runs", async () => {
  expect(await attempt(folder, "whole")).toBeUndefined();
});

test("weights truncated at any of 200 offsets are refused", async () => {
  const random = noise(3);
  for (let i = 0; i < 200; i++) {
    const at = i < 12 ? i : Math.floor((i % 2 ? headerLength : weights.length) * random());
    const { detail } = await refused(withWeights(weights.slice(0, at)), `the first ${at} bytes`);
    expect(detail).toMatchObject({ file: "model.safetensors", offset: expect.any(Number) });
  }
});

test("500 flipped bytes in a safetensors header each give a typed error or a model that runs", async () => {
  const random = noise(17);
  let errors = 0;
  for (let i = 0; i < 500; i++) {
    const bytes = weights.slice();
    const at = i < 64 ? i >> 3 : Math.floor(random() * headerLength);
    bytes[at] = bytes[at]! ^ (1 << (i < 64 ? i & 7 : Math.floor(random() * 8)));
    if (await attempt(withWeights(bytes), `byte ${at} made ${bytes[at]}`)) errors++;
  }
  expect(errors).toBeGreaterThan(300);
});

test("200 flipped bytes in config.json, tokenizer.model and tokenizer_config.json each give a typed error or a model that runs", async () => {
  const random = noise(19);
  for (const file of ["config.json", "tokenizer.model", "tokenizer_config.json"])
    for (let i = 0; i < 200; i++) {
      const bytes = folder[file]!.slice();
      const at = Math.floor(random() * bytes.length);
      bytes[at] = bytes[at]! ^ (1 << Math.floor(random() * 8));
      await attempt({ ...folder, [file]: bytes }, `${file}: byte ${at} made ${bytes[at]}`);
    }
});

const headers: Readonly<Record<string, Record<string, Uint8Array>>> = {
  "a header of 2^63 bytes": withWeights(
    new ByteWriter()
      .u64(2n ** 63n)
      .raw(weights.subarray(8))
      .bytes(),
  ),
  "a header as long as the file": withWeights(new ByteWriter().u64(weights.length).raw(weights.subarray(8)).bytes()),
  "a header of 0 bytes": withWeights(new ByteWriter().u64(0).raw(weights.subarray(8)).bytes()),
  "an empty file": withWeights(new Uint8Array(0)),
  "a header that is no JSON": withWeights(writeSafetensors(stored, `${json.slice(0, -1)},`)),
  "a header that is a list": withWeights(writeSafetensors(stored, "[1, 2]")),
  "a header that is a text": withWeights(writeSafetensors(stored, '"weights"')),
  "a header nested 100,000 deep": withWeights(writeSafetensors(stored, `${json.slice(0, -1)},"x":${deep(100_000)}}`)),
  "an entry nested 60 deep": withWeights(
    writeSafetensors(stored, `${json.slice(0, -1)},"x":{"dtype":"F32","shape":${deep(60)},"data_offsets":[0,0]}}`),
  ),
  "an entry that is a number": withHeader((h) => Object.assign(h, { x: 3 })),
  "an entry without offsets": withHeader((h) => Object.assign(h[q]!, { data_offsets: undefined })),
  "an entry without a type": withHeader((h) => Object.assign(h[q]!, { dtype: undefined })),
  "a type with a toString of its own": withHeader((h) => Object.assign(h[q]!, { dtype: { toString: 1, valueOf: 1 } })),
  "a shape that is a text": withHeader((h) => Object.assign(h[q]!, { shape: "64, 64" })),
  "a negative size": withHeader((h) => Object.assign(h[q]!, { shape: [-64, -64] })),
  "a size of 2^53": withHeader((h) => Object.assign(h[q]!, { shape: [2 ** 53, 64] })),
  "sizes whose product wraps": withHeader((h) => Object.assign(h[q]!, { shape: [2 ** 32, 2 ** 32] })),
  "nine sizes": withHeader((h) => Object.assign(h[q]!, { shape: [64, 64, 1, 1, 1, 1, 1, 1, 1] })),
  "offsets outside the file": withHeader((h) => Object.assign(h[q]!, { data_offsets: [weights.length, weights.length + 8192] })),
  "offsets that run backwards": withHeader((h) => Object.assign(h[q]!, { data_offsets: [8192, 0] })),
  "negative offsets": withHeader((h) => Object.assign(h[q]!, { data_offsets: [-8192, 0] })),
  "offsets beyond 2^53": withHeader((h) => Object.assign(h[q]!, { data_offsets: [0, 1e300] })),
  "offsets that are texts": withHeader((h) => Object.assign(h[q]!, { data_offsets: ["0", "8192"] })),
  "data that overlaps": withHeader((h) => Object.assign(h[q]!, { data_offsets: [0, 8192] })),
  "data of another length than its shape": withHeader((h) => Object.assign(h[q]!, { shape: [64, 32] })),
  "a name twice": withWeights(
    writeSafetensors(
      stored,
      `${json.slice(0, -1)},${JSON.stringify(q)}:${JSON.stringify((JSON.parse(json) as Record<string, unknown>)["model.norm.weight"])}}`,
    ),
  ),
  "bytes that no tensor owns": withWeights(Uint8Array.from([...weights, ...new Uint8Array(64)])),
  "a missing tensor": withWeights(writeSafetensors(stored.filter((t) => t.name !== q))),
  "a tensor of another shape": withWeights(writeSafetensors(stored.map((t) => (t.name === q ? { ...t, shape: [32, 128] } : t)))),
  "a tensor of a type that is not read": withWeights(
    writeSafetensors(
      stored.map((t): StoredTensor => (t.name === q ? { ...t, dtype: "F64", bytes: new Uint8Array(64 * 64 * 8) } : t)),
    ),
  ),
  "a weight of integers": withWeights(
    writeSafetensors(
      stored.map((t): StoredTensor => (t.name === q ? { ...t, dtype: "I32", bytes: new Uint8Array(64 * 64 * 4) } : t)),
    ),
  ),
  "a norm that is not a number": withWeights(
    writeSafetensors(
      stored.map((t) =>
        t.name === "model.norm.weight" ? { ...t, bytes: t.bytes.map((b, i) => (i === 7 ? 0x7f : i === 6 ? 0xc0 : b)) } : t,
      ),
    ),
  ),
};

for (const [what, files] of Object.entries(headers))
  test(`weights with ${what} are refused`, async () => {
    const { code, detail } = await refused(files, what);
    expect(code).toBe("bad-model");
    expect(detail.file).toBe("model.safetensors");
  });

const odd: readonly unknown[] = [
  null,
  -1,
  0,
  0.5,
  2 ** 40,
  1e300,
  Number.MAX_SAFE_INTEGER,
  "64",
  "",
  [],
  [64],
  {},
  { toString: 1, valueOf: 1 },
  true,
];

for (const key of [
  "hidden_size",
  "intermediate_size",
  "num_hidden_layers",
  "num_attention_heads",
  "num_key_value_heads",
  "head_dim",
  "vocab_size",
  "max_position_embeddings",
])
  test(`${key} of anything but what the weights have is refused or has a default`, async () => {
    for (const value of odd) {
      const error = await attempt(withConfig({ [key]: value }), `${key} ${JSON.stringify(value)}`);
      const [missing, optional] = [value === null, ["num_key_value_heads", "head_dim"].includes(key)];
      if (!error)
        expect(
          missing ? optional : key === "max_position_embeddings" && typeof value === "number",
          `${key} ${JSON.stringify(value)} loaded`,
        ).toBe(true);
      else expect(["bad-model", "unsupported"]).toContain(error.code);
    }
  });

for (const key of [
  "rms_norm_eps",
  "rope_theta",
  "scale_emb",
  "scale_depth",
  "dim_model_base",
  "rope_scaling",
  "quantization_config",
  "sparse_config",
  "architectures",
  "model_type",
  "hidden_act",
  "tie_word_embeddings",
  "attention_bias",
  "bos_token_id",
  "eos_token_id",
  "_name_or_path",
])
  test(`${key} of any JSON value is refused with its name, or runs`, async () => {
    for (const value of [
      ...odd,
      [{ toString: 1 }],
      { rope_type: "longrope" },
      { rope_type: "longrope", short_factor: [[1]], long_factor: "x" },
      { type: "linear", factor: -1 },
      { quant_method: { toString: 1 } },
    ]) {
      const error = await attempt(withConfig({ [key]: value }), `${key} ${JSON.stringify(value)}`);
      if (error) expect(["bad-model", "unsupported"], error.message).toContain(error.code);
    }
  });

const configs: Readonly<Record<string, Record<string, Uint8Array>>> = {
  "no config.json": Object.fromEntries(Object.entries(folder).filter(([name]) => name !== "config.json")),
  "a config.json that is no JSON": withText("config.json", "{hidden_size: 64}"),
  "a config.json that is empty": withText("config.json", ""),
  "a config.json that is a list": withText("config.json", "[]"),
  "a config.json nested 100,000 deep": withText("config.json", `{"sparse_config":${deep(100_000)}}`),
  "another architecture": withConfig({ architectures: ["MambaForCausalLM"], model_type: "mamba" }),
  "another activation": withConfig({ hidden_act: "gelu" }),
  experts: withConfig({ num_experts: 8 }),
  "rotation that is not known": withConfig({ rope_scaling: { rope_type: "dynamic", factor: 4 } }),
  "LongRoPE factors of another head size": withConfig({
    rope_scaling: { rope_type: "longrope", short_factor: [1, 2], long_factor: [1, 2] },
  }),
  "a head of its own that is missing": withConfig({ tie_word_embeddings: false }),
  "fewer rows in the embedding than pieces": { ...folder, "tokenizer.model": sentencePiece(271) },
  "a BOS token outside the embedding": {
    ...withConfig({ bos_token_id: 270 }),
    "tokenizer_config.json": jsonBytes({ add_bos_token: true }),
  },
  "no tokenizer": Object.fromEntries(Object.entries(folder).filter(([name]) => name !== "tokenizer.model")),
  "a tokenizer.json of another kind": withText("tokenizer.json", '{"model":{"type":"Unigram","vocab":[["a",0]]}}'),
  "a tokenizer.json without a model": withText("tokenizer.json", "{}"),
  "a tokenizer.json whose model is a text": withText("tokenizer.json", '{"model":"BPE"}'),
  "a tokenizer.json nested 100,000 deep": withText("tokenizer.json", `{"model":{"vocab":${deep(100_000)}}}`),
  "an added token with an id of 4 million": withText("added_tokens.json", '{"<far>": 4000000}'),
  "an add_bos_token that is a text": withText("tokenizer_config.json", '{"add_bos_token": "yes"}'),
  "an index that names a folder above": {
    ...folder,
    "model.safetensors.index.json": jsonBytes({ weight_map: { [q]: "../secret.safetensors" } }),
  },
  "an index without a map": { ...folder, "model.safetensors.index.json": jsonBytes({ metadata: {} }) },
  "an index whose map is a list": { ...folder, "model.safetensors.index.json": jsonBytes({ weight_map: ["model.safetensors"] }) },
  "an index that names what is not there": {
    ...folder,
    "model.safetensors.index.json": jsonBytes({ weight_map: { [q]: "gone.safetensors" } }),
  },
  "an index that leaves a tensor out": {
    ...folder,
    "model.safetensors.index.json": jsonBytes({
      weight_map: Object.fromEntries(stored.filter((t) => t.name !== q).map((t) => [t.name, "model.safetensors"])),
    }),
  },
  "a missing shard": Object.fromEntries(
    Object.entries({ ...folder, ...writeShards(stored, 2) }).filter(([name]) => name !== "model-00002-of-00002.safetensors"),
  ),
};

function sentencePiece(vocab: number): Uint8Array {
  const { pieces: names, scores, types } = pieces(vocab);
  return writeSentencePiece(names, scores, types);
}

for (const [what, files] of Object.entries(configs))
  test(`a folder with ${what} is refused`, async () => {
    const { code, detail, message } = await refused(memoryFiles("", files), what);
    expect(["bad-model", "unsupported"], message).toContain(code);
    expect(detail.field ?? detail.file).toBeDefined();
  });

test("an added token beyond the embedding does not keep a model from loading, using it is an error", async () => {
  expect(await attempt(withText("added_tokens.json", '{"<pad>": 270}'), "a pad token")).toBeUndefined();
});

test("30,000 added tokens are read in time", async () => {
  const many = Object.fromEntries(Array.from({ length: 30_000 }, (_, i) => [`<t${i}>`, 300 + i]));
  await attempt({ ...folder, "added_tokens.json": jsonBytes(many) }, "added tokens");
  const listed = Array.from({ length: 30_000 }, (_, i) => ({ id: 3 + i, content: `<t${i}>`, special: true }));
  const tokenizer = {
    model: { type: "BPE", vocab: { "<unk>": 0, "<s>": 1, "</s>": 2 }, merges: [] },
    added_tokens: listed,
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel" },
  };
  await attempt({ ...folder, "tokenizer.json": jsonBytes(tokenizer) }, "listed tokens");
});
