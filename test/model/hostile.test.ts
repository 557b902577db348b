// GGUF files that lie: each is refused with a typed error, or loads and runs; none hangs, traps or throws anything else.
import { expect, test } from "vitest";
import { firstDifference, load, logitsOf } from "../support/engine.ts";
import {
  f32,
  type GgufParts,
  type GgufTensor,
  i32,
  list,
  TYPE_IDS,
  text,
  u32,
  u64,
  type Value,
  writeGguf,
  writeHeader,
} from "../support/gguf.ts";
import { attempt, refused } from "../support/hostile.ts";
import { noise } from "../support/noise.ts";
import { pieces, tinyGguf, tinyModel, tinyParts } from "../support/tiny.ts";

const model = tinyModel({ vocab: 270 });
const parts = tinyParts(model, "F16");
const whole = writeGguf(parts);
const headerBytes = writeHeader(parts).length;

const withMetadata = (key: string, value: Value | undefined): Uint8Array =>
  writeGguf({
    ...parts,
    metadata: [...parts.metadata.filter(([name]) => name !== key), ...(value ? [[key, value] as const] : [])],
  });

const withTensor = (
  name: string,
  change: (tensor: GgufTensor) => GgufTensor | undefined,
  more: Partial<GgufParts> = {},
): Uint8Array =>
  writeGguf({ ...parts, tensors: parts.tensors.flatMap((t) => (t.name === name ? (change(t) ?? []) : t)), ...more });

test("the file that the others are made from loads and runs", async () => {
  expect(await attempt(whole, "whole")).toBeUndefined();
});

test("a file truncated at any of 200 offsets is refused, with the byte where it ends early", async () => {
  const random = noise(7);
  const offsets = [0, 1, 3, 4, 8, 23, 24, headerBytes - 1, headerBytes, whole.length - 1];
  while (offsets.length < 200) offsets.push(Math.floor((offsets.length % 2 ? headerBytes : whole.length) * random()));
  for (const at of offsets) {
    const error = await refused(whole.slice(0, at), `the first ${at} bytes`);
    expect(error.detail.offset, error.message).toBeTypeOf("number");
  }
});

test("500 flipped bytes in a header each give a typed error or a model that runs", async () => {
  const random = noise(11);
  const outcomes = { loaded: 0, refused: 0 };
  // Half of them in what is neither vocabulary nor its scores, which are most of the header.
  const tokensAt = Buffer.from(whole).indexOf("tokenizer.ggml.tokens");
  const tensorsAt = Buffer.from(whole).indexOf("token_embd.weight") - 8;
  for (let i = 0; i < 500; i++) {
    const bytes = whole.slice();
    const r = random();
    const at =
      i % 2
        ? Math.floor(r * headerBytes)
        : r < 0.4
          ? Math.floor((r / 0.4) * tokensAt)
          : tensorsAt + Math.floor(((r - 0.4) / 0.6) * (headerBytes - tensorsAt));
    bytes[at] = bytes[at]! ^ (1 << Math.floor(random() * 8)) ^ (random() < 0.3 ? 0xff : 0);
    outcomes[(await attempt(bytes, `byte ${at} made ${bytes[at]}`)) ? "refused" : "loaded"]++;
  }
  expect(outcomes.refused).toBeGreaterThan(100);
  expect(outcomes.loaded).toBeGreaterThan(20);
});

test("500 flipped bits in the weights never do more than change the text", async () => {
  const random = noise(13);
  for (let i = 0; i < 25; i++) {
    const bytes = whole.slice();
    for (let j = 0; j < 20; j++) {
      const at = headerBytes + Math.floor(random() * (bytes.length - headerBytes));
      bytes[at] = bytes[at]! ^ (1 << Math.floor(random() * 8));
    }
    await attempt(bytes, `damage ${i}`);
  }
});

const absurd = 2n ** 63n;
const layer = "blk.0.attn_q.weight";

