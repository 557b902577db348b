// cpm pull, list, rm, path and verify NAME: models by name, in the cache that Python and llama.cpp use.
import process from "node:process";
import { find, list, type ModelHubOptions, type Pulled, type PullProgress, pull, remove, verify } from "cpm-wasm/hub";
import { CpmError } from "../index.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { jsonArg, networkArgs } from "./options.ts";
import { dim, note, plural, printJson, table, write } from "./output.ts";
import { megabytes, ProgressBar } from "./progress.ts";
import { visible, visibleLine } from "./visible.ts";

const nameArg = {
  name: { type: "positional", required: false, description: "org/repo, org/repo:Q4_0, org/repo/file.gguf, with @revision" },
} as const;

function nameOf(args: Parsed, command: string): string {
  const name = args.positionals[0];
  if (name === undefined) throw new UsageError(`cpm ${command}: the name of a model is missing, as org/repo:Q4_0`);
  return name;
}

/** What --endpoint and --offline say, for this command's pulls. */
let chosen: Pick<ModelHubOptions, "endpoint" | "offline"> = {};

/** Takes the options of a command that may pull; those that it does not have are absent. */
export function chooseNetwork(args: Parsed): void {
  chosen = { endpoint: args.text("endpoint"), offline: args.flag("offline") ? true : undefined };
}

/** "3 min 20 s". */
function duration(seconds: number): string {
  const s = Math.ceil(seconds);
  if (s < 60) return `${s} s`;
  return s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** Shows a pull: bytes, rate and time left. The rate is that of what this pull fetched since it began. */
export class PullBar {
  readonly #bar = process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
  #begun: number | undefined;

  readonly show = ({ file, bytes, totalBytes, fetched, waiting }: PullProgress): void => {
    if (!this.#bar) return;
    this.#begun ??= performance.now();
    const seconds = (performance.now() - this.#begun) / 1000;
    const rate = seconds > 0.5 && fetched > 0 ? fetched / seconds : undefined;
    const left = rate === undefined ? [] : [`${(rate / 1e6).toFixed(1)} MB/s`, `${duration((totalBytes - bytes) / rate)} left`];
    const more = [megabytes(bytes, totalBytes), ...left, file];
    this.#bar.show({ what: waiting ? "waiting for another pull" : "pulling", done: bytes, total: totalBytes, more });
  };

  close(): void {
    this.#bar?.close();
  }
}

/** Pulls with a bar, unless `quiet`; tells which file was taken where the name left it open. */
export async function pullShown(name: string, quiet: boolean): Promise<Pulled> {
  const bar = new PullBar();
  try {
    const options = { ...chosen, signal: interrupt.signal };
    const pulled = await pull(name, { ...options, ...(quiet ? {} : { onProgress: bar.show }) });
    bar.close();
    if (!quiet && pulled.why) note(dim(visible(`${pulled.repo}: took ${pulled.why}`)));
    return pulled;
  } finally {
    bar.close();
  }
}

const pullCommand: Command = {
  name: "pull",
  description: "Fetch a model by its name, or what is missing of it",
  args: { ...nameArg, ...networkArgs, ...jsonArg },
  async run(args) {
    const json = args.flag("json");
    const pulled = await pullShown(nameOf(args, "pull"), json);
    if (json) return printJson(pulled);
    note(dim(`${plural(pulled.files.length, "file")}, ${(pulled.bytes / 1e6).toFixed(1)} MB`));
    await write(`${pulled.path}\n`);
  },
};

const pathCommand: Command = {
  name: "path",
  description: "Tell where a pulled model lies",
  args: { ...nameArg, ...jsonArg },
  async run(args) {
    const name = nameOf(args, "path");
    const found = await find(name);
    if (!found) throw new CpmError("io", `${name} was not pulled, or not all of it; cpm pull fetches it`, { file: name });
    return args.flag("json") ? printJson(found) : write(`${found.path}\n`);
  },
};

const listCommand: Command = {
  name: "list",
  description: "List the models in the cache, whichever tool put them there",
  args: { ...jsonArg },
  async run(args) {
    const repos = await list();
    if (args.flag("json")) return printJson({ models: repos });
    const mb = (bytes: number) => (bytes / 1e6).toFixed(1);
    const rows = repos.flatMap(({ repo, bytes, unfinishedBytes, snapshots }) => [
      [repo, mb(bytes), unfinishedBytes ? `${mb(unfinishedBytes)} MB of it unfinished` : ""],
      ...snapshots.flatMap(({ commit, refs, files }) =>
        files.map((file) => [`  ${file.path}`, mb(file.bytes), refs.length ? refs.join(", ") : commit.slice(0, 8)]),
      ),
    ]);
    if (rows.length === 0) return note("nothing is in the cache; cpm pull fetches a model");
    await write(`${table([["model", "MB", "revision"], ...rows])}\n`);
  },
};

const rmCommand: Command = {
  name: "rm",
  description: "Remove a model from the cache; blobs that another revision needs stay",
  args: { ...nameArg, ...jsonArg },
  async run(args) {
    const freedBytes = await remove(nameOf(args, "rm"));
    return args.flag("json") ? printJson({ freedBytes }) : note(`${(freedBytes / 1e6).toFixed(1)} MB freed`);
  },
};

/** `cpm verify NAME`: what was pulled, against its hashes. */
export async function verifyPulled(args: Parsed): Promise<void> {
  const files = await verify(nameOf(args, "verify"), { signal: interrupt.signal });
  const bad = files.filter(({ ok }) => ok === false);
  if (bad.length) process.exitCode = 1;
  if (args.flag("json")) return printJson({ files: files.map(({ ok, ...file }) => ({ ...file, ok: ok ?? null })) });
  const words = (ok: boolean | undefined) => (ok === undefined ? "has no hash (a copy)" : ok ? "right" : "DAMAGED");
  for (const { path, ok } of files) await write(`${visibleLine(path)}: ${words(ok)}\n`);
  if (bad.length) note("cpm rm, then cpm pull, fetches it again");
}

export const hubCommands: readonly Command[] = [pullCommand, listCommand, rmCommand, pathCommand];
