// cpm rl: learning from rewards, chunk by chunk, as a configuration says.
import { basename, dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { load } from "cpm-wasm";
import type * as Train from "cpm-wasm/train";
import type { RolloutConfig, RolloutPrompt } from "cpm-wasm/train";
import { CpmError } from "../index.ts";
import { reasonOf } from "../shown.ts";
import { renderChat } from "../text/template.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { inputFiles, recordsOf } from "./cleaninput.ts";
import { interrupt } from "./interrupt.ts";
import { jsonArg } from "./options.ts";
import { note, plural, printJson } from "./output.ts";
import { painter, save } from "./picture.ts";
import { RolloutShown } from "./rlshown.ts";
import { besideConfig, type Opened, openStart, readJson } from "./traindata.ts";
import { startTrainServer, type TrainServer } from "./trainserver.ts";

type Wing = typeof Train;

/** Bytes of a record of prompts, at most. */
const MOST_BYTES = 4 << 20;

export const rl: Command = {
  name: "rl",
  description: "Learn from rewards by chunk-wise rollout, as a configuration says",
  args: {
    config: { type: "positional", required: true, description: "The configuration: a JSON file, see docs/rl.md" },
    out: { type: "string", valueHint: "DIR", description: "The run's folder (default: the configuration's \"out\")" },
    threads: {
      type: "string",
      valueHint: "N",
      description: "Compute threads (default: physical cores); the results are the same",
    },
    html: { type: "string", valueHint: "FILE", description: "Draw the run as a page, while it runs and at its end" },
    port: { type: "string", valueHint: "N", description: "Serve that page on 127.0.0.1 while it runs (0: any free port)" },
    svg: {
      type: "string",
      valueHint: "FILE",
      description: "Draw reward, length, staleness, clip share and idle share at the end",
    },
    spec: { type: "string", valueHint: "FILE", description: "Write the picture's Vega-Lite specification" },
    engine: {
      type: "string",
      valueHint: "FILE",
      description: "A module whose default export makes the rollout engine, a queue of workers say; see docs/rl.md",
    },
    ...jsonArg,
  },
  async run(args) {
    const [file] = args.positionals;
    if (file === undefined) throw new UsageError("cpm rl: give a configuration");
    const paint = args.text("svg") ? await painter() : undefined;
    const wing = await import("cpm-wasm/train");
    const read = wing.readRolloutConfig(await readJson(file), file);
    const config: RolloutConfig = {
      ...read,
      out: args.text("out") ?? resolve(dirname(file), read.out),
      threads: args.number("threads") ?? read.threads,
    };
    const unlock = await wing.lockRun(config.out, { signal: interrupt.signal });
    try {
      await runConfig(wing, file, config, args, paint);
    } finally {
      await unlock();
    }
  },
};

async function runConfig(
  wing: Wing,
  file: string,
  config: RolloutConfig,
  args: Parsed,
  paint: Awaited<ReturnType<typeof painter>> | undefined,
): Promise<void> {
  const json = args.flag("json");
  const { signal } = interrupt;
  const opened = await openStart(wing, file, config.start);
  const store = await wing.diskStore(config.out);
  const shown = new RolloutShown(wing, file, config, args.text("html"), json);
  const port = args.number("port");
  let server: TrainServer | undefined;
  try {
    if (port !== undefined) {
      server = await startTrainServer(() => shown.page(), port);
      if (!json) note(`live at ${server.url}`);
    }
    const prompts = await promptsOf(file, config.prompts, opened);
    const heldOut = await promptsOf(file, config.evaluate.files, opened);
    const settings = {
      slots: config.slots,
      contextSize: Math.max(
        wing.rowLength(config, prompts),
        wing.rowLength({ ...config, length: undefined }, [...prompts, ...heldOut]),
      ),
      stopTokens: stopTokens(file, config, opened),
    };
    const given = args.text("engine");
    const engine = given
      ? await engineOf(given, { ...settings, out: config.out, variant: config.variant })
      : wing.modelEngine(load, { ...settings, load: { threads: config.threads, variant: config.variant } });
    try {
      const { trainer, steps } = await wing.runRollout(
        {
          config,
          store,
          model: opened.model,
          parts: opened.parts,
          prompts,
          heldOut,
          engine,
          decode: (tokens) => opened.tokenizer.decode([...tokens]),
          machine: () =>
            wing.openTrainingMachine({ threads: config.threads, variant: config.variant, maxMemoryBytes: config.maxMemoryBytes }),
          dequantise: config.lora ? await wing.dequantiser() : undefined,
        },
        {
          signal,
          onStart: (start) => shown.start(start.log, start.policy, prompts.length, heldOut.length),
          onEntry: (entry) => shown.entry(entry),
        },
      );
      shown.close();
      const written = await exportAll(wing, trainer, opened, config, json).finally(() => trainer.close());
      await shown.finish();
      const { log } = shown;
      await save(wing.rolloutPicture(log, `cpm rl ${basename(file)}`), { svg: args.text("svg"), spec: args.text("spec"), paint });
      const held = log.findLast((entry) => entry.kind === "heldOut");
      if (json) return printJson({ updates: config.updates, steps, heldOut: held?.reward, written });
      note(
        `${plural(config.updates, "update")} in ${plural(steps, "step")}${held ? `, held out ${held.reward.toFixed(3)}` : ""}`,
      );
    } finally {
      await engine.close();
    }
  } catch (error) {
    // What came of it until then.
    // What did not begin leaves the page of an earlier run.
    if (shown.log.length > 0) await shown.finish().catch(() => {});
    throw error;
  } finally {
    shown.close();
    await server?.close();
    await opened.close();
  }
}

type EngineSettings = Omit<Train.ModelEngineOptions, "load"> & {
  readonly out: string;
  readonly variant: Train.RolloutConfig["variant"];
};

/** What a module's default export makes of a run's settings. @throws CpmError "io" */
async function engineOf(path: string, settings: EngineSettings) {
  const fail = (what: string, cause?: unknown): never => {
    throw new CpmError("io", `--engine ${path}: ${what}`, { file: path }, { cause });
  };
  const found = (await import(pathToFileURL(resolve(path)).href).catch((cause: unknown) => fail(reasonOf(cause), cause))) as {
    default?: unknown;
  };
  if (typeof found.default !== "function") return fail("expected a function as its default export: (settings) => RolloutEngine");
  const engine = (await (found.default as (of: typeof settings) => unknown)(settings)) as Train.RolloutEngine;
  const missing = (["load", "advance", "close"] as const).find((name) => typeof engine?.[name] !== "function");
  const lacks = missing ? `${missing}()` : typeof engine.policy === "number" ? undefined : "policy";
  if (lacks) {
    await (engine as Partial<Train.RolloutEngine> | undefined)?.close?.();
    return fail(`what it makes has no ${lacks}: expected a RolloutEngine`);
  }
  return engine;
}

/** Records with a prompt, or messages, as the model reads them. @throws CpmError "bad-input" with the file and the record */
async function promptsOf(config: string, paths: readonly string[], { model, tokenizer }: Opened): Promise<RolloutPrompt[]> {
  const out: RolloutPrompt[] = [];
  if (paths.length === 0) return out;
  for (const path of await inputFiles(paths.map((one) => besideConfig(config, one))))
    for await (const { line, record, error } of recordsOf(path, { field: "", mostBytes: MOST_BYTES })) {
      const fields = record?.fields;
      const fail = (what: string): never => {
        throw new CpmError("bad-input", `${path}, record ${line}: ${what}`, { file: path });
      };
      if (!fields) fail(error ?? "no JSON object");
      const { prompt, messages } = fields as { prompt?: unknown; messages?: unknown };
      const text = Array.isArray(messages) ? renderChat(model.tokenizer, messages as never).text : prompt;
      if (typeof text !== "string" || text === "") fail('expected a text in "prompt", or a conversation in "messages"');
      const tokens = tokenizer.encode(text as string, Array.isArray(messages) ? { bos: false, eos: false } : { eos: false });
      out.push({ tokens: [...tokens], sample: fields as RolloutPrompt["sample"] });
    }
  return out;
}

function stopTokens(file: string, config: RolloutConfig, { tokenizer }: Opened): number[] {
  return config.stop.map((text) => {
    const ids = tokenizer.encode(text, { bos: false, eos: false });
    if (ids.length !== 1)
      throw new CpmError(
        "bad-option",
        `${file}: stop: ${JSON.stringify(text)} is ${ids.length} tokens of this model; a text of one token is needed`,
        {
          field: "stop",
        },
      );
    return ids[0]!;
  });
}

async function exportAll(wing: Wing, trainer: Train.Trainer, { parts }: Opened, config: RolloutConfig, json: boolean) {
  const written: { to: string; bytes: number }[] = [];
  for (const wanted of config.exports.length > 0 ? config.exports : [{ to: "model.gguf", type: "F32", what: "model" } as const]) {
    const to = resolve(config.out, wanted.to);
    const { tensors, bytes } = await wing.exportTrained(trainer, parts, { ...wanted, to }, wing.diskOutputs, {
      name: basename(config.out),
      signal: interrupt.signal,
    });
    if (!json) note(`${to}: ${plural(tensors, "tensor")}, ${wanted.type}, ${bytes} bytes`);
    written.push({ to, bytes });
  }
  return written;
}
