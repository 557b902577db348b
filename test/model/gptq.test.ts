// GPTQ int4 checkpoints, built from random codes, against the float weights that they stand for.
import { expect, test } from "vitest";
import { firstDifference, load, logitsOf } from "../support/engine.ts";
import { jsonBytes, type StoredTensor, writeSafetensors } from "../support/folder.ts";
import { ByteWriter, TYPE_IDS, writeGguf } from "../support/gguf.ts";
import { divergence, row } from "../support/golden.ts";
import { gptqTensors } from "../support/gptq.ts";
import { refused } from "../support/hostile.ts";
import { noise } from "../support/noise.ts";
import {
  ggufName,
  halfBits,
  halfValue,
  interleaved,
  rotatedHeads,
  type Tiny,
  tinyFolder,
  tinyModel,
  tinyParts,
  tinyStored,
} from "../support/tiny.ts";

// One layer: errors of random weights grow from layer to layer as they do not in trained ones.
const shape = { layers: 1, hidden: 256, intermediate: 384, heads: 4, kvHeads: 2, headDim: 64 };
const tokens = Array.from({ length: 40 }, (_, i) => (i * 37 + 5) % 320);

interface Linear {
  readonly rows: number;
  readonly cols: number;
  /** (rows, cols), 0 to 15. */
  readonly codes: Uint8Array;
  /** Halves (rows, cols / 32). */
  readonly scales: Uint16Array;
  readonly zero: (row: number) => number;
}

interface Checkpoint {
  readonly stored: StoredTensor[];
  /** The same model with the weights that the codes mean. */
  readonly twin: Tiny;
  readonly linears: ReadonlyMap<string, Linear>;
}

/** Random codes with a scale a group. `stored`: what is written for a zero point; undefined for no qzeros. */
function quantized(group: number, zero: (row: number) => number, storedZero: ((zero: number) => number) | undefined): Checkpoint {
  const model = tinyModel(shape);
  const random = noise(5);
  const [weights, linears] = [new Map(model.weights), new Map<string, Linear>()];
  const stored = tinyStored(model, "F16").flatMap((tensor): StoredTensor[] => {
    if (!/_proj/.test(tensor.name)) return [tensor];
    const [rows, cols] = tensor.shape as [number, number];
    const codes = Uint8Array.from({ length: rows * cols }, () => 16 * random());
    // Five bits, so that a scale times a zero point is a half as well.
    const scales = Uint16Array.from({ length: (rows * cols) / group }, () =>
      halfBits((16 + Math.floor(16 * random())) / 2 ** 11),
    );
    const scaleOf = (r: number, k: number) => scales[r * (cols / group) + Math.floor(k / group)]!;
    weights.set(tensor.name, {
      shape: tensor.shape,
      values: Float32Array.from(
        codes,
        (code, i) => halfValue(scaleOf(Math.floor(i / cols), i % cols)) * (code - zero(Math.floor(i / cols))),
      ),
    });
    linears.set(tensor.name, {
      rows,
      cols,
      codes,
      zero,
      scales: Uint16Array.from({ length: (rows * cols) / 32 }, (_, i) =>
        scaleOf(Math.floor(i / (cols / 32)), (i % (cols / 32)) * 32),
      ),
    });
    return gptqTensors(
      tensor.name.replace(/weight$/, ""),
      codes,
      scales,
      rows,
      cols,
      group,
      storedZero && ((r) => storedZero(zero(r))),
    );
  });
  return { stored, twin: { shape: model.shape, weights }, linears };
}

/** The same codes as Q4_0, or as Q4_1 with minima of minus scale times zero point. */
function blocks({ rows, cols, codes, scales, zero }: Linear, type: "Q4_0" | "Q4_1"): Uint8Array {
  const w = new ByteWriter();
  for (let b = 0; b < (rows * cols) / 32; b++) {
    const minimum = halfBits(-halfValue(scales[b]!) * zero(Math.floor((b * 32) / cols)));
    w.u8(scales[b]! & 255, scales[b]! >> 8, ...(type === "Q4_1" ? [minimum & 255, minimum >> 8] : []));
    for (let i = 0; i < 16; i++) w.u8(codes[b * 32 + i]! | (codes[b * 32 + i + 16]! << 4));
  }
  return w.bytes();
}

function asGguf({ twin, linears }: Checkpoint, type: "Q4_0" | "Q4_1"): Uint8Array {
  const parts = tinyParts(twin, "F16");
  const names = new Map([...linears.keys()].map((name) => [ggufName(name), name]));
  const tensors = parts.tensors.map((t) => {
    const name = names.get(t.name);
    if (name === undefined) return t;
    const [bytes, heads] = [blocks(linears.get(name)!, type), rotatedHeads(name, twin.shape)];
    return { ...t, type: TYPE_IDS[type], bytes: heads ? interleaved(bytes, linears.get(name)!.rows, heads) : bytes };
  });
  return writeGguf({ ...parts, tensors });
}

