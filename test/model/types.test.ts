// Every tensor type of GGUF, alone and mixed, against its written definition.
import { expect, test } from "vitest";
import { builds, workbench } from "../support/bench.ts";
import { BLOCK_TYPES, randomBlocks } from "../support/blocks.ts";
import { load, logitsOf } from "../support/engine.ts";
import { type GgufTensor, TYPE_IDS, writeGguf } from "../support/gguf.ts";
import { argmax, divergence, row } from "../support/golden.ts";
import { noise } from "../support/noise.ts";
import {
  type FloatType,
  floatBytes,
  ggufName,
  interleaved,
  rotatedHeads,
  type Shape,
  tinyMetadata,
  tinyModel,
} from "../support/tiny.ts";

const types = Object.keys(BLOCK_TYPES);

for (const type of types)
  test(`${type}: the kernels read its blocks as defined`, async () => {
    const { kernels, memory, take } = await workbench(builds[0]!);
    const { id, block } = BLOCK_TYPES[type]!;
    const { bytes, values } = randomBlocks(type, 20 * block, 1, noise(9));
    const [from, to] = [take(bytes.length), take(80 * block)];
    new Uint8Array(memory.buffer, from, bytes.length).set(bytes);
    kernels.dequantize(id, from, 20, to);
    const found = new Float32Array(memory.buffer, to, values.length);
    for (const [i, value] of values.entries())
      expect(Math.abs(found[i]! - value), `element ${i % block} of block ${Math.floor(i / block)}`).toBeLessThanOrEqual(
        1e-6 * Math.max(1, Math.abs(value)),
      );
    expect(new Set(values).size).toBeGreaterThan(type.startsWith("TQ") ? 10 : 200);
  });

const tokens = Array.from({ length: 30 }, (_, i) => (i * 37 + 5) % 320);

/** A model whose matrices have the types that `typeOf` says, and the same model in float32. */
function typed(typeOf: (name: string, i: number) => string, overrides: Partial<Shape>): { mixed: Uint8Array; exact: Uint8Array } {
  const { shape, weights } = tinyModel({ layers: 1, hidden: 256, intermediate: 512, headDim: 64, ...overrides });
  const random = noise(21);
  const both = [...weights].map(([name, { shape: size, values }], i): [GgufTensor, GgufTensor] => {
    const heads = rotatedHeads(name, shape);
    const tensor = (type: number, bytes: Uint8Array): GgufTensor => ({
      name: ggufName(name),
      type,
      shape: size,
      bytes: heads ? interleaved(bytes, size[0]!, heads) : bytes,
    });
    const float = (v: Float32Array, type: FloatType) => tensor(TYPE_IDS[type], floatBytes(v, type));
    const type = size.length === 1 ? "F32" : typeOf(name, i);
    if (type in TYPE_IDS && type.includes("F")) {
      // What the narrow type holds is what both have.
      const held = type === "F32" ? values : values.map((v) => Math.round(v * 64) / 64);
      return [float(held, type as FloatType), float(held, "F32")];
    }
    const { bytes, values: exact } = randomBlocks(
      type,
      values.length,
      name.includes("embed") ? 0.09 : 1 / Math.sqrt(size[1]!),
      random,
    );
    return [tensor(BLOCK_TYPES[type]!.id, bytes), float(exact, "F32")];
  });
  const metadata = tinyMetadata(shape);
  return {
    mixed: writeGguf({ metadata, tensors: both.map(([a]) => a) }),
    exact: writeGguf({ metadata, tensors: both.map(([, b]) => b) }),
  };
}

/** The largest divergence of any position; every argmax whose lead is clear agrees. */
async function worst({
  mixed,
  exact,
}: {
  mixed: Uint8Array;
  exact: Uint8Array;
}): Promise<{ kl: number; packed: Readonly<Record<string, number>> }> {
  const engine = await load(mixed, { kvType: "f32" });
  const [ours, reference] = [await logitsOf(engine, tokens), await logitsOf(await load(exact, { kvType: "f32" }), tokens)];
  let kl = 0;
  for (let i = 0; i < tokens.length; i++) {
    const [a, b] = [row(reference, 320, i), row(ours, 320, i)];
    kl = Math.max(kl, divergence(a, b));
    const [first, second] = [...a].sort((x, y) => y - x);
    if (first! - second! > 0.2) expect(argmax(b), `position ${i}`).toBe(argmax(a));
  }
  return { kl, packed: engine.info.packed };
}

for (const type of types)
  test(`a model of ${type} alone is within 2e-3 of its float values`, async () => {
    const { kl, packed } = await worst(typed(() => type, {}));
    expect(kl).toBeLessThanOrEqual(2e-3);
    expect(Object.keys(packed)).toHaveLength(1);
  });

test("a model of all types mixed freely, every weight another, is within 2e-3 of its float values", async () => {
  const all = ["F32", "F16", "BF16", ...types];
  for (const shift of [0, 4, 9]) {
    const { kl, packed } = await worst(typed((_, i) => all[(i * 7 + shift) % all.length]!, { layers: 2, tied: false }));
    expect(kl, `shift ${shift}`).toBeLessThanOrEqual(2e-3);
    expect(Object.keys(packed).length).toBeGreaterThan(4);
  }
});
