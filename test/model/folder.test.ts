// The same weights in a Hugging Face folder and in a GGUF give the same bits.

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { bytesSource, memoryFiles } from "../../src/file/bytes.ts";
import { readGguf } from "../../src/file/gguf.ts";
import { renderChat, type TemplateOptions } from "../../src/text/template.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { firstDifference, greedy, load, logitsOf } from "../support/engine.ts";
import { jsonBytes, type StoredTensor, writeSafetensors, writeSentencePiece, writeShards } from "../support/folder.ts";
import { list, text, writeGguf } from "../support/gguf.ts";
import { divergence, golden, row } from "../support/golden.ts";
import {
  type FloatType,
  ggufName,
  halfSplit,
  interleaved,
  pieces,
  rotatedHeads,
  tinyConfig,
  tinyFolder,
  tinyGguf,
  tinyModel,
  tinyParts,
  tinyStored,
} from "../support/tiny.ts";

const tokens = Array.from({ length: 40 }, (_, i) => (i * 37 + 5) % 320);
const without = (files: Record<string, Uint8Array>, name: string) =>
  Object.fromEntries(Object.entries(files).filter(([key]) => key !== name));
const changed = (files: Record<string, Uint8Array>, values: Record<string, unknown>, file = "config.json") => ({
  ...files,
  [file]: jsonBytes({ ...(JSON.parse(new TextDecoder().decode(files[file])) as object), ...values }),
});

for (const type of ["F32", "F16", "BF16"] as const)
  for (const tied of [true, false])
    test(`a folder of ${type} weights, ${tied ? "tied" : "untied"}, equals the GGUF of the same weights bit for bit`, async () => {
      const model = tinyModel({ tied });
      const folder = await load(tinyFolder(model, type));
      const gguf = await load(tinyGguf(model, type));
      expect(folder.info).toMatchObject({
        format: "safetensors",
        config: { tied, architecture: "minicpm" },
        packed: gguf.info.packed,
      });
      expect(firstDifference(await logitsOf(folder, tokens), await logitsOf(gguf, tokens))).toBe(-1);
      expect(new Tokenizer(folder.info.tokenizer).encode("ab c")).toEqual(new Tokenizer(gguf.info.tokenizer).encode("ab c"));
      const [a, b] = [
        await folder.generate(await folder.open(), greedy("abc", 10), { onPart: () => {} }),
        await gguf.generate(await gguf.open(), greedy("abc", 10), { onPart: () => {} }),
      ];
      expect(a.tokens).toEqual(b.tokens);
    });

test("shards with an index equal the single file, named by the folder, the index or any shard", async () => {
  const model = tinyModel({ tied: false });
  const rest = without(tinyFolder(model), "model.safetensors");
  const shards = writeShards(tinyStored(model), 3);
  const expected = await logitsOf(await load(tinyFolder(model)), tokens);
  for (const entry of ["", "model.safetensors.index.json", "model-00002-of-00003.safetensors"]) {
    const files = { ...rest, ...shards };
    expect(firstDifference(await logitsOf(await load(memoryFiles(entry, files)), tokens), expected), entry).toBe(-1);
  }
});

test("shards without an index are found by their names; one that is missing is named", async () => {
  const model = tinyModel({ tied: false });
  const rest = without(tinyFolder(model), "model.safetensors");
  const shards = without(writeShards(tinyStored(model), 3), "model.safetensors.index.json");
  const expected = await logitsOf(await load(tinyFolder(model)), tokens);
  for (const entry of ["", "model-00002-of-00003.safetensors"]) {
    const loaded = await load(memoryFiles(entry, { ...rest, ...shards }));
    expect(firstDifference(await logitsOf(loaded, tokens), expected), entry).toBe(-1);
  }
  const missing = without(shards, "model-00003-of-00003.safetensors");
  await expect(load({ ...rest, ...missing })).rejects.toMatchObject({
    code: "bad-model",
    message: expect.stringContaining("model-00003-of-00003.safetensors"),
  });
});

