// cpm train: a run from its configuration, or on from where it was ended.
import { rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import { load } from "cpm-wasm";
import type * as Train from "cpm-wasm/train";
import type { LogEntry, ModelFiles, RunProgress, RunResult, RunStart, TrainConfig } from "cpm-wasm/train";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { jsonArg } from "./options.ts";
import { note, plural, printJson, short, writeFileWhole } from "./output.ts";
import { duration } from "./perplexity.ts";
import { ProgressBar } from "./progress.ts";
import {
  openStart,
  openTarget,
  openTexts,
  type Resident,
  readJson,
  type Texts,
  teachersOf,
  vocabulariesOf,
} from "./traindata.ts";
import { startTrainServer, type TrainServer } from "./trainserver.ts";
import { visibleLine } from "./visible.ts";

type Wing = typeof Train;

export const train: Command = {
  name: "train",
  description: "Train a model, an adapter or a draft head as a configuration says",
  args: {
    config: { type: "positional", required: true, description: "The configuration: a JSON file, see docs/train.md" },
    out: { type: "string", valueHint: "DIR", description: "The run's folder (default: the configuration's \"out\")" },
    html: { type: "string", valueHint: "FILE", description: "Draw the run: curves and samples, while it runs and at its end" },
    port: { type: "string", valueHint: "N", description: "Serve that drawing on 127.0.0.1 while it trains (0: any free port)" },
    threads: {
      type: "string",
      valueHint: "N",
      description: "Compute threads (default: physical cores); the results are the same",
    },
    fresh: { type: "boolean", description: "Forget checkpoints and tokens of an earlier run in the folder" },
    ...jsonArg,
  },
  async run(args) {
    const [file] = args.positionals;
    if (file === undefined) throw new UsageError("cpm train: give a configuration");
    const wing = await import("cpm-wasm/train");
    const read = wing.readConfig(await readJson(file), file);
    const out = args.text("out") ?? resolve(dirname(file), read.out);
    const threads = args.number("threads") ?? read.threads;
    const config: TrainConfig = { ...read, out, threads };
    const unlock = await wing.lockRun(out, { signal: interrupt.signal });
    try {
      if (args.flag("fresh")) await forget(wing, out);
      await runConfig(wing, file, config, args);
    } finally {
      await unlock();
    }
  },
};

/** Removes what a run keeps in its folder, and nothing else. */
async function forget(wing: Wing, out: string): Promise<void> {
  const store = await wing.diskStore(out);
  for (const name of await store.names())
    if (/^(checkpoint-\d+\.ckpt|data-\d+(\.json|-\d+\.tokens)|log\.jsonl)$/.test(name)) await rm(join(out, name));
}

async function runConfig(wing: Wing, file: string, config: TrainConfig, args: Parsed): Promise<void> {
  const json = args.flag("json");
  const { signal } = interrupt;
  const tell = (text: string) => {
    if (!json) note(text);
  };
  const started = performance.now();
  const store = await wing.diskStore(config.out);
  const opened = await openStart(wing, file, config.start);
  const teachers = await teachersOf(wing, file, config);
  const shown = new Shown(wing, file, config, args.text("html"), json);
  const port = args.number("port");
  let target: Resident | undefined;
  let texts: Texts | undefined;
  let server: TrainServer | undefined;
  try {
    if (port !== undefined) {
      server = await startTrainServer(() => shown.page(), port);
      tell(`live at ${server.url}`);
    }
    texts = await openTexts(wing, file, config, opened, store, tell);
    const { length, seed, packing, heldOut } = config;
    const feed = new wing.Feed(texts.sources, { length, seed, packing, heldOut });
    const beside = config.stages.some(({ objective }) => objective.kind === "lora" || objective.kind === "eagle");
    target = await openTarget(wing, file, config, store);
    const { trainer, log, updates } = await wing.runTraining(
      {
        config,
        store,
        features: target?.features,
        machine: (rounded) =>
          wing.openTrainingMachine({
            threads: config.threads,
            variant: config.variant === "auto" ? rounded : config.variant,
            maxMemoryBytes: config.maxMemoryBytes,
          }),
        model: opened.model,
        parts: opened.parts,
        feed,
        dataKey: target ? `${texts.key} ${target.features.key}` : texts.key,
        teachers: new Map([...teachers].map(([path, { model }]) => [path, model])),
        vocabularies: await vocabulariesOf(file, config, opened.model.config.vocab),
        dequantise: beside ? await wing.dequantiser() : undefined,
      },
      {
        signal,
        onStart: (start) => shown.start(start),
        onProgress: (progress) => shown.progress(progress),
        onEntry: (entry) => shown.entry(entry),
        sample: (files, prompts, most) => samplesOf(files, prompts, most, config),
      },
    );
    shown.close();
    const written = await exportAll(wing, trainer, opened, config, tell).finally(() => trainer.close());
    await shown.finish(log);
    const last = <K extends LogEntry["kind"]>(kind: K) =>
      log.findLast((entry): entry is Extract<LogEntry, { kind: K }> => entry.kind === kind);
    const seconds = (performance.now() - started) / 1000;
    const [update, held] = [last("update"), last("heldOut")];
    if (json) return printJson({ updates, loss: update?.loss, heldOut: held?.loss, tokens: update?.tokens, seconds, written });
    const evaluated = held ? `, held out ${held.loss.toFixed(4)}` : "";
    note(
      `${plural(updates, "update")}, ${update?.tokens ?? 0} tokens: loss ${update?.loss.toFixed(4)}${evaluated}, in ${duration(seconds)}`,
    );
  } catch (error) {
    shown.close();
    if (signal.aborted && !json && shown.last > 0)
      note(`saved after update ${shown.last} in ${config.out}; the same command goes on from there`);
    throw error;
  } finally {
    shown.close();
    await target?.close();
    await texts?.close();
    await server?.close();
    for (const { close } of [opened, ...teachers.values()]) await close();
  }
}

async function exportAll(
  wing: Wing,
  trainer: RunResult["trainer"],
  { model, parts }: { readonly model: Train.ModelFile; readonly parts: Train.FolderParts },
  config: TrainConfig,
  tell: (text: string) => void,
): Promise<{ readonly to: string; readonly bytes: number }[]> {
  const stage = config.stages.at(-1)!;
  const shape = wing.shapeOfModel(model.config, config.length, config.sparse);
  const list = config.exports.length > 0 ? config.exports : wing.defaultExports(stage, shape);
  const written: { to: string; bytes: number }[] = [];
  for (const wanted of list) {
    const to = resolve(config.out, wanted.to);
    const { tensors, bytes } = await wing.exportTrained(trainer, parts, { ...wanted, to }, wing.diskOutputs, {
      name: basename(config.out),
      signal: interrupt.signal,
    });
    tell(`${to}: ${plural(tensors, "tensor")}, ${wanted.type}, ${bytes} bytes`);
    written.push({ to, bytes });
  }
  return written;
}

/** What the model as it is goes on with, always with the same seed. */
async function samplesOf(files: ModelFiles, prompts: readonly string[], most: number, config: TrainConfig): Promise<string[]> {
  const { threads, seed } = config;
  await using model = await load(files, { ...(threads === undefined ? {} : { threads }), draft: false });
  const texts: string[] = [];
  for (const prompt of prompts)
    texts.push((await model.generate(prompt, { maxTokens: most, seed, signal: interrupt.signal })).text);
  return texts;
}

/** Seconds between two drawings of the report. */
const REDRAW = 10;

/** What a person sees of a run. */
class Shown {
  readonly #wing: Wing;
  readonly #file: string;
  readonly #config: TrainConfig;
  readonly #html: string | undefined;
  readonly #json: boolean;
  readonly #bar = process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
  readonly #log: LogEntry[] = [];
  #start: RunStart | undefined;
  #drawn = performance.now();
  #drawing: Promise<void> = Promise.resolve();
  last = 0;

  constructor(wing: Wing, file: string, config: TrainConfig, html: string | undefined, json: boolean) {
    this.#wing = wing;
    this.#file = file;
    this.#config = config;
    this.#html = html;
    this.#json = json;
  }

  start(start: RunStart): void {
    this.#start = start;
    this.#log.splice(0, this.#log.length, ...start.log);
    this.last = start.resumedAt;
    if (this.#json) return;
    const { parameters, trained, memoryBytes, threads, resumedAt, updates, documents, peakGflops } = start;
    const which = trained === parameters ? "" : `, ${trained} of them trained`;
    note(
      `stage ${start.stage + 1} of ${this.#config.stages.length}: ${parameters} parameters${which}; ${(memoryBytes / 2 ** 20).toFixed(0)} MiB, ${plural(threads, "thread")} (${short(peakGflops)} GFLOP/s at most); ${documents.trained} documents, ${documents.heldOut} held out`,
    );
    if (resumedAt > 0) note(`goes on after update ${resumedAt} of ${updates}`);
  }

  progress({ update, updates, loss, heldOut, tokensPerSecond, gflops, secondsLeft }: RunProgress): void {
    this.last = update;
    if (this.#json) return;
    const share = this.#start ? ` (${((100 * gflops) / this.#start.peakGflops).toFixed(0)} % of the peak)` : "";
    this.#bar?.show({
      what: `update ${update} of ${updates}`,
      done: update,
      total: updates,
      more: [
        `${duration(secondsLeft)} left`,
        `loss ${loss.toFixed(3)}`,
        ...(heldOut === undefined ? [] : [`held out ${heldOut.toFixed(3)}`]),
        `${short(tokensPerSecond)} tokens/s`,
        `${short(gflops)} GFLOP/s${share}`,
      ],
    });
  }

  entry(entry: LogEntry): void {
    this.#log.push(entry);
    if (!this.#json && entry.kind !== "update") {
      this.#bar?.close();
      if (entry.kind === "heldOut") {
        const update = this.#log.findLast((e) => e.kind === "update");
        note(
          `update ${entry.update}: loss ${update?.loss.toFixed(4)}, held out ${entry.loss.toFixed(4)}, ${short(update?.tokensPerSecond ?? 0)} tokens/s`,
        );
      } else for (const { prompt, text } of entry.samples) note(visibleLine(`update ${entry.update}: ${prompt}${text}`, 400));
    }
    if (performance.now() - this.#drawn < 1000 * REDRAW) return;
    this.#drawn = performance.now();
    this.#drawing = this.#drawing.then(() => this.#draw()).catch(() => {});
  }

  async #draw(): Promise<void> {
    if (this.#html !== undefined) await writeFileWhole(this.#html, this.page(), "--html");
  }

  /** The run as it is now. */
  page(log: readonly LogEntry[] = this.#log, reload: number = REDRAW): string {
    const { start } = this.#config;
    const [from, last] = [this.#start, log.findLast((entry) => entry.kind === "update")];
    const facts = {
      "begins with": start.kind === "model" ? start.path : "random weights",
      objectives: this.#config.stages
        .map(({ objective: o }) => ("ternaryGroup" in o && o.ternaryGroup !== undefined ? "ternary" : o.kind))
        .join(", "),
      parameters: String(from?.parameters ?? ""),
      updates: `${last?.update ?? 0} of ${from?.updates ?? 0}`,
      tokens: String(last?.tokens ?? 0),
      "a batch": `${this.#config.accumulate * this.#config.rows} rows of ${this.#config.length} tokens`,
      documents: `${from?.documents.trained} trained, ${from?.documents.heldOut} held out`,
      memory: `${((from?.memoryBytes ?? 0) / 2 ** 20).toFixed(0)} MiB`,
      time: duration(last?.seconds ?? 0),
    };
    return this.#wing.reportPage(log, { title: `cpm train ${basename(this.#file)}`, facts, ...(reload > 0 ? { reload } : {}) });
  }

  async finish(log: readonly LogEntry[]): Promise<void> {
    await this.#drawing;
    if (this.#html !== undefined) await writeFileWhole(this.#html, this.page(log, 0), "--html");
  }

  close(): void {
    this.#bar?.close();
  }
}
