// Logits against the exact evaluation of the same weights.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { KvType } from "../../src/engine/types.ts";
import { load, logitsOf, variants } from "../support/engine.ts";
import { argmax, divergence, type Golden, golden, present, row, shared } from "../support/golden.ts";

const published = ["f16", "bf16", "q8_0", "q4_0", "q4_k", "q6_k", "tq1_0", "tq2_0"].map((type) => golden(`dense-${type}`));
const odd = ["f32", "f16", "bf16", "q8_0", "q4_0", "q6_k"].map((type) => golden(`odd-${type}`));
const cases = present([...published, ...odd]);

/** Int8 activations cost up to this much; float weights see none. */
const bound = (name: string): number => (/-b?f\d/.test(name) ? 1e-5 : 2e-3);

/** Divergences of the first position, the last, and the decode step after it; their argmax agree. */
async function compare(c: Golden, options: Parameters<typeof load>[1]): Promise<Record<string, number>> {
  const engine = await load(c.model, options);
  const { vocab } = engine.info.config;
  const session = await engine.open();
  const logits = await engine.forward(session, c.tokens, "all");
  const rows = {
    first: [c.logits_first!, row(logits, vocab, 0)],
    last: [c.logits_last, row(logits, vocab, c.tokens.length - 1)],
    next: [c.logits_next!, await engine.forward(session, [c.next_token!], "last")],
  } as const;
  for (const [where, [reference, ours]] of Object.entries(rows)) expect(argmax(ours), where).toBe(argmax(reference));
  return Object.fromEntries(Object.entries(rows).map(([where, [reference, ours]]) => [where, divergence(reference, ours)]));
}

test("every golden case that the repository holds was found", () => {
  expect(cases.length).toBeGreaterThanOrEqual(11);
});

for (const variant of variants)
  for (const c of cases)
    test(`${c.name} in the ${variant} build is within ${bound(c.name)} of the exact logits`, async () => {
      for (const [where, kl] of Object.entries(await compare(c, { variant })))
        expect(kl, where).toBeLessThanOrEqual(bound(c.name));
    });

// What each KV cache costs float weights: the caches differ, the rest does not.
const caches: Readonly<Record<KvType, number>> = { f32: 1e-10, f16: 1e-6, q8: 1e-3 };

for (const [kvType, most] of Object.entries(caches) as [KvType, number][])
  test(`with a KV cache of ${kvType}, float weights are within ${most} of the exact logits`, async () => {
    for (const c of cases.filter(({ name }) => /-b?f\d/.test(name)))
      for (const [where, kl] of Object.entries(await compare(c, { kvType })))
        expect(kl, `${c.name} ${where}`).toBeLessThanOrEqual(most);
  });

const longrope = golden("longrope-f32")!;

for (const kvType of ["f16", "f32"] as const)
  test(`LongRoPE factors are applied: within 1e-6 with a KV cache of ${kvType}`, async () => {
    const engine = await load(longrope.model, { kvType });
    const logits = await logitsOf(engine, longrope.tokens);
    const last = row(logits, engine.info.config.vocab, longrope.tokens.length - 1);
    expect(divergence(longrope.logits_last, last)).toBeLessThanOrEqual(1e-6);
    expect(argmax(last)).toBe(argmax(longrope.logits_last));
  });

const sparse = shared("golden/sparse-f32.gguf");

test.runIf(sparse)("400 tokens of a sparse model are attended densely, below its dense length", async () => {
  const c = JSON.parse(readFileSync(sparse!.replace(".gguf", "-exact-lse.json"), "utf8")) as {
    tokens: number[];
    dense_prefix: number;
    dense_prefix_logits_last: number[];
  };
  const engine = await load(sparse!);
  const session = await engine.open();
  const last = await engine.forward(session, c.tokens.slice(0, c.dense_prefix), "last");
  expect(divergence(c.dense_prefix_logits_last, last)).toBeLessThanOrEqual(1e-5);
  expect(argmax(last)).toBe(argmax(c.dense_prefix_logits_last));
});

const target = shared("golden/target-f32.gguf");

test.runIf(target)("40 greedy tokens of an untied model equal the reference's", async () => {
  const c = JSON.parse(readFileSync(shared("golden/eagle-full.json")!, "utf8")) as { prompt: number[]; new_tokens: number[] };
  const engine = await load(target!);
  const session = await engine.open();
  const tokens: number[] = [];
  // The reference does not stop at the end token.
  for (let next = c.prompt; tokens.length < 40; next = tokens.slice(-1))
    tokens.push(argmax(await engine.forward(session, next, "last")));
  expect(tokens).toEqual(c.new_tokens);
});
