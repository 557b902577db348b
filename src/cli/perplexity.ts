// cpm perplexity: how well a model foretells a text, and how far it is from another one.
import { resolve } from "node:path";
import process from "node:process";
import type { Divergence, Estimate, Perplexity, PerplexityProgress } from "cpm-wasm/evaluate";
import type { Source } from "../index.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { noteLength, openModel } from "./model.ts";
import { jsonArg, loadArgs, loadOptions, loraArgs, modelArg, networkArgs } from "./options.ts";
import { note, plural, printJson, table, write } from "./output.ts";
import { PartialFile } from "./partial.ts";
import { readyToSave, save } from "./picture.ts";
import { ProgressBar } from "./progress.ts";
import { fileSource } from "./source.ts";
import { readInput } from "./stdin.ts";
import { readText } from "./textfile.ts";

export const perplexity: Command = {
  name: "perplexity",
  description: "Measure perplexity on a text, and KL divergence from another model",
  args: {
    ...modelArg,
    file: { type: "string", alias: "f", valueHint: "TEXT", description: "The text; - is standard input" },
    ...loraArgs,
    ...loadArgs,
    ctx: { ...loadArgs.ctx, description: "Tokens of a chunk (default 512, at most the model's context)" },
    chunks: { type: "string", valueHint: "N", description: "Chunks, at most (default: all whole ones)" },
    from: { type: "string", valueHint: "N", description: "First position of a chunk that is scored (default: its half)" },
    "kl-base": { type: "string", valueHint: "FILE", description: "Compare with the log-probabilities in this file" },
    "save-kl": { type: "string", valueHint: "FILE", description: "Write the log-probabilities, as llama-perplexity does" },
    force: { type: "boolean", description: "Replace the file of --save-kl if there is one" },
    svg: { type: "string", valueHint: "FILE", description: "Draw perplexity by position and KL by percentile" },
    spec: { type: "string", valueHint: "FILE", description: "Write the picture's Vega-Lite specification" },
    ...networkArgs,
    ...jsonArg,
  },
  repeated: ["header", "lora"],
  input: "file",
  async run(args) {
    const [file, klBase, saveKl] = [args.text("file"), args.text("kl-base"), args.text("save-kl")];
    if (file === undefined && klBase === undefined)
      throw new UsageError("cpm perplexity: give a text with --file (-f), or --kl-base");
    if (args.flag("force") && saveKl === undefined) throw new UsageError("--force: only with --save-kl, whose file it replaces");
    const ctx = args.number("ctx");
    if (ctx !== undefined && !(Number.isSafeInteger(ctx) && ctx >= 4))
      throw new UsageError(`--ctx: expected a whole number from 4 on, found ${ctx}`);
    if (klBase !== undefined && ctx !== undefined)
      throw new UsageError("--ctx: the file of --kl-base tells how long chunks are; leave it out");
    if (klBase !== undefined && saveKl !== undefined && resolve(klBase) === resolve(saveKl))
      throw new UsageError("--save-kl: this is the file of --kl-base; give another name");
    const json = args.flag("json");
    const pictures = await readyToSave(args.text("spec"), args.text("svg"));
    const evaluate = await import("cpm-wasm/evaluate");
    const { signal } = interrupt;
    const text = file === undefined ? undefined : await textOf(file);
    const base = klBase === undefined ? undefined : await fileSource(klBase, "--kl-base");
    try {
      const contextSize = base ? (await evaluate.openKlBase(base, signal)).contextSize : ctx;
      await using out = saveKl === undefined ? undefined : await PartialFile.create(saveKl, "--save-kl", args.flag("force"));
      await using model = await openModel(
        args.positionals[0],
        { ...loadOptions(args), contextSize: contextSize ?? 512, draft: false },
        json,
      );
      noteLength(model, contextSize ?? 0, args);
      const shown = new Shown(json, model.info.config.name);
      const found = await evaluate.perplexity(model, text, {
        ...wanted(args, base),
        ...(out ? { save: (bytes) => out.write(bytes) } : {}),
        signal,
        onProgress: shown.progress,
      });
      shown.close();
      await out?.finish();
      const title = `${model.info.config.name}, ${found.count} tokens scored`;
      await save(evaluate.perplexityPicture(found, title), pictures);
      await (json ? printJson(found) : write(told(found)));
    } finally {
      await base?.close();
    }
  },
};