const counts: Readonly<Record<string, Uint8Array>> = {
  "2^63 tensors": writeGguf({ ...parts, tensorCount: absurd }),
  "2^63 metadata pairs": writeGguf({ ...parts, pairCount: absurd }),
  "2^64 - 1 tensors": writeGguf({ ...parts, tensorCount: 2n ** 64n - 1n }),
  "more tensors than there are": writeGguf({ ...parts, tensorCount: parts.tensors.length + 1 }),
  "fewer metadata pairs than there are": writeGguf({ ...parts, pairCount: parts.metadata.length - 1 }),
  "a vocabulary of 2^63 pieces": withMetadata("tokenizer.ggml.tokens", list(8, [], absurd)),
  "an array of 2^62 numbers": withMetadata("tokenizer.ggml.scores", list(6, [], absurd / 2n)),
  "an array of arrays of arrays without end": withMetadata(
    "deep",
    list(9, [{ type: 9, write: (w) => w.u32(9).u64(1).u32(9).u64(1).u32(9).u64(1).u32(9).u64(1).u32(4).u64(0) }]),
  ),
  "an array of an unknown type": withMetadata("odd", list(13, [])),
  "a value of an unknown type": withMetadata("odd", { type: 99, write: () => {} }),
  "a text of 2^63 bytes": withMetadata("general.name", { type: 8, write: (w) => w.u64(absurd) }),
  "a dimension of 2^63": withTensor(layer, (t) => ({ ...t, shape: [absurd, 64] })),
  "dimensions whose product is 2^64": withTensor(layer, (t) => ({ ...t, shape: [2n ** 32n, 2n ** 32n] })),
  "dimensions whose product wraps to what is there": withTensor(layer, (t) => ({ ...t, shape: [64, 64n + 2n ** 58n] })),
  "a dimension of 0": withTensor(layer, (t) => ({ ...t, shape: [0, 64] })),
  "5 dimensions": withTensor(layer, (t) => ({ ...t, shape: [1, 1, 1, 64, 64] })),
  "no dimension": withTensor(layer, (t) => ({ ...t, shape: [] })),
  "an offset of 2^63": withTensor(layer, (t) => ({ ...t, offset: absurd })),
  "an offset past the end": withTensor(layer, (t) => ({ ...t, offset: Math.floor(whole.length / 32) * 32 })),
  "an offset between alignments": withTensor(layer, (t) => ({ ...t, offset: 8 })),
  "a row that is no multiple of its type's block": withTensor(layer, (t) => ({ ...t, type: TYPE_IDS.Q4_K })),
  "two tensors over the same bytes": withTensor(layer, (t) => ({ ...t, offset: 0 })),
  "two tensors of one name": writeGguf({ ...parts, tensors: [...parts.tensors, parts.tensors[0]!] }),
  "two metadata pairs of one key": writeGguf({ ...parts, metadata: [...parts.metadata, ["general.name", text("again")]] }),
  "an alignment of 0": withMetadata("general.alignment", u32(0)),
  "an alignment of 33": withMetadata("general.alignment", u32(33)),
  "an alignment that is a text": withMetadata("general.alignment", text("32")),
  "version 1": writeGguf({ ...parts, version: 1 }),
  "version 2^24 * 3, a big-endian 3": writeGguf({ ...parts, version: 0x03000000 }),
  "an integer tensor as a weight": withTensor(layer, (t) => ({ ...t, type: TYPE_IDS.I32, bytes: new Uint8Array(64 * 64 * 4) })),
  "an unknown tensor type": withTensor(layer, (t) => ({ ...t, type: 250 })),
  "a known tensor type that is not read": withTensor(layer, (t) => ({ ...t, type: 16 })),
};

for (const [what, bytes] of Object.entries(counts))
  test(`refused, with the byte or the name: ${what}`, async () => {
    const { detail, code } = await refused(bytes, what);
    expect(code).toBe("bad-model");
    expect(detail.field ?? detail.offset).toBeDefined();
  });

const zeroed = (key: string) => withMetadata(`minicpm.${key}`, u32(0));

