// Folders to GGUF and back: the same logits to the last bit, the same tensors, the converter's keys and order, the same token ids.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type MemoryOutput, memoryOutput, type OutputFolder, toFolder, toGguf } from "../../src/convert/index.ts";
import { bytesSource, memoryFiles } from "../../src/file/bytes.ts";
import { readGguf } from "../../src/file/gguf.ts";
import { convert } from "../../src/host/convert.node.ts";
import { CpmError } from "../../src/index.ts";
import { tokenizerOfGguf } from "../../src/model/gguf.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { firstDifference, load, logitsOf } from "../support/engine.ts";
import { jsonBytes, writeSafetensors } from "../support/folder.ts";
import { shared } from "../support/golden.ts";
import { type FloatType, type Tiny, tinyConfig, tinyFolder, tinyGguf, tinyModel, tinyStored } from "../support/tiny.ts";
import { whereFile } from "../support/where.ts";

type Folder = Record<string, Uint8Array>;

async function gguf(folder: Folder, name?: string): Promise<Uint8Array> {
  let output: MemoryOutput | undefined;
  await toGguf(memoryFiles("", folder), async () => (output = memoryOutput("x.gguf")), { name });
  return output!.bytes();
}

async function folderOf(file: Uint8Array): Promise<Folder> {
  const outputs: Record<string, MemoryOutput> = {};
  let committed = false;
  const folder: OutputFolder = {
    name: "x",
    file: async (name) => (outputs[name] = memoryOutput(name)),
    async commit() {
      committed = true;
    },
    async discard() {},
  };
  await toFolder(memoryFiles("x.gguf", { "x.gguf": file }), async () => folder);
  expect(committed).toBe(true);
  return Object.fromEntries(Object.entries(outputs).map(([name, output]) => [name, output.bytes()]));
}

const parsed = (file: Uint8Array) => readGguf(bytesSource("x.gguf", file));
const objectOf = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
const tokens = Array.from({ length: 60 }, (_, i) => (i * 37 + 5) % 320);

async function sameLogits(a: Folder | Uint8Array, b: Folder | Uint8Array): Promise<void> {
  const [x, y] = [await load(a), await load(b)];
  expect(firstDifference(await logitsOf(x, tokens), await logitsOf(y, tokens))).toBe(-1);
}

/** Every value is one of the type, norms included. */
function rounded(model: Tiny): Tiny {
  for (const { values } of model.weights.values())
    for (let i = 0; i < values.length; i++) values[i] = Math.round(values[i]! * 64) / 64;
  return model;
}

for (const type of ["F32", "F16", "BF16"] satisfies FloatType[])
  for (const tied of [true, false])
    test(`${type}, ${tied ? "tied" : "with a head"}: a folder, its GGUF and that one's folder give the same bits`, async () => {
      const folder = tinyFolder(rounded(tinyModel({ tied, heads: 8, kvHeads: 2 })), type);
      const file = await gguf(folder);
      await sameLogits(folder, file);
      const back = await folderOf(file);
      await sameLogits(folder, back);
      // The tensors are the very bytes.
      expect(Buffer.from(back["model.safetensors"]!).includes(Buffer.from(folder["model.safetensors"]!).subarray(-4096))).toBe(
        true,
      );
      const again = await parsed(await gguf(back, "Tiny"));
      const first = await parsed(file);
      expect(again.tensors.map(({ name, type: t, shape }) => [name, t, shape])).toEqual(
        first.tensors.map(({ name, type: t, shape }) => [name, t, shape]),
      );
      for (const [i, tensor] of first.tensors.entries()) {
        const other = again.tensors[i]!;
        const bytes = await tensor.source.read(tensor.offset, tensor.bytes);
        expect(Buffer.from(await other.source.read(other.offset, other.bytes)).equals(bytes), tensor.name).toBe(true);
        expect(tensor.type).toBe(tensor.shape.length === 1 ? "F32" : type);
      }
      expect(objectOf(back["config.json"]!)).toMatchObject({
        scale_emb: 12,
        scale_depth: 1.4,
        dim_model_base: 256,
        rms_norm_eps: 1e-5,
      });
    });