const wanted = (args: Parsed, base: Source | undefined) => ({
  contextSize: args.number("ctx"),
  chunks: args.number("chunks"),
  from: args.number("from"),
  base,
});

/** A text as llama-perplexity reads it: one line break at the end is none of it. */
async function textOf(file: string): Promise<string> {
  return (file === "-" ? await readInput() : await readText(file, "--file")).replace(/\n$/, "");
}

/** "1 h 20 min", "50 s". */
export function duration(seconds: number): string {
  const s = Math.ceil(seconds);
  if (s < 100) return `${s} s`;
  const minutes = Math.ceil(s / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Running values as llama-perplexity prints them, and a bar where a person watches. */
class Shown {
  readonly #bar: ProgressBar | undefined;
  readonly #lines: boolean;

  constructor(json: boolean, name: string) {
    this.#bar = !json && process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
    this.#lines = !json && !process.stderr.isTTY;
    if (this.#lines) note(`perplexity of ${name}, chunk by chunk`);
  }

  readonly progress = ({ done, total, perplexity, secondsLeft }: PerplexityProgress): void => {
    if (this.#lines) note(`[${done}]${perplexity.toFixed(4)}`);
    this.#bar?.show({
      what: "measuring",
      done,
      total,
      more: [`${perplexity.toFixed(4)}`, `${duration(secondsLeft)} left`, `chunk ${done} of ${total}`],
    });
  };

  close(): void {
    this.#bar?.close();
  }
}

const pm = ({ value, error }: Estimate, digits: number, unit = 1): string =>
  `${(unit * value).toFixed(digits)} ± ${(unit * error).toFixed(digits)}`;

function told(found: Perplexity): string {
  const { chunks, contextSize, count, perplexity, divergence, seconds, tokensPerSecond } = found;
  const rate = `${plural(chunks.length, "chunk")} of ${contextSize}, ${count} tokens scored in ${seconds.toFixed(1)} s (${tokensPerSecond.toFixed(0)} tokens/s)`;
  return `${rate}\n\nperplexity  ${pm(perplexity, 4)}\n${divergence ? `\n${compared(divergence)}\n` : ""}`;
}

/** What llama-perplexity --kl-divergence ends with, under its names. */
function compared(d: Divergence): string {
  const percent = (p: number) => (p === 50 ? "median" : `${p} %`);
  const rows = (of: readonly (readonly [number, number])[], digits: number, unit = 1) =>
    of.map(([p, value]) => [`  ${percent(p)}`, (unit * value).toFixed(digits)]);
  return table([
    ["perplexity", ""],
    ["  mean PPL(Q)", pm(d.perplexity, 6)],
    ["  mean PPL(base)", pm(d.basePerplexity, 6)],
    ["  cor(ln PPL(Q), ln PPL(base))", `${(100 * d.correlation).toFixed(2)} %`],
    ["  mean ln(PPL(Q)/PPL(base))", pm(d.logRatio, 6)],
    ["  mean PPL(Q)/PPL(base)", pm(d.ratio, 6)],
    ["  mean PPL(Q)-PPL(base)", pm(d.difference, 6)],
    ["KL divergence (base to Q), nats", ""],
    ["  mean", pm(d.mean, 6)],
    ["  maximum", d.most.toFixed(6)],
    ...rows(d.percentiles, 6),
    ["  minimum", d.least.toFixed(6)],
    ["probability of the right token, Δp in %", ""],
    ["  mean", pm(d.deltaP.mean, 3, 100)],
    ["  maximum", (100 * d.deltaP.most).toFixed(3)],
    ...rows(d.deltaP.percentiles, 3, 100),
    ["  minimum", (100 * d.deltaP.least).toFixed(3)],
    ["  RMS", pm(d.deltaP.rms, 3, 100)],
    ["  same top token", pm(d.sameTop, 3, 100)],
  ]);
}
