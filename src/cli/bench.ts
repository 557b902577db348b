// cpm bench: prefill and decode speed.
import type { Model } from "../index.ts";
import type { Command, Parsed } from "./args.ts";
import { UsageError } from "./args.ts";
import { interrupt, openModel } from "./model.ts";
import { jsonArg, loadArgs, loadOptions, modelArg } from "./options.ts";
import { note, peakMemoryBytes, printJson, short, table, write } from "./output.ts";

interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/** A fixed mix of ordinary tokens: speed does not depend on which, as long as they differ. */
const tokensFor = (count: number, vocab: number, salt: number): number[] => Array.from({ length: count }, (_, i) => (i * 7919 + salt * 104729 + 263) % vocab);

interface Sizes {
  readonly prompt: number;
  readonly decode: number;
  readonly depth: number;
}

function sizesOf(args: Parsed): Sizes & { repeat: number } {
  const whole = (name: string, least: number, fallback: number) => {
    const value = args.number(name) ?? fallback;
    if (!Number.isSafeInteger(value) || value < least) throw new UsageError(`--${name}: expected a whole number, at least ${least}, found ${value}`);
    return value;
  };
  return { prompt: whole("prompt", 1, 512), decode: whole("decode", 1, 128), depth: whole("depth", 0, 0), repeat: whole("repeat", 3, 3) };
}

export const bench: Command = {
  name: "bench",
  description: "Measure prefill and decode speed",
  args: {
    ...modelArg,
    prompt: { type: "string", valueHint: "N", description: "Tokens of the prompt (default 512)" },
    decode: { type: "string", valueHint: "N", description: "Tokens to decode after it (default 128)" },
    depth: { type: "string", valueHint: "N", description: "Tokens already in the context before the prompt (default 0)" },
    repeat: { type: "string", valueHint: "N", description: "Measurements after one warm-up, at least 3 (default 3)" },
    ...loadArgs,
    ...jsonArg,
  },
  repeated: ["header"],
  async run(args) {
    const { repeat, ...sizes } = sizesOf(args);
    const json = args.flag("json");
    const options = loadOptions(args);
    const needed = sizes.depth + sizes.prompt + sizes.decode;
    await using model = await openModel(args.positionals[0], { ...options, contextSize: options.contextSize ?? needed }, json);
    const { info } = model;
    if (info.contextSize < needed) throw new UsageError(`--ctx ${info.contextSize} is less than depth + prompt + decode = ${needed}`);
    const runs: { prefill: number; decode: number }[] = [];
    for (let i = 0; i <= repeat; i++) {
      const measured = await measure(model, sizes, i);
      if (i > 0) runs.push(measured);
      if (!json) note(`${i === 0 ? "warm-up" : `run ${i}`}: prefill ${short(measured.prefill)}, decode ${short(measured.decode)} tokens/s`);
    }
    const result = {
      prefillTokensPerSecond: spread(runs.map((r) => r.prefill)),
      decodeTokensPerSecond: spread(runs.map((r) => r.decode)),
      ...sizes,
      repeat,
      loadMs: info.loadMs,
      peakMemoryBytes: peakMemoryBytes(),
      memory: info.memory,
      variant: info.variant,
      threads: info.threads,
      kvType: info.kvType,
    };
    if (json) return printJson(result);
    const row = (name: string, s: Spread) => [name, short(s.median), short(s.min), short(s.max)];
    const speeds = table([["tokens/s", "median", "min", "max"], row(`prefill ${sizes.prompt}`, result.prefillTokensPerSecond), row(`decode ${sizes.decode}`, result.decodeTokensPerSecond)]);
    await write(`${speeds}\n\nloaded in ${short(info.loadMs)} ms, ${(result.peakMemoryBytes / 2 ** 20).toFixed(0)} MiB at most, ${info.threads} thread${info.threads === 1 ? "" : "s"}, ${info.variant} kernels, KV cache ${info.kvType}\n`);
  },
};

/** Tokens per second of a prompt at `depth`, and of single steps after it. */
async function measure(model: Model, { prompt, decode, depth }: Sizes, salt: number): Promise<{ prefill: number; decode: number }> {
  const { vocab } = model.info.config;
  const { signal } = interrupt;
  await using session = await model.session();
  if (depth > 0) await session.forward(tokensFor(depth, vocab, salt + 1), { logits: "none", signal });
  const started = performance.now();
  await session.forward(tokensFor(prompt, vocab, salt), { logits: "last", signal });
  const prefilled = performance.now();
  const all = [...(await session.tokens())];
  // The engine's own loop: sampling is part of what a token costs, messages between threads are not.
  const result = await session.generate([...all, tokensFor(1, vocab, salt + 2)[0]!], { temperature: 0, maxTokens: decode, logitBias: model.tokenizer.stop.map((token) => [token, -Infinity] as const), signal });
  // decodeTokensPerSecond counts steps after the first token, which the new last prompt token gave.
  return { prefill: (1000 * prompt) / (prefilled - started), decode: decode > 1 ? result.timings.decodeTokensPerSecond : 1000 / result.timings.prefillMs };
}
