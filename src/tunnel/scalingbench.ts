// ScalingBench's loss: what the right reasoning and label cost a model, given the task (MiniCPM4's report, 2.3.1).
import type { Model } from "../door/model.ts";
import type { Session } from "../door/session.ts";
import { CpmError } from "../errors.ts";
import { logSumOf } from "../evaluate/softmax.ts";
import { shown } from "../shown.ts";

/** A task: its input, and reasoning with label behind it; texts or token ids. */
export interface BenchItem {
  readonly input: string | readonly number[];
  readonly output: string | readonly number[];
}

export interface ScalingBench {
  /** Mean over items: the benchmark's loss. */
  readonly loss: number;
  /** Of each item -mean log p(y_t | x, y_<t). */
  readonly items: readonly number[];
  /** Mean over all outputs' tokens. */
  readonly tokenMean: number;
  readonly tokens: number;
}

export interface ScalingBenchOptions {
  readonly signal?: AbortSignal | undefined;
  onProgress?(done: number, total: number): void;
}

/** Rows of logits that lie in memory at once. */
const ROWS = 32;

/**
 * The loss of any model on items. Texts are encoded together, so that no token of the output's beginning is cut otherwise than the model
 * would read it: the output begins where the tokens of both part from those of the input alone.
 * Rejects with CpmError "bad-input" for items without an output, "context-overflow" for those that do not fit, or the signal's reason.
 */
export async function scalingBench(
  model: Model,
  items: readonly BenchItem[],
  { signal, onProgress }: ScalingBenchOptions = {},
): Promise<ScalingBench> {
  if (items.length === 0) throw new CpmError("bad-input", "ScalingBench needs at least one item", { field: "items" });
  const all: (readonly number[])[] = [];
  for (const [i, item] of items.entries()) {
    const { tokens, from } = tokensOf(model, item, i);
    const session = await model.session({ contextSize: Math.min(tokens.length, model.info.contextSize) });
    try {
      all.push(await costs(session, tokens, from, model.info.config.vocab, signal));
    } finally {
      await session.dispose();
    }
    onProgress?.(i + 1, items.length);
  }
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const each = all.map(mean);
  return { loss: mean(each), items: each, tokenMean: mean(all.flat()), tokens: all.reduce((n, list) => n + list.length, 0) };
}

function tokensOf(model: Model, { input, output }: BenchItem, i: number): { tokens: number[]; from: number } {
  const fail = (message: string): never => {
    throw new CpmError("bad-input", `item ${i}: ${message}`, { field: `items[${i}]` });
  };
  if (Array.isArray(input) && Array.isArray(output)) {
    if (input.length === 0) fail("its input has no token; the output's first one would have nothing before it");
    if (output.length === 0) fail("its output has no token");
    return { tokens: [...(input as number[]), ...(output as number[])], from: input.length };
  }
  if (typeof input !== "string" || typeof output !== "string")
    return fail(`expected texts or lists of tokens for input and output, found ${shown(input)} and ${shown(output)}`);
  const { tokenizer } = model;
  const before = tokenizer.encode(input, { eos: false });
  const tokens = tokenizer.encode(input + output, { eos: false });
  let from = 0;
  while (from < before.length && before[from] === tokens[from]) from++;
  if (from === 0) fail("its input has no token; the output's first one would have nothing before it");
  if (from >= tokens.length) fail("its output has no token");
  return { tokens: [...tokens], from };
}

/** -log p of each token from `from` on. */
async function costs(
  session: Session,
  tokens: readonly number[],
  from: number,
  vocab: number,
  signal?: AbortSignal,
): Promise<number[]> {
  if (from > 1) await session.forward(tokens.slice(0, from - 1), { logits: "none", signal });
  const out: number[] = [];
  for (let at = from - 1; at < tokens.length - 1; at += ROWS) {
    const some = tokens.slice(at, Math.min(at + ROWS, tokens.length - 1));
    const logits = await session.forward(some, { logits: "all", signal });
    for (let i = 0; i < some.length; i++) {
      const row = logits.subarray(i * vocab, (i + 1) * vocab);
      const { most, rest } = logSumOf(row);
      out.push(most + rest - row[tokens[at + i + 1]!]!);
    }
  }
  return out;
}