test("keys stand in the converter's order, tensors in the folder's, LongRoPE factors first; what it drops is written", async () => {
  const model = tinyModel({ tied: false });
  const [short, long] = [1, 2].map((by) => Array.from({ length: 8 }, (_, i) => 1 + by * i * 0.37));
  const folder = tinyFolder(model, "BF16");
  const sparse = {
    kernel_size: 32,
    kernel_stride: 16,
    init_blocks: 1,
    block_size: 64,
    window_size: 2048,
    topk: 64,
    dense_len: 8192,
  };
  folder["config.json"] = jsonBytes({
    ...tinyConfig(model.shape),
    head_dim: undefined,
    _name_or_path: "somebody/tiny-model-0.1B",
    rope_scaling: { rope_type: "longrope", short_factor: short, long_factor: long, original_max_position_embeddings: 512 },
    sparse_config: sparse,
    eos_token_id: [2, 300],
  });
  folder["generation_config.json"] = jsonBytes({ temperature: 0.8, top_p: 0.7, eos_token_id: [2, 300] });
  const file = await gguf(folder);
  const { metadata, tensors } = await parsed(file);
  expect([...metadata.keys()]).toEqual([
    ..."architecture type sampling.top_p sampling.temp name size_label".split(" ").map((key) => `general.${key}`),
    ..."block_count context_length embedding_length feed_forward_length attention.head_count attention.head_count_kv"
      .split(" ")
      .map((key) => `minicpm.${key}`),
    ..."scaling.type scaling.original_context_length scaling.attn_factor freq_base"
      .split(" ")
      .map((key) => `minicpm.rope.${key}`),
    "minicpm.attention.layer_norm_rms_epsilon",
    "general.file_type",
    ..."embedding_scale residual_scale logit_scale".split(" ").map((key) => `minicpm.${key}`),
    ...Object.keys(sparse).map((key) => `minicpm.sparse.${key}`),
    "general.quantization_version",
    ..."model pre tokens scores token_type bos_token_id eos_token_id unknown_token_id add_bos_token add_eos_token eot_token_id"
      .split(" ")
      .map((key) => `tokenizer.ggml.${key}`),
  ]);
  expect(metadata.get("general.name")).toBe("Tiny Model 0.1B");
  expect(metadata.get("general.file_type")).toBe(32);
  expect(metadata.get("tokenizer.ggml.eot_token_id")).toBe(300);
  expect(tensors.slice(0, 2).map(({ name }) => name)).toEqual(["rope_factors_long.weight", "rope_factors_short.weight"]);
  expect(tensors.length).toBe(2 + model.weights.size);
  // Beyond the original context and within it.
  for (const contextSize of [256, 1024]) {
    const [a, b, c] = [
      await load(folder, { contextSize }),
      await load(file, { contextSize }),
      await load(await folderOf(file), { contextSize }),
    ];
    const logits = await logitsOf(a, tokens);
    expect(firstDifference(logits, await logitsOf(b, tokens))).toBe(-1);
    expect(firstDifference(logits, await logitsOf(c, tokens))).toBe(-1);
  }
  expect(objectOf((await folderOf(file))["config.json"]!)["sparse_config"]).toEqual(sparse);
});

test("llama: its own keys and a linear scaling survive both ways", async () => {
  const folder = tinyFolder(tinyModel({ tied: false }), "F16");
  const { scale_emb: _, scale_depth: __, dim_model_base: ___, ...config } = tinyConfig(tinyModel().shape);
  folder["config.json"] = jsonBytes({
    ...config,
    model_type: "llama",
    architectures: ["LlamaForCausalLM"],
    tie_word_embeddings: false,
    rope_scaling: { type: "linear", factor: 2.5 },
  });
  const file = await gguf(folder);
  const { metadata } = await parsed(file);
  expect(metadata.get("llama.rope.scaling.type")).toBe("linear");
  expect(metadata.get("llama.vocab_size")).toBe(320);
  await sameLogits(folder, file);
  await sameLogits(file, await folderOf(file));
});

/** Texts with everything in them. */
const texts = ["Hello world, it's 12345 o'clock\n\n\tand all  is   WELL!!! {x: [1, 22]}", "  中文 русский 日本語 🙂 naïve <s>"];