function folder({ stored, twin }: Checkpoint, quantization: Record<string, unknown>): Record<string, Uint8Array> {
  const files = tinyFolder(twin);
  const config = JSON.parse(new TextDecoder().decode(files["config.json"])) as object;
  const quantization_config = { quant_method: "gptq", bits: 4, group_size: 128, sym: true, desc_act: false, ...quantization };
  return {
    ...files,
    "config.json": jsonBytes({ ...config, quantization_config }),
    "model.safetensors": writeSafetensors(stored),
  };
}

/** Logits of the float twin; its embedding in F16 as in the checkpoint. */
async function exact({ twin }: Checkpoint): Promise<Float32Array> {
  const halves = tinyStored(twin, "F16");
  const stored = tinyStored(twin).map((t, i) => (/_proj/.test(t.name) ? t : halves[i]!));
  return logitsOf(await load({ ...tinyFolder(twin), "model.safetensors": writeSafetensors(stored) }, { kvType: "f32" }), tokens);
}

/** Mean over the positions. */
const distance = (reference: Float32Array, ours: Float32Array): number =>
  tokens.reduce((sum, _, i) => sum + divergence(row(reference, 320, i), row(ours, 320, i)) / tokens.length, 0);

const eight = () => 8;
const cases: Readonly<Record<string, readonly [Checkpoint, Record<string, unknown>, "Q4_0" | "Q4_1"]>> = {
  "v1, symmetric: zero points stored less one": [quantized(128, eight, (zero) => zero - 1), {}, "Q4_1"],
  "v2, symmetric": [quantized(128, eight, (zero) => zero), { checkpoint_format: "gptq_v2" }, "Q4_1"],
  "without zero points": [quantized(128, eight, undefined), { checkpoint_format: "gptq" }, "Q4_0"],
  "v1, asymmetric": [
    quantized(
      128,
      (r) => 5 + (r % 7),
      (zero) => zero - 1,
    ),
    { sym: false },
    "Q4_1",
  ],
  "v2, asymmetric, groups of 32": [
    quantized(
      32,
      (r) => r % 16,
      (zero) => zero,
    ),
    { checkpoint_format: "gptq_v2", group_size: 32 },
    "Q4_1",
  ],
};

for (const [what, [checkpoint, quantization, type]] of Object.entries(cases))
  test(`GPTQ ${what}: the same bits as the same codes in ${type}, and near the float weights`, async () => {
    const engine = await load(folder(checkpoint, quantization), { kvType: "f32", threads: 2 });
    expect(engine.info.format).toBe("safetensors, GPTQ int4");
    const logits = await logitsOf(engine, tokens);
    expect(firstDifference(logits, await logitsOf(await load(asGguf(checkpoint, type), { kvType: "f32" }), tokens))).toBe(-1);
    expect(distance(await exact(checkpoint), logits)).toBeLessThanOrEqual(2e-3);
  });

test("a v1 file read as v2 would be wrong: the format matters", async () => {
  const [checkpoint] = cases["v1, symmetric: zero points stored less one"]!;
  const wrong = await logitsOf(await load(folder(checkpoint, { checkpoint_format: "gptq_v2" })), tokens);
  const right = await logitsOf(await load(folder(checkpoint, {})), tokens);
  expect(distance(await exact(checkpoint), wrong)).toBeGreaterThan(50 * distance(await exact(checkpoint), right));
});

const [sound] = cases["v2, symmetric"]!;
const replaced = (name: RegExp, change: (t: StoredTensor) => StoredTensor): Checkpoint => ({
  ...sound,
  stored: sound.stored.map((t) => (name.test(t.name) ? change(t) : t)),
});

const broken: Readonly<Record<string, readonly [Checkpoint, Record<string, unknown>]>> = {
  "8 bits": [sound, { bits: 8 }],
  "another method": [sound, { quant_method: "awq" }],
  "a format that is not known": [sound, { checkpoint_format: "marlin" }],
  "groups of 48": [sound, { group_size: 48 }],
  "groups of -1": [sound, { group_size: -1 }],
  "groups that do not divide the columns": [sound, { group_size: 160 }],
  "groups that the scales do not have": [sound, { group_size: 64 }],
  "scales of the wrong type": [replaced(/layers.0.*q_proj.scales/, (t) => ({ ...t, dtype: "BF16" })), {}],
  "words that are floats": [replaced(/layers.0.*up_proj.qweight/, (t) => ({ ...t, dtype: "F32" })), {}],
  "words that lie the other way": [replaced(/layers.0.*up_proj.qweight/, (t) => ({ ...t, shape: [...t.shape].reverse() })), {}],
  "no scales": [{ ...sound, stored: sound.stored.filter((t) => !/layers.0.*o_proj.scales/.test(t.name)) }, {}],
};

for (const [what, [checkpoint, quantization]] of Object.entries(broken))
  test(`GPTQ with ${what} is refused, naming the field`, async () => {
    const { code, detail } = await refused(folder(checkpoint, quantization), what);
    expect(["bad-model", "unsupported"]).toContain(code);
    expect(detail.field).toMatch(/quantization_config|proj|group_size/);
  });
