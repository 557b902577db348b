// cpm dedup: duplicates over all shards of cleaned folders.
import { createHash } from "node:crypto";
import { readdir, rename, rm } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { type DedupKind, linesOf } from "cpm-wasm/data";
import { CpmError } from "../index.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { Appender, type Manifest, readJson, replace, sha256 } from "./cleanoutput.ts";
import { type Duplicates, duckdb, joinInDuckdb, joinInMemory, type Repetition, type SignedShard } from "./duplicates.ts";
import { interrupt } from "./interrupt.ts";
import { jsonArg } from "./options.ts";
import { makeFolder, note, printJson } from "./output.ts";
import { bytesOf } from "./score.ts";

/** Places of a folder's records, at most. */
const FOLDER = 2 ** 40;
/** Bytes of a kept line, at most: more than any run of cpm clean reads. */
const MOST_LINE = 2 ** 30;

export const dedup: Command = {
  name: "dedup",
  description: "Find duplicates over all shards that cpm clean --signatures wrote",
  args: {
    folder: { type: "positional", required: true, description: "Folders that cpm clean --signatures wrote, all their shards" },
    output: { type: "string", alias: "o", valueHint: "FOLDER", description: "Where records without duplicates go" },
    kinds: { type: "string", valueHint: "KINDS", description: "exact, near, or exact,near (default)" },
    engine: {
      type: "string",
      valueHint: "E",
      description: "duckdb (npm install @duckdb/node-api), memory, or auto (default): DuckDB where it is installed",
    },
    memory: { type: "string", valueHint: "SIZE", description: "What DuckDB may use, as 4GB; more goes to disk (default 80 %)" },
    ...jsonArg,
  },
  more: "inputs",
  async run(args) {
    const folders = [...args.positionals, ...args.list("inputs")];
    const output = args.text("output");
    if (folders.length === 0) throw new UsageError("cpm dedup: give folders that cpm clean --signatures wrote");
    if (output === undefined) throw new UsageError("cpm dedup: --output (-o) is missing");
    if (folders.some((folder) => resolve(folder) === resolve(output)))
      throw new UsageError("cpm dedup: --output is one of the folders that are read; give another");
    const report = await dedupFolders(args, folders, output);
    if (args.flag("json")) return printJson(report);
    note(`${report.records} records: ${report.kept} kept, ${report.exact} exact and ${report.near} near duplicates`);
  },
};

interface KeptShard extends SignedShard {
  readonly folder: string;
  /** The kept records, and what they are called in the output. */
  readonly file: string;
  readonly name: string;
  readonly manifest: Manifest;
}

interface DedupReport {
  engine: string;
  records: number;
  kept: number;
  exact: number;
  near: number;
}

function choice<T extends string>(name: string, given: string, known: readonly T[]): T {
  if (!known.includes(given as T)) throw new UsageError(`--${name}: expected ${known.join(" or ")}, found "${given}"`);
  return given as T;
}

async function dedupFolders(args: Parsed, folders: readonly string[], output: string): Promise<DedupReport> {
  const kinds = (args.text("kinds") ?? "exact,near")
    .split(",")
    .map((kind) => choice<DedupKind>("kinds", kind, ["exact", "near"]));
  const engine = choice("engine", args.text("engine") ?? "auto", ["auto", "duckdb", "memory"]);
  const shards = await shardsOf(folders);
  const settings = createHash("sha256")
    .update(JSON.stringify([kinds, folders.length, shards.map(({ manifest }) => manifest.files)]))
    .digest("hex");
  const known = await readJson<{ settings: string; report: DedupReport }>(join(output, "manifest.json"));
  if (known?.settings === settings) return known.report;
  await makeFolder(output, "--output");
  const scratch = join(output, ".duckdb");
  const duplicates = await joined(engine, shards, kinds, scratch, args.text("memory"));
  const report: DedupReport = { engine: duplicates.engine, records: 0, kept: 0, exact: 0, near: 0 };
  const files: Record<string, { bytes: number; sha256: string }> = {};
  try {
    for (const shard of shards) Object.assign(files, await withoutDuplicates(shard, folders, output, duplicates, report));
  } finally {
    duplicates.close();
    await rm(scratch, { recursive: true, force: true });
  }
  await replace(join(output, "report.json"), `${JSON.stringify(report, null, 2)}\n`);
  await replace(join(output, "manifest.json"), `${JSON.stringify({ settings, files, report }, null, 2)}\n`);
  return report;
}