test("a byte-level tokenizer.json becomes a named pre-tokeniser and back, with the same ids", async () => {
  const alphabet = Array.from({ length: 256 }, (_, b) =>
    String.fromCharCode(
      (b >= 33 && b <= 126) || (b >= 161 && b !== 173)
        ? b
        : 256 + [...Array(b).keys()].filter((x) => x < 33 || (x > 126 && x < 161) || x === 173).length,
    ),
  );
  const merges = ["h e", "l l", "he ll", "hell o", "\u0120 w", "i t", "1 2", "12 3", "\u010a \u010a", "a n", "an d"];
  const vocab: Record<string, number> = {};
  for (const piece of [...alphabet, ...merges.map((m) => m.replace(" ", ""))]) vocab[piece] ??= Object.keys(vocab).length;
  const model = tinyModel({ vocab: 320 });
  const size = Object.keys(vocab).length;
  const names = ["<s>", "<|im_end|>", "<call>"];
  const tokenizer = {
    added_tokens: names.map((content, i) => ({
      id: size + i,
      content,
      special: i < 2,
      normalized: false,
      lstrip: false,
      rstrip: false,
      single_word: false,
    })),
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        {
          type: "Split",
          pattern: {
            Regex:
              "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
          },
          behavior: "Isolated",
          invert: false,
        },
        { type: "ByteLevel", add_prefix_space: false, use_regex: false },
      ],
    },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab, merges, ignore_merges: true },
  };
  const folder: Folder = {
    "config.json": jsonBytes({ ...tinyConfig(model.shape), bos_token_id: size, eos_token_id: size + 1 }),
    "model.safetensors": writeSafetensors(tinyStored(model, "F16")),
    "tokenizer.json": jsonBytes(tokenizer),
    "tokenizer_config.json": jsonBytes({
      bos_token: "<s>",
      eos_token: "<|im_end|>",
      add_bos_token: false,
      chat_template: "{{ messages }}",
    }),
  };
  const file = await gguf(folder);
  const { metadata } = await parsed(file);
  expect(metadata.get("tokenizer.ggml.model")).toBe("gpt2");
  expect(metadata.get("tokenizer.ggml.pre")).toBe("llama-bpe");
  expect(metadata.get("tokenizer.chat_template")).toBe("{{ messages }}");
  const back = await folderOf(file);
  const all = [await load(folder), await load(file), await load(back)].map((engine) => new Tokenizer(engine.info.tokenizer));
  for (const text of [...texts, "<s>hello<|im_end|><call>world"]) {
    const [a, b, c] = all.map((t) => t.encode(text));
    expect(b).toEqual(a);
    expect(c).toEqual(a);
  }
  expect(all.map((t) => t.stop)).toEqual([[size + 1], [size + 1], [size + 1]]);
  // Digits one by one and letters alone: no GGUF can name that.
  tokenizer.pre_tokenizer.pretokenizers[0] = {
    type: "Split",
    pattern: { Regex: "\\p{L}|\\p{N}" },
    behavior: "Isolated",
    invert: false,
  };
  const odd = { ...folder, "tokenizer.json": jsonBytes(tokenizer) };
  await expect(gguf(odd)).rejects.toThrow(/none of the pre-tokenisers that a GGUF can name/);
});

const published = shared("data/minicpm4/minicpm4-vocab.gguf");
whereFile(published, "data/minicpm4 and data/minicpm5")(
  "MiniCPM4's published tokenizer: the pieces of its GGUF, and the golden ids",
  { timeout: 600_000 },
  async () => {
    const from = (name: string) => new Uint8Array(readFileSync(shared(`data/minicpm4/${name}`)!));
    const model = tinyModel({ layers: 1, hidden: 32, intermediate: 32, heads: 2, kvHeads: 1, headDim: 16, vocab: 73448 });
    const names = [
      "tokenizer.model",
      "tokenizer_config.json",
      "added_tokens.json",
      "special_tokens_map.json",
      "generation_config.json",
    ];
    const folder: Folder = {
      ...Object.fromEntries(names.map((name) => [name, from(name)])),
      "config.json": jsonBytes({ ...tinyConfig(model.shape), bos_token_id: 1, eos_token_id: [2, 73440] }),
      "model.safetensors": writeSafetensors(tinyStored(model, "F16")),
    };
    const file = await gguf(folder);
    const { metadata } = await parsed(file);
    const wanted = (await parsed(new Uint8Array(readFileSync(published!)))).metadata;
    for (const key of [
      ..."model pre tokens bos_token_id eos_token_id unknown_token_id add_bos_token".split(" ").map((k) => `tokenizer.ggml.${k}`),
      "tokenizer.chat_template",
    ])
      expect(metadata.get(key), key).toEqual(wanted.get(key));
    // Tokens 0 to 2 are listed as added ones, too: the converter then makes them control tokens with its score for those.
    for (const key of ["tokenizer.ggml.scores", "tokenizer.ggml.token_type"])
      expect(Array.from(metadata.get(key) as Int32Array).slice(3), key).toEqual(
        Array.from(wanted.get(key) as Int32Array).slice(3),
      );
    const golden = JSON.parse(readFileSync(shared("golden/tokenizer-minicpm4.json")!, "utf8")) as {
      text: string;
      ids: number[];
    }[];
    const back = await folderOf(file);
    const [ours, reference] = [
      new Tokenizer(tokenizerOfGguf("x", metadata)),
      new Tokenizer((await load(back, { contextSize: 64 })).info.tokenizer),
    ];
    const published4 = new Tokenizer(tokenizerOfGguf("y", wanted));
    for (const { text } of golden) {
      const ids = published4.encode(text);
      expect(ours.encode(text), JSON.stringify(text)).toEqual(ids);
      expect(reference.encode(text), JSON.stringify(text)).toEqual(ids);
    }
    expect([...ours.stop].sort()).toEqual([2, 73440]);
  },
);

