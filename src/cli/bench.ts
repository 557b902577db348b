// cpm bench: prefill and decode speed.
import type { Session } from "../index.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { openModel } from "./model.ts";
import { jsonArg, loadArgs, loadOptions, loraArgs, modelArg, networkArgs } from "./options.ts";
import { note, peakMemoryBytes, plural, printJson, short, table, write } from "./output.ts";
import { profilePicture, readyToSave, save } from "./picture.ts";
import { profileTable, profileTitle } from "./profile.ts";

export const bench: Command = {
  name: "bench",
  description: "Measure prefill and decode speed",
  args: {
    ...modelArg,
    prompt: { type: "string", valueHint: "N", description: "Tokens of the prompt (default 512)" },
    decode: { type: "string", valueHint: "N", description: "Tokens to decode after it (default 128)" },
    depth: {
      type: "string",
      valueHint: "N",
      description: "Tokens in the context before the prompt (default: what --ctx leaves)",
    },
    repeat: { type: "string", valueHint: "N", description: "Measurements after one warm-up, at least 3 (default 3)" },
    profile: { type: "boolean", description: "Where the time of a token after the prompt goes, instead" },
    svg: {
      type: "string",
      valueHint: "FILE",
      description: "With --profile: draw it into this file (takes the packages vega and vega-lite)",
    },
    spec: { type: "string", valueHint: "FILE", description: "With --profile: write the picture's Vega-Lite specification" },
    ...loraArgs,
    ...loadArgs,
    ...networkArgs,
    ctx: { ...loadArgs.ctx, description: "Context size, filled up when measuring ends (default: depth + prompt + decode)" },
    ...jsonArg,
  },
  repeated: ["header", "lora"],
  async run(args) {
    const { repeat, contextSize, ...sizes } = sizesOf(args);
    const json = args.flag("json");
    const [profile, svg, spec] = [args.flag("profile"), args.text("svg"), args.text("spec")];
    if ((svg || spec) && !profile) throw new UsageError("cpm bench: --svg and --spec draw a profile; add --profile");
    const pictures = await readyToSave(spec, svg);
    await using model = await openModel(args.positionals[0], { ...loadOptions(args), contextSize }, json);
    const { info } = model;
    const tokens = (count: number, salt: number) => mixed(count, info.config.vocab, salt);
    await using session = await model.session();
    if (sizes.depth > 0) await session.forward(tokens(sizes.depth, 0), { logits: "none", signal: interrupt.signal });
    if (profile) {
      if (sizes.prompt > 0) await session.forward(tokens(sizes.prompt, 1), { logits: "none", signal: interrupt.signal });
      const found = await session.profile({ steps: sizes.decode, signal: interrupt.signal });
      const title = profileTitle(info, found);
      await save(profilePicture(found, title), pictures);
      return json ? printJson(found) : write(`${title}\n\n${profileTable(found)}\n`);
    }
    const runs: Speeds[] = [];
    for (let i = 0; i <= repeat; i++) {
      await session.truncate(sizes.depth);
      const speeds = await measure(session, tokens(sizes.prompt, i + 1), sizes.decode, model.tokenizer.stop);
      if (i > 0) runs.push(speeds);
      const name = i === 0 ? "warm-up" : `run ${i}`;
      if (!json) note(`${name}: prefill ${short(speeds.prefill)}, decode ${short(speeds.decode)} tokens/s`);
    }
    const { loadMs, memory, variant, turbo, threads, threadsNote, kvType } = info;
    const prefill = spread(runs.map((r) => r.prefill));
    const decode = spread(runs.map((r) => r.decode));
    const peak = peakMemoryBytes();
    if (json) {
      const speeds = { prefillTokensPerSecond: prefill, decodeTokensPerSecond: decode };
      const about = { loadMs, peakMemoryBytes: peak, memory, variant, turbo, threads, contextSize: info.contextSize, kvType };
      return printJson({ ...speeds, ...sizes, repeat, ...about });
    }
    const row = (name: string, s: Spread) => [name, short(s.median), short(s.min), short(s.max)];
    const at = sizes.depth ? ` at ${sizes.depth}` : "";
    const rows = [row(`prefill ${sizes.prompt}${at}`, prefill), row(`decode ${sizes.decode}${at}`, decode)];
    await write(`${table([["tokens/s", "median", "min", "max"], ...rows])}\n`);
    const how = `${plural(threads, "thread")}, ${variant} kernels${turbo ? " with turbo" : ""}, KV cache ${kvType}`;
    await write(`\nloaded in ${short(loadMs)} ms, ${(peak / 2 ** 20).toFixed(0)} MiB at most, ${how}\n`);
    if (threadsNote) note(threadsNote);
  },
};

interface Sizes {
  readonly prompt: number;
  readonly decode: number;
  readonly depth: number;
  readonly repeat: number;
  readonly contextSize: number;
}

function sizesOf(args: Parsed): Sizes {
  const whole = (name: string, least: number, fallback: number) => {
    const value = args.number(name) ?? fallback;
    if (!Number.isSafeInteger(value) || value < least)
      throw new UsageError(`--${name}: expected a whole number, at least ${least}, found ${value}`);
    return value;
  };
  const [prompt, decode, repeat] = [whole("prompt", 1, 512), whole("decode", 1, 128), whole("repeat", 3, 3)];
  const asked = args.number("ctx");
  const depth = whole("depth", 0, Math.max(0, (asked ?? 0) - prompt - decode));
  const contextSize = asked ?? depth + prompt + decode;
  if (contextSize < depth + prompt + decode)
    throw new UsageError(`--ctx: expected at least depth + prompt + decode = ${depth + prompt + decode}, found ${contextSize}`);
  return { prompt, decode, depth, repeat, contextSize };
}

/** A fixed mix of ordinary tokens: speed does not depend on which, as long as they differ. */
const mixed = (count: number, vocab: number, salt: number): number[] =>
  Array.from({ length: count }, (_, i) => (i * 7919 + salt * 104729 + 263) % vocab);

interface Speeds {
  readonly prefill: number;
  readonly decode: number;
}

/** Tokens per second of a prompt after what the session holds, and of `steps` single steps after it. */
async function measure(session: Session, prompt: number[], steps: number, stop: readonly number[]): Promise<Speeds> {
  const { signal } = interrupt;
  const started = performance.now();
  await session.forward(prompt, { logits: "last", signal });
  const prefill = (1000 * prompt.length) / (performance.now() - started);
  // The engine's own loop: sampling is part of what a token costs, messages between threads are not. It computes the
  // prompt's last token again for the first token; the speed it gives counts the steps after that.
  const logitBias = stop.map((token) => [token, -Infinity] as const);
  const options = { temperature: 0, maxTokens: steps + 1, logitBias, signal };
  const { timings } = await session.generate([...(await session.tokens())], options);
  return { prefill, decode: timings.decodeTokensPerSecond };
}

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
