// Needles: a phrase of keys that a query looks for, planted at eleven depths, is among the chosen blocks wherever it is so
// strong that dense attention finds it. bench/needle.mjs does the same up to 128k tokens.
import { expect, test } from "vitest";
import { PUBLISHED_SPARSE } from "../../src/model/sparse.ts";
import { noise } from "../support/noise.ts";
import { causal, Rig } from "./rig.ts";

const [heads, kvHeads, dim] = [16, 2, 64];
const group = heads / kvHeads;
const DEPTHS = 11;

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** A cache of unit-variance keys with one needle a depth, each in a direction and with a value of its own. */
async function haystack(length: number, phrase: number, kvType: "f16" | "q8") {
  const rig = await Rig.open("kernels", {
    heads,
    kvHeads,
    headDim: dim,
    kvType,
    sparse: { ...PUBLISHED_SPARSE, denseLen: 1 },
    capacity: length,
    rows: 1,
  });
  const random = noise(length + phrase);
  const vector = () => Array.from({ length: dim }, () => normal(random));
  for (let slot = 0; slot < length; slot++) for (let head = 0; head < kvHeads; head++) rig.store(head, slot, vector(), vector());
  // Scores of other keys have deviation 1: half of dense attention's weight is on the needle at ln(n / phrase) + 1/2.
  const signal = Math.log(length / phrase) + 0.5 + 0.7;
  const needles = Array.from({ length: DEPTHS }, (_, i) => {
    const at = Math.min(length - phrase - 1, Math.round((i / (DEPTHS - 1)) * length));
    const direction = vector();
    const scale = Math.sqrt(direction.reduce((sum, x) => sum + x * x, 0));
    const q = direction.map((x) => x / scale);
    const value = vector();
    for (let slot = at; slot < at + phrase; slot++)
      for (let head = 0; head < kvHeads; head++)
        rig.store(
          head,
          slot,
          q.map((x) => signal * x + normal(random) * 0.1),
          value,
        );
    return { at, q, value };
  });
  return { rig, needles };
}

for (const length of [8192, 16384])
  for (const [phrase, kvType] of [
    [16, "f16"],
    [4, "f16"],
    [16, "q8"],
  ] as const)
    test(`a phrase of ${phrase} keys in ${length} tokens of ${kvType} is found at every depth where dense attention finds it`, async () => {
      const { rig, needles } = await haystack(length, phrase, kvType);
      for (const { at, q, value } of needles) {
        const queries = Array.from({ length: heads }, () => q).flat();
        const along = (out: Float32Array, head: number) =>
          value.reduce((sum, x, d) => sum + x * out[head * dim + d]!, 0) / value.reduce((sum, x) => sum + x * x, 0);
        const dense = rig.attend([causal(length - 1, 0)], queries);
        const sparse = rig.attend([causal(length - 1, length)], queries);
        for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
          expect(along(dense, kvHead * group), `dense, needle at ${at}`).toBeGreaterThan(0.4);
          const chosen = rig.chosen(0, kvHead);
          expect(chosen.length).toBe(96);
          for (let slot = at; slot < at + phrase; slot++) expect(chosen, `needle at ${at}`).toContain(Math.floor(slot / 64));
          expect(along(sparse, kvHead * group)).toBeGreaterThan(0.4);
        }
      }
    });