const place = mkdtempSync(join(tmpdir(), "cpm-convert-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

/** What is thrown. */
const failure = async (work: Promise<unknown>): Promise<CpmError> => {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(CpmError);
  return error as CpmError;
};

test("by paths: what exists is kept without force, an abort and bad input leave nothing, and say why", async () => {
  const source = join(place, "a.gguf");
  const tiny = tinyGguf(tinyModel(), "F16");
  writeFileSync(source, tiny);
  const folder = join(place, "folder");
  const seen: number[] = [];
  const done = await convert(source, folder, { onProgress: ({ bytes, totalBytes }) => seen.push(bytes / totalBytes) });
  expect(done).toMatchObject({ format: "folder", tensors: 20 });
  expect(seen.at(-1)).toBe(1);
  expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  expect(readdirSync(folder).sort()).toEqual(
    "config.json generation_config.json model.safetensors special_tokens_map.json tokenizer.model tokenizer_config.json".split(
      " ",
    ),
  );
  expect((await failure(convert(source, folder))).code).toBe("io");
  await convert(source, folder, { force: true });
  const back = join(place, "b.gguf");
  await convert(folder, back);
  await sameLogits(tiny, new Uint8Array(readFileSync(back)));
  const before = readFileSync(back);
  const control = new AbortController();
  const aborted = convert(folder, back, {
    force: true,
    signal: control.signal,
    onProgress: () => control.abort(new Error("enough")),
  });
  await expect(aborted).rejects.toThrow("enough");
  expect(readFileSync(back).equals(before)).toBe(true);
  const quantised = join(place, "q.gguf");
  const parts = tinyModel({ hidden: 64 });
  writeFileSync(quantised, tinyGguf(parts, "F16").subarray(0, 5000));
  writeFileSync(join(place, "a.bin"), "no model");
  const cases: readonly (readonly [Promise<unknown>, string, RegExp])[] = [
    [convert(source, join(place, "c.gguf")), "bad-input", /a GGUF becomes a folder/],
    [convert(join(place, "none"), join(place, "c")), "io", /none: no such file or folder/],
    [convert(folder, join(place, "c")), "bad-input", /a folder becomes a GGUF/],
    [convert(join(place, "a.bin"), join(place, "c")), "bad-input", /expected a \.gguf file or a Hugging Face folder/],
    [convert(join(place, "none.gguf"), join(place, "c")), "io", /no such file/],
    [convert(quantised, join(place, "c")), "bad-model", /./],
    [
      convert(new URL("../../models/stories-q4_0.gguf", import.meta.url).pathname, join(place, "c")),
      "unsupported",
      /is a quantised type/,
    ],
    [convert(source, join(place, "no/where")), "io", /./],
  ];
  const errors = await Promise.all(cases.map(([work]) => failure(work)));
  for (const [i, [, code, message]] of cases.entries())
    expect([code, errors[i]!.message]).toEqual([errors[i]!.code, expect.stringMatching(message)]);
  expect(existsSync(join(place, "c"))).toBe(false);
  expect(readdirSync(place).filter((name) => name.startsWith("."))).toEqual([]);
});