const contradictions: Readonly<Record<string, Uint8Array>> = {
  "no architecture": withMetadata("general.architecture", undefined),
  "an architecture of another family": withMetadata("general.architecture", text("mamba")),
  "an architecture that is a number": withMetadata("general.architecture", u32(3)),
  "no tokenizer": withMetadata("tokenizer.ggml.model", undefined),
  "a tokenizer of another kind": withMetadata("tokenizer.ggml.model", text("bert")),
  "a pre-tokeniser that is not known": writeGguf({
    ...parts,
    metadata: [
      ...parts.metadata.filter(([key]) => !/^tokenizer.ggml.(model|add_bos_token)$/.test(key)),
      ["tokenizer.ggml.model", text("gpt2")],
      ["tokenizer.ggml.merges", list(8, [text("a b")])],
      ["tokenizer.ggml.pre", text("no-such")],
    ],
  }),
  "fewer pieces than rows of the embedding": withMetadata("tokenizer.ggml.tokens", list(8, pieces(269).pieces.map(text))),
  "scores for another vocabulary": withMetadata("tokenizer.ggml.scores", list(6, [f32(0)])),
  "scores that are texts": withMetadata("tokenizer.ggml.scores", list(8, pieces(270).pieces.map(text))),
  "scores beyond 2^53": withMetadata(
    "tokenizer.ggml.scores",
    list(
      10,
      pieces(270).types.map((_, i) => u64(i ? 2n ** 60n : 1)),
    ),
  ),
  "a score that is not a number": withMetadata(
    "tokenizer.ggml.scores",
    list(
      6,
      pieces(270).types.map((_, i) => f32(i === 100 ? Number.NaN : 0)),
    ),
  ),
  "pieces that are numbers": withMetadata("tokenizer.ggml.tokens", list(5, pieces(270).types.map(i32))),
  "a BOS token outside the vocabulary": withMetadata("tokenizer.ggml.bos_token_id", u32(270)),
  "no layers": zeroed("block_count"),
  "2^31 layers": withMetadata("minicpm.block_count", u32(2 ** 31)),
  "more layers than tensors": withMetadata("minicpm.block_count", u32(3)),
  "no heads": zeroed("attention.head_count"),
  "no KV heads": zeroed("attention.head_count_kv"),
  "KV heads that do not divide the heads": withMetadata("minicpm.attention.head_count_kv", u32(3)),
  "an embedding length of 0": zeroed("embedding_length"),
  "an embedding length of 2^40": withMetadata("minicpm.embedding_length", u64(2 ** 40)),
  "an embedding length that is not the tensors'": withMetadata("minicpm.embedding_length", u32(60)),
  "a context of 0": zeroed("context_length"),
  "an odd head size": withMetadata("minicpm.attention.key_length", u32(15)),
  "keys and values of different sizes": withMetadata("minicpm.attention.value_length", u32(32)),
  "an odd part of a head that turns": withMetadata("minicpm.rope.dimension_count", u32(7)),
  "rotation scaled in a way that is not known": withMetadata("minicpm.rope.scaling.type", text("ntk")),
  "an epsilon of 0": withMetadata("minicpm.attention.layer_norm_rms_epsilon", f32(0)),
  "an epsilon that is not a number": withMetadata("minicpm.attention.layer_norm_rms_epsilon", f32(Number.NaN)),
  "a logit scale of minus one": withMetadata("minicpm.logit_scale", f32(-1)),
  "a frequency base of infinity": withMetadata("minicpm.rope.freq_base", f32(Infinity)),
  "a residual scale that is a list": withMetadata(
    "minicpm.residual_scale",
    list(
      6,
      Array.from({ length: 1000 }, () => f32(1)),
    ),
  ),
  "no tensors": writeGguf({ ...parts, tensors: [] }),
  "a missing weight": withTensor(layer, () => undefined),
  "a missing norm": withTensor("blk.1.ffn_norm.weight", () => undefined),
  "a bias": withTensor(layer, (t) => t, {
    tensors: [...parts.tensors, { name: "blk.0.attn_q.bias", type: 0, shape: [64], bytes: new Uint8Array(256) }],
  }),
  "a norm that is not a number": withTensor("blk.1.attn_norm.weight", (t) => ({ ...t, bytes: nan(t.bytes, 12) })),
  "an infinite norm": withTensor("output_norm.weight", (t) => ({ ...t, bytes: nan(t.bytes, 4, 0x7f800000) })),
  "a zero-length rotation factor": withTensor(layer, (t) => t, {
    tensors: [...parts.tensors, { name: "rope_freqs.weight", type: 0, shape: [4], bytes: new Uint8Array(16) }],
  }),
  "rotation factors of zero": withTensor(layer, (t) => t, {
    tensors: [...parts.tensors, { name: "rope_freqs.weight", type: 0, shape: [8], bytes: new Uint8Array(32) }],
  }),
};

function nan(bytes: Uint8Array, at: number, bits = 0x7fc00000): Uint8Array {
  const out = bytes.slice();
  new DataView(out.buffer).setUint32(at, bits, true);
  return out;
}

for (const [what, bytes] of Object.entries(contradictions))
  test(`refused, with the field: ${what}`, async () => {
    const { detail, code } = await refused(bytes, what);
    expect(["bad-model", "unsupported"]).toContain(code);
    expect(detail.field).toBeDefined();
  });

