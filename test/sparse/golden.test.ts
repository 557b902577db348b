// Sparse attention against expected values of an exact evaluation: which blocks are chosen, and the logits.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { tracedBlocks } from "../../src/engine/trace.ts";
import { SPARSE_NAMES, type SparseConfig } from "../../src/model/sparse.ts";
import { firstDifference, load, variants } from "../support/engine.ts";
import { divergence, row } from "../support/golden.ts";

interface Case {
  readonly sparse: Readonly<Record<string, number | boolean>>;
  readonly tokens: readonly number[];
  readonly logits_last: readonly number[];
  readonly logits_at_777: readonly number[];
  readonly decode_tokens: readonly number[];
  readonly decode_logits: readonly (readonly number[])[];
  readonly dense_prefix: number;
  readonly dense_prefix_logits_last: readonly number[];
  readonly layer0: readonly { readonly position: number; readonly kv_head: number; readonly blocks: readonly number[] }[];
}

const path = (name: string): string => fileURLToPath(new URL(`../golden/${name}`, import.meta.url));
const model = path("sparse-f32.gguf");
const vocab = 512;

const configOf = (raw: Case["sparse"]): SparseConfig =>
  Object.fromEntries(Object.entries(SPARSE_NAMES).map(([name, key]) => [name, raw[key]])) as unknown as SparseConfig;

test("the golden files of sparse attention are there", () => {
  expect(existsSync(model)).toBe(true);
});

for (const name of ["exact", "coarse"] as const) {
  const golden = JSON.parse(readFileSync(path(`sparse-f32-${name}-lse.json`), "utf8")) as Case;
  const sparse = configOf(golden.sparse);

  for (const variant of variants) {
    test(`${name} log-sum-exp in ${variant}: logits are within 1e-6 nats, with the same bits for one-shot, chunked and threaded prefill`, async () => {
      let first: Float32Array | undefined;
      for (const [batchSize, threads] of [
        [2048, 1],
        [1, 1],
        [64, 2],
        [300, 1],
        [2048, 2],
      ] as const) {
        const engine = await load(model, { kvType: "f32", contextSize: 1200, batchSize, threads, variant, sparse });
        const session = await engine.open();
        const logits = await engine.forward(session, golden.tokens, "all");
        expect(divergence(golden.logits_last, row(logits, vocab, golden.tokens.length - 1))).toBeLessThan(1e-6);
        expect(divergence(golden.logits_at_777, row(logits, vocab, 777))).toBeLessThan(1e-6);
        first ??= logits;
        expect(firstDifference(first, logits), `batches of ${batchSize}, ${threads} threads`).toBe(-1);
        for (const [i, token] of golden.decode_tokens.entries())
          expect(divergence(golden.decode_logits[i]!, await engine.forward(session, [token], "last"))).toBeLessThan(1e-6);
        await engine.close();
      }
    });

    test(`${name} log-sum-exp in ${variant}: layer 0 chooses the same blocks at every listed position`, async () => {
      for (const batchSize of [2048, 64]) {
        const engine = await load(model, { kvType: "f32", contextSize: 1200, batchSize, variant, sparse });
        const trace = await engine.trace(await engine.open(), golden.tokens, 1);
        for (const { position, kv_head, blocks } of golden.layer0)
          expect(tracedBlocks(trace, 0, kv_head, position), `position ${position}, KV head ${kv_head}`).toEqual(blocks);
        await engine.close();
      }
    });
  }

  test(`${name} log-sum-exp: a prompt below denseLen gives the bits of a dense model`, async () => {
    const prompt = golden.tokens.slice(0, golden.dense_prefix);
    const logits = [];
    for (const option of [sparse, false] as const) {
      const engine = await load(model, { kvType: "f32", contextSize: 1200, sparse: option });
      logits.push(await engine.forward(await engine.open(), prompt, "all"));
      await engine.close();
    }
    expect(divergence(golden.dense_prefix_logits_last, row(logits[0]!, vocab, prompt.length - 1))).toBeLessThan(1e-6);
    expect(firstDifference(logits[0]!, logits[1]!)).toBe(-1);
  });
}