test("a template for tools in a file of its own is chosen where there are tools, and only there", async () => {
  const files: Record<string, Uint8Array> = { ...tinyFolder(tinyModel({})) };
  const put = (name: string, template: string) => (files[name] = new TextEncoder().encode(template));
  put("chat_template.jinja", "D{{ messages[0].content }}");
  put("additional_chat_templates/tool_use.jinja", "T{{ tools | length }}{{ messages[0].content }}");
  const folder = await load(memoryFiles("", files));
  const said = (options?: TemplateOptions) => renderChat(folder.info.tokenizer, [{ role: "user", content: "hi" }], options).text;
  const tools = [{ type: "function" as const, function: { name: "f", parameters: {} } }];
  expect(said({ tools })).toBe("T1hi");
  expect(said()).toBe("Dhi");
});

test("a llama's configuration means what transformers means by it", async () => {
  const model = tinyModel({ tied: false });
  const config = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    scale_emb: undefined,
    scale_depth: undefined,
    dim_model_base: undefined,
  };
  const folder = await load(changed(tinyFolder(model), config));
  expect(folder.info.config).toMatchObject({ architecture: "llama", embeddingScale: 1, residualScale: 1, logitScale: 1 });
  const gguf = await load(tinyGguf(model, "F32", "llama"));
  expect(firstDifference(await logitsOf(folder, tokens), await logitsOf(gguf, tokens))).toBe(-1);
  // transformers 5 keeps the frequency base beside the scaling.
  const newer = await load(
    changed(tinyFolder(model), {
      ...config,
      rope_theta: undefined,
      rope_parameters: { rope_type: "default", rope_theta: 10000 },
    }),
  );
  expect(firstDifference(await logitsOf(newer, tokens), await logitsOf(gguf, tokens))).toBe(-1);
  const other = await load(
    changed(tinyFolder(model), { ...config, rope_theta: undefined, rope_parameters: { rope_type: "default", rope_theta: 500 } }),
  );
  expect(firstDifference(await logitsOf(other, tokens), await logitsOf(gguf, tokens))).toBeGreaterThanOrEqual(0);
});

/** The files of a folder from a GGUF with float weights. */
async function folderOf(path: string): Promise<Record<string, Uint8Array>> {
  const bytes = new Uint8Array(readFileSync(path));
  const gguf = await readGguf(bytesSource(path, bytes));
  const meta = (key: string): number => gguf.metadata.get(`minicpm.${key}`) as number;
  const [heads, kvHeads, hidden] = [meta("attention.head_count"), meta("attention.head_count_kv"), meta("embedding_length")];
  const shape = {
    layers: meta("block_count"),
    hidden,
    intermediate: meta("feed_forward_length"),
    heads,
    kvHeads,
    headDim: meta("rope.dimension_count"),
    vocab: meta("vocab_size"),
    tied: !gguf.tensors.some((t) => t.name === "output.weight"),
  };
  const names = [...tinyModel({ ...shape, hidden: 4, intermediate: 4, vocab: 4 }).weights.keys()];
  const stored = names.map((name): StoredTensor => {
    const tensor = gguf.tensors.find((t) => t.name === ggufName(name))!;
    const data = bytes.slice(tensor.offset, tensor.offset + tensor.bytes);
    const rotated = rotatedHeads(name, shape);
    return {
      name,
      dtype: tensor.type as FloatType,
      shape: tensor.shape,
      bytes: rotated ? halfSplit(data, tensor.shape[0]!, rotated) : data,
    };
  });
  const [vocabulary, scores, types] = ["tokens", "scores", "token_type"].map((key) => gguf.metadata.get(`tokenizer.ggml.${key}`));
  const factors = ["short", "long"].map((which) => {
    const tensor = gguf.tensors.find((t) => t.name === `rope_factors_${which}.weight`);
    return tensor && [...new Float32Array(bytes.slice(tensor.offset, tensor.offset + tensor.bytes).buffer)];
  });
  const scaling = factors[0] && {
    rope_scaling: {
      rope_type: "longrope",
      short_factor: factors[0],
      long_factor: factors[1],
      original_max_position_embeddings: 32768,
    },
  };
  return {
    "config.json": jsonBytes({
      ...tinyConfig(shape),
      rms_norm_eps: meta("attention.layer_norm_rms_epsilon"),
      max_position_embeddings: 32768,
      ...scaling,
    }),
    ...writeShards(stored, 2),
    "tokenizer.model": writeSentencePiece(vocabulary as string[], scores as Float32Array, types as Int32Array),
  };
}