test("a norm that is not a number is reported at its own byte", async () => {
  const bytes = contradictions["a norm that is not a number"]!;
  const { offset } = (await refused(bytes, "norm")).detail;
  expect(new DataView(bytes.buffer).getUint32(offset!, true)).toBe(0x7fc00000);
});

const odd: Readonly<Record<string, Uint8Array>> = {
  "a frequency base of 1e-38": withMetadata("minicpm.rope.freq_base", f32(1e-38)),
  "a frequency base of 3e38": withMetadata("minicpm.rope.freq_base", f32(3e38)),
  "an embedding scale of 3e38": withMetadata("minicpm.embedding_scale", f32(3e38)),
  "a logit scale of 1e-38": withMetadata("minicpm.logit_scale", f32(1e-38)),
  "rotation factors of 1e-38": withTensor(layer, (t) => t, {
    tensors: [
      ...parts.tensors,
      { name: "rope_freqs.weight", type: 0, shape: [8], bytes: new Uint8Array(new Float32Array(8).fill(1e-38).buffer) },
    ],
  }),
  "weights that are not numbers": withTensor(layer, (t) => ({ ...t, bytes: new Uint8Array(t.bytes.length).fill(0x7e) })),
  "an embedding of infinities": withTensor("token_embd.weight", (t) => ({
    ...t,
    bytes: new Uint8Array(new Uint16Array(t.bytes.length / 2).fill(0x7c00).buffer),
  })),
  "token types that do not exist": withMetadata(
    "tokenizer.ggml.token_type",
    list(
      5,
      pieces(270).types.map((_, i) => i32(i % 9 ? -i : 77)),
    ),
  ),
  "pieces that are all the same": withMetadata(
    "tokenizer.ggml.tokens",
    list(
      8,
      pieces(270).types.map(() => text("x")),
    ),
  ),
  "empty pieces": withMetadata(
    "tokenizer.ggml.tokens",
    list(
      8,
      pieces(270).types.map(() => text("")),
    ),
  ),
  "pieces that are not UTF-8": withMetadata(
    "tokenizer.ggml.tokens",
    list(
      8,
      pieces(270).types.map((_, i) => ({ type: 8, write: (w) => w.u64(2).u8(0xc3, i & 255) })),
    ),
  ),
};

for (const [what, bytes] of Object.entries(odd))
  test(`loads and runs, or fails with a typed error: ${what}`, async () => {
    await attempt(bytes, what);
  });

test("a key cache of 8 bits takes values that are not numbers without a trap", async () => {
  const engine = await load(odd["weights that are not numbers"]!, { kvType: "q8" });
  const logits = await engine.forward(await engine.open(), [1, 2, 3], "all");
  expect(logits).toHaveLength(3 * 270);
});

test("a norm stored in blocks is read as what it is, and as no more than it is", async () => {
  // Wide, so that reading a block for every element would run past the end of memory.
  const wide = tinyParts(tinyModel({ layers: 1, hidden: 2048, intermediate: 32, heads: 1, kvHeads: 1, vocab: 270 }), "F16");
  const withNorm = (type: number, bytes: Uint8Array) =>
    writeGguf({ ...wide, tensors: wide.tensors.map((t) => (t.name === "blk.0.ffn_norm.weight" ? { ...t, type, bytes } : t)) });
  const blocks = await load(withNorm(TYPE_IDS.Q8_0, q8Ones(2048)));
  const floats = await load(withNorm(TYPE_IDS.F32, new Uint8Array(new Float32Array(2048).fill(1).buffer)));
  expect(firstDifference(await logitsOf(blocks, [1, 5, 9]), await logitsOf(floats, [1, 5, 9]))).toBe(-1);
});

/** Blocks of scale 1 / 64 and codes of 64. */
function q8Ones(count: number): Uint8Array {
  return Uint8Array.from({ length: (count / 32) * 34 }, (_, i) => (i % 34 === 0 ? 0 : i % 34 === 1 ? 0x24 : 64));
}

test("a file that is no model says what was found", async () => {
  for (const [bytes, found] of [
    [new Uint8Array(0), "an empty file"],
    [new TextEncoder().encode("<!doctype html>"), "3c 21 64 6f"],
  ] as const)
    expect((await refused(bytes, found)).detail).toMatchObject({ offset: 0, found });
});

test("a tiny llama is read from the same parts", async () => {
  expect(await attempt(tinyGguf(model, "BF16", "llama"), "llama")).toBeUndefined();
});
