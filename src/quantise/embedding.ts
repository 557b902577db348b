// What enters the first layer.
import { bytesOf } from "../brands.ts";
import type { Store } from "./destination.ts";
import type { Machine } from "./module.ts";
import { type OpenedSource, plainTensor, readVector } from "./source.ts";

/** Embeddings of all tokens, as the first layer reads them, into a store. */
export async function embedSequences(
  machine: Machine,
  { model }: OpenedSource,
  sequences: readonly (readonly number[])[],
  store: Store,
  signal?: AbortSignal,
): Promise<void> {
  const { hidden, embeddingScale } = model.config;
  const embedding = plainTensor(model.embedding);
  const row = embedding.bytes / embedding.shape[0]!;
  const held = new Map<number, Float32Array>();
  let at = 0;
  for (const tokens of sequences) {
    const out = new Float32Array(tokens.length * hidden);
    for (const [i, token] of tokens.entries()) {
      let values = held.get(token);
      if (!values) {
        const one = { ...embedding, shape: [1, hidden], offset: embedding.offset + token * row, bytes: row };
        values = (await readVector(machine, one, signal)).map((v) => v * Math.fround(embeddingScale));
        if (held.size < 8192) held.set(token, values);
      }
      out.set(values, i * hidden);
    }
    await store.write(4 * at * hidden, bytesOf(out)!);
    at += tokens.length;
    signal?.throwIfAborted();
  }
  await store.sync();
}