for (const name of ["odd-f16", "longrope-f32"])
  test(`${name} converted to a sharded folder gives the golden logits, bit for bit those of the GGUF`, async () => {
    const c = golden(name)!;
    const folder = await load(await folderOf(c.model));
    const logits = await logitsOf(folder, c.tokens);
    expect(firstDifference(logits, await logitsOf(await load(c.model), c.tokens))).toBe(-1);
    expect(divergence(c.logits_last, row(logits, folder.info.config.vocab, c.tokens.length - 1))).toBeLessThanOrEqual(1e-6);
  });

test("interleaving the rows of rotated heads and splitting them again changes nothing, but each alone does", () => {
  const rows = Float32Array.from({ length: 32 * 3 }, (_, i) => i);
  expect(halfSplit(interleaved(rows, 32, 2), 32, 2)).toEqual(rows);
  expect([...interleaved(rows, 32, 2)].filter((_, i) => i % 3 === 0).slice(0, 4)).toEqual([0, 24, 3, 27]);
});

test("a GGUF whose rotated rows were left in half-split order gives other logits", async () => {
  const model = tinyModel();
  const parts = tinyParts(model);
  const wrong = writeGguf({
    ...parts,
    tensors: parts.tensors.map((t) =>
      t.name.includes("attn_q")
        ? {
            ...t,
            bytes: new Uint8Array(
              model.weights.get(`model.layers.${t.name.split(".")[1]}.self_attn.q_proj.weight`)!.values.slice().buffer,
            ),
          }
        : t,
    ),
  });
  expect(
    firstDifference(await logitsOf(await load(wrong), tokens), await logitsOf(await load(tinyGguf(model)), tokens)),
  ).toBeGreaterThanOrEqual(0);
});

test("an embedding with more rows than there are pieces runs, and such rows have no text", async () => {
  const model = tinyModel();
  const { pieces: names, scores, types } = pieces(300);
  const engine = await load({ ...tinyFolder(model), "tokenizer.model": writeSentencePiece(names, scores, types) });
  const request = greedy([1, 5], 4);
  const result = await engine.generate(
    await engine.open(),
    { ...request, sampling: { ...request.sampling, logitBias: [[310, 1e6]] } },
    { onPart: () => {} },
  );
  expect(result).toMatchObject({ tokens: [310, 310, 310, 310], text: "" });
});

test("U+FEFF is a piece like any other", async () => {
  const parts = tinyParts(tinyModel());
  const { pieces: names } = pieces(320);
  names[300] = "\ufeff";
  const engine = await load(
    writeGguf({
      ...parts,
      metadata: parts.metadata.map(([key, value]) => [key, key === "tokenizer.ggml.tokens" ? list(8, names.map(text)) : value]),
    }),
  );
  expect(new Tokenizer(engine.info.tokenizer).piece(300)).toBe("\ufeff");
});

test("a bias is refused, since it would be left out", async () => {
  const stored = tinyStored(tinyModel());
  await expect(
    load({
      ...tinyFolder(),
      "model.safetensors": writeSafetensors([
        ...stored,
        { name: "model.layers.0.self_attn.q_proj.bias", dtype: "F32", shape: [64], bytes: new Uint8Array(256) },
      ]),
    }),
  ).rejects.toMatchObject({ code: "unsupported" });
});
