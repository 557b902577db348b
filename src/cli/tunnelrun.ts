// cpm tunnel run: the trainings of a grid, one after another or by shards; what was made is not made again.
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import type * as Train from "cpm-wasm/train";
import type { RunProgress } from "cpm-wasm/train";
import type * as Tunnel from "cpm-wasm/tunnel";
import type { SweepConfig, SweepPoint, SweepResult } from "cpm-wasm/tunnel";
import { CpmError } from "../index.ts";
import type { Parsed } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { loadOptions } from "./options.ts";
import { note, plural, printJson, short, table, write } from "./output.ts";
import { duration } from "./perplexity.ts";
import { type painter, save } from "./picture.ts";
import { ProgressBar } from "./progress.ts";
import { shardOf } from "./shards.ts";
import { openStart, openTexts, readJson } from "./traindata.ts";
import { readRows } from "./tunneldata.ts";

type Wing = typeof Tunnel;

const COLUMNS = ["width", "depth", "rate", "rows", "parameters", "tokens", "loss", "batchTokens", "updates"];

/** Runs what is missing of a grid, then tells what there is. */
export async function sweep(
  wing: Wing,
  args: Parsed,
  file: string,
  paint: Awaited<ReturnType<typeof painter>> | undefined,
): Promise<void> {
  const train = await import("cpm-wasm/train");
  const config = wing.readSweep(await readJson(file), file);
  const out = args.text("out") ?? resolve(dirname(file), config.out);
  const shard = shardOf(args);
  const json = args.flag("json");
  const store = await train.diskStore(out);
  const mine = config.points.filter((_, i) => i % shard.count === shard.index);
  const threads = loadOptions(args).threads;
  const bar = process.stderr.isTTY && !json ? new ProgressBar(process.stderr) : undefined;
  let made = 0;
  for (const [i, point] of mine.entries()) {
    if ((await store.names()).includes(`point-${point.key}.json`)) continue;
    const what = `${i + 1} of ${mine.length}: ${point.key}`;
    if (!json) {
      const { updates, batchTokens } = wing.trainingOf(config, point);
      note(
        `${what}: ${wing.parametersOfPoint(config, point)} parameters, ${plural(updates, "update")} of ${plural(batchTokens, "token")}`,
      );
    }
    const onProgress = ({ update, updates, loss, tokensPerSecond, secondsLeft }: RunProgress) =>
      bar?.show({
        what: `${what}: update ${update} of ${updates}`,
        done: update,
        total: updates,
        more: [`${duration(secondsLeft)} left`, `loss ${loss.toFixed(3)}`, `${short(tokensPerSecond)} tokens/s`],
      });
    // A worker that was killed may have left a process that still works at it.
    const unlock = await train.lockRun(join(out, point.key), { signal: interrupt.signal });
    const lanes = typeof threads === "number" ? threads : undefined;
    const result = await runPoint(wing, train, file, config, point, { out, threads: lanes, onProgress }).finally(async () => {
      bar?.close();
      await unlock();
    });
    const bytes = new TextEncoder().encode(`${JSON.stringify(result)}\n`);
    const output = await store.create(`point-${point.key}.json`, bytes.length);
    await output.write(0, bytes);
    await output.sync();
    await output.commit();
    made++;
    if (!json) note(`${what}: loss ${result.loss.toFixed(4)}`);
  }
  const rows = (await readRows(out, COLUMNS, ["seed"])) as unknown as SweepResult[];
  const transfer = wing.transferOf(rows);
  await save(wing.transferPicture(transfer, `${plural(rows.length, "run")}`), {
    svg: args.text("svg"),
    spec: args.text("spec"),
    paint,
  });
  if (json) return printJson({ made, runs: rows.length, of: config.points.length, transfer });
  const head = ["width", "depth", "best rate", "loss", "steps from the narrowest"];
  const lines = transfer.map(({ width, depth, best, losses, steps }) => [
    String(width),
    String(depth),
    String(best),
    Math.min(...losses.map(({ loss }) => loss)).toFixed(4),
    String(steps),
  ]);
  await write(`${table([head, ...lines])}\n${rows.length} of ${plural(config.points.length, "run")} in ${out}\n`);
}

interface PointOptions {
  readonly out: string;
  readonly threads: number | undefined;
  onProgress(progress: RunProgress): void;
}

async function runPoint(
  wing: Wing,
  train: typeof Train,
  file: string,
  sweepConfig: SweepConfig,
  point: SweepPoint,
  { out, threads, onProgress }: PointOptions,
): Promise<SweepResult> {
  const { train: given, updates, batchTokens } = wing.trainingOf(sweepConfig, point);
  const config = { ...train.readConfig(given, `${file}: train`), out: join(out, point.key), threads };
  const store = await train.diskStore(config.out);
  const opened = await openStart(train, file, config.start);
  let texts: Awaited<ReturnType<typeof openTexts>> | undefined;
  try {
    // Tokens are made once for all runs.
    texts = await openTexts(train, file, config, opened, await train.diskStore(join(out, "data")), () => {});
    const { length, seed, packing, heldOut } = config;
    const feed = new train.Feed(texts.sources, { length, seed, packing, heldOut });
    const { trainer, log } = await train.runTraining(
      {
        config,
        store,
        machine: () => train.openTrainingMachine({ threads, variant: config.variant, maxMemoryBytes: config.maxMemoryBytes }),
        model: opened.model,
        parts: opened.parts,
        feed,
        dataKey: texts.key,
      },
      { signal: interrupt.signal, onProgress },
    );
    await trainer.close();
    const last = log.findLast((entry) => entry.kind === "heldOut");
    if (!last)
      throw new CpmError(
        "bad-input",
        `${point.key}: no text is held out, so there is no loss to compare; set train.heldOut above 0`,
        {
          field: "train.heldOut",
        },
      );
    const parameters = wing.parametersOfPoint(sweepConfig, point);
    return { ...point, parameters, tokens: updates * batchTokens, loss: last.loss, batchTokens, updates };
  } finally {
    await texts?.close();
    await opened.close();
  }
}