async function joined(
  engine: "auto" | "duckdb" | "memory",
  shards: readonly SignedShard[],
  kinds: readonly DedupKind[],
  scratch: string,
  memory: string | undefined,
): Promise<Duplicates & { engine: string }> {
  const found = engine === "memory" ? undefined : await duckdb();
  if (engine === "duckdb" && !found)
    throw new CpmError("unsupported", "@duckdb/node-api is needed for --engine duckdb: npm install @duckdb/node-api", {
      field: "@duckdb/node-api",
    });
  const onColumn = (done: number, total: number) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${done} of ${total} joins${done === total ? "\n" : ""}`);
  };
  const answers = found
    ? await joinInDuckdb(found, shards, { kinds, onColumn, scratch, memory })
    : await joinInMemory(shards, { kinds, onColumn });
  return { of: (shard) => answers.of(shard), close: () => answers.close(), engine: found ? "duckdb" : "memory" };
}

/** The shards of all folders, in order. @throws CpmError "bad-input" for a folder whose shards are not all there, or have no signatures. */
async function shardsOf(folders: readonly string[]): Promise<KeptShard[]> {
  const shards: KeptShard[] = [];
  for (const [f, folder] of folders.entries()) {
    const names = await readdir(folder).catch((cause: Error) => {
      throw new CpmError("io", `${folder}: ${cause.message}; check the path`, { file: folder }, { cause });
    });
    const manifests = names.filter((name) => /^manifest(-\d+-of-\d+)?\.json$/.test(name)).sort();
    const counts = new Set(manifests.map((name) => Number(/-of-(\d+)/.exec(name)?.[1] ?? 1)));
    const [count = 0] = counts;
    const fail = (why: string) => new CpmError("bad-input", `${folder}: ${why}`, { file: folder });
    if (count === 0) throw fail("no shard is finished there; run cpm clean --signatures -o of it first");
    if (counts.size > 1)
      throw fail(`shards of different runs: ${[...counts].join(" and ")} in all; keep them in folders of their own`);
    if (manifests.length < count) {
      const there = new Set(manifests.map((name) => Number(/-(\d+)-of/.exec(name)?.[1] ?? 0)));
      const missing = Array.from({ length: count }, (_, i) => i).filter((i) => !there.has(i));
      throw fail(`shards ${missing.slice(0, 10).join(", ")}${missing.length > 10 ? " …" : ""} of ${count} are missing; run them`);
    }
    for (const name of manifests) {
      const manifest = await readJson<Manifest>(join(folder, name));
      const of = (kind: string) => Object.keys(manifest?.files ?? {}).find((file) => file.startsWith(kind));
      const [kept, signatures] = [of("kept"), of("signatures")];
      if (!manifest || !kept) throw fail(`${name} is no manifest of cpm clean`);
      if (!signatures) throw fail(`${name} tells of no signatures; run cpm clean with --signatures`);
      shards.push({
        index: shards.length,
        folder,
        file: join(folder, kept),
        name: folders.length > 1 ? `${kept.slice(0, -".jsonl".length)}-from-${f}` : kept.slice(0, -".jsonl".length),
        signatures: join(folder, signatures),
        base: f * FOLDER,
        manifest,
      });
    }
  }
  return shards;
}

/** Writes a shard's records but for repetitions, and those by themselves. */
async function withoutDuplicates(
  shard: KeptShard,
  folders: readonly string[],
  output: string,
  duplicates: Duplicates,
  report: DedupReport,
): Promise<Record<string, { bytes: number; sha256: string }>> {
  const names = [shard.name, shard.name.replace(/^kept/, "duplicates")];
  const paths = names.map((name) => join(output, `.${name}.${process.pid}.tmp`));
  const [kept, dropped] = await Promise.all(paths.map((path) => Appender.open(path, 0)));
  const repetitions = duplicates.of(shard)[Symbol.asyncIterator]();
  let next = await repetitions.next();
  let line = 0;
  for await (const { bytes } of linesOf(bytesOf(shard.file), MOST_LINE, true)) {
    if (line % 1024 === 0) interrupt.signal.throwIfAborted();
    if (bytes === undefined) throw damaged(shard, `line ${line + 1} is longer than ${MOST_LINE} bytes`);
    if (!next.done && next.value.line === line) {
      const repetition = next.value;
      report[repetition.kind]++;
      await dropped!.write(`${JSON.stringify(told(repetition, shard, folders))}\n`);
      next = await repetitions.next();
    } else {
      report.kept++;
      await kept!.write(bytes);
      await kept!.write(newline);
    }
    line++;
  }
  const expected = shard.manifest.report.kept;
  if (line !== expected || !next.done) throw damaged(shard, `${line} lines and not ${expected}`);
  report.records += line;
  const files: Record<string, { bytes: number; sha256: string }> = {};
  for (const [i, appender] of [kept!, dropped!].entries()) {
    await appender.close();
    files[`${names[i]}.jsonl`] = { bytes: appender.size, sha256: await sha256(appender.path) };
    await rename(appender.path, join(output, `${names[i]}.jsonl`));
  }
  return files;
}

const newline = new Uint8Array([10]);

const damaged = ({ file }: KeptShard, why: string) =>
  new CpmError("bad-input", `${file}: ${why}, as its manifest tells: it was changed since; run cpm clean again`, { file });

/** Where a repetition stands (line from 1), and which record of the input it repeats (from 0, over all shards of its folder). */
function told({ line, record, of, kind, similarity }: Repetition, shard: KeptShard, folders: readonly string[]) {
  const several = folders.length > 1;
  return {
    ...(several ? { folder: shard.folder } : {}),
    file: basename(shard.file),
    line: line + 1,
    record: record - shard.base,
    kind,
    ...(similarity === undefined ? {} : { similarity: Number(similarity.toPrecision(4)) }),
    of: of % FOLDER,
    ...(several ? { ofFolder: folders[Math.floor(of / FOLDER)] } : {}),
  };
}
