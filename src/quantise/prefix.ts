// Tokens whose activations are massive, and the prefix that takes their part. Source: PrefixQuant (arXiv 2410.05265): what enters a down
// projection counts as massive beyond 64 medians; o = ceil(mean number of such tokens a sequence); the prefix is the o most frequent of
// them, the beginning-of-text token last.
import { CpmError } from "../errors.ts";
import type { Destination } from "./destination.ts";
import { embedSequences } from "./embedding.ts";
import { LayerRun, PLAIN_SETTINGS } from "./layers.ts";
import type { Machine } from "./module.ts";
import { Passes } from "./passes.ts";
import type { OpenedSource } from "./source.ts";

export const PREFIX_RATIO = 64;

/** Positions by sequence of tokens whose largest magnitude is more than `ratio` times the median of all tokens' of all sequences. */
export function outlierPositions(magnitudes: readonly ArrayLike<number>[], ratio = PREFIX_RATIO): number[][] {
  const all = magnitudes.flatMap((m) => Array.from(m)).sort((a, b) => a - b);
  const half = all.length >> 1;
  const median = all.length === 0 ? 0 : all.length % 2 ? all[half]! : (all[half - 1]! + all[half]!) / 2;
  return magnitudes.map((m) => Array.from(m).flatMap((value, i) => (value > ratio * median ? [i] : [])));
}

/** The prefix that sequences with these outlier positions ask for: ties go to the smaller token; `bos` stands once, at the end. */
export function prefixTokens(
  sequences: readonly (readonly number[])[],
  positions: readonly (readonly number[])[],
  bos: number | undefined,
): number[] {
  const counts = new Map<number, number>();
  let outliers = 0;
  for (const [s, list] of positions.entries())
    for (const i of list) {
      const token = sequences[s]![i]!;
      counts.set(token, (counts.get(token) ?? 0) + 1);
      outliers++;
    }
  const most = Math.ceil(outliers / Math.max(1, sequences.length));
  const frequent = [...counts].sort(([a, x], [b, y]) => y - x || a - b).slice(0, most);
  const tokens = frequent.map(([token]) => token).filter((token) => token !== bos);
  return bos === undefined ? tokens : [...tokens, bos];
}

export interface FoundPrefix {
  readonly tokens: readonly number[];
  /** Massive tokens a sequence, on average, in the float model without the prefix. */
  readonly outliers: number;
}

/** Runs the float model over sequences and finds its prefix; a token is massive when it is in any layer. */
export async function findPrefix(
  machine: Machine,
  source: OpenedSource,
  sequences: readonly (readonly number[])[],
  scratch: Destination,
  bos: number | undefined,
  hooks: { readonly signal?: AbortSignal | undefined; onFraction?(fraction: number): void } = {},
): Promise<FoundPrefix> {
  const { model } = source;
  const { signal } = hooks;
  const { layers } = model.config;
  const lengths = sequences.map(({ length }) => length);
  const rows = lengths.reduce((a, b) => a + b, 0);
  let seen = 0;
  const onRows = (count: number) => hooks.onFraction?.((seen += count) / (2 * rows * layers));
  const passes = new Passes(machine, model, lengths, scratch, { signal, onRows });
  const found = sequences.map(() => new Set<number>());
  try {
    await embedSequences(machine, source, sequences, await passes.store("prefix-0"), signal);
    const none = { signal, work() {}, warn() {}, put: async () => {}, putVector: async () => {} };
    const run = new LayerRun(machine, passes, model.config, PLAIN_SETTINGS, none);
    for (const [layer, files] of model.layers.entries()) {
      const [from, to] = [`prefix-${layer % 2}`, `prefix-${(layer + 1) % 2}`];
      const magnitudes = lengths.map((length) => new Float32Array(length));
      await run.forward(layer, files, from, to);
      await passes.observe(from, async (stage, at, count, position, sequence) => {
        if (stage !== "down") return;
        const { inner } = passes.sizes;
        const values = machine.f32(at, count * inner);
        for (let t = 0; t < count; t++) {
          let most = 0;
          for (let k = t * inner; k < (t + 1) * inner; k++) most = Math.max(most, Math.abs(values[k]!));
          magnitudes[sequence]![position + t] = most;
        }
      });
      for (const [s, list] of outlierPositions(magnitudes).entries()) for (const i of list) found[s]!.add(i);
    }
  } finally {
    passes.end();
  }
  const positions = found.map((set) => [...set].sort((a, b) => a - b));
  const outliers = positions.reduce((sum, { length }) => sum + length, 0) / Math.max(1, sequences.length);
  return { tokens: prefixTokens(sequences, positions, bos), outliers };
}

/**
 * Sequences that begin with the prefix in place of their beginning-of-text token, as long as they were allowed to be.
 * @throws CpmError "bad-option" for a prefix that leaves nothing of them.
 */
export function withPrefix(
  sequences: readonly (readonly number[])[],
  prefix: readonly number[],
  bos: number | undefined,
  length: number,
): readonly (readonly number[])[] {
  if (prefix.length * 2 > length)
    throw new CpmError("bad-option", `prefix: ${prefix.length} tokens leave too little of sequences of ${length}`, {
      field: "prefix",
    });
  return sequences.map((tokens) => [...prefix, ...(tokens[0] === bos ? tokens.slice(1) : tokens)].slice(0, length));
}
