// What a run of cpm train begins with: its model, its tokenizer, its texts as shards.
import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import process from "node:process";
import { setImmediate } from "node:timers/promises";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { load, loadTokenizer, type Tokenizer } from "cpm-wasm";
import type * as Train from "cpm-wasm/train";
import type { DataRecord, FeedSource, FolderParts, ModelFile, RunStore, StartConfig, TrainConfig } from "cpm-wasm/train";
import { CpmError } from "../index.ts";
import { inputFiles, recordsOf } from "./cleaninput.ts";
import { interrupt } from "./interrupt.ts";
import { modelOf } from "./model.ts";
import { plural, short } from "./output.ts";
import { ProgressBar } from "./progress.ts";

type Wing = typeof Train;

/** Bytes of one record, at most. */
const MOST_BYTES = 64 << 20;

/** Reads JSON for an option. @throws CpmError "io", "bad-option" */
export async function readJson(path: string): Promise<unknown> {
  const text = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    const what = cause.code === "ENOENT" ? "no such file" : cause.message;
    throw new CpmError("io", `${path}: ${what}; check the path`, { file: path }, { cause });
  });
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CpmError("bad-option", `${path}: no JSON: ${(cause as Error).message}`, { file: path }, { cause });
  }
}

/** A path of a configuration: relative to its file, where there is such a thing, else as it is. */
export const besideConfig = (config: string, path: string): string => {
  const near = resolve(dirname(config), path);
  return existsSync(near) ? near : path;
};

export interface Opened {
  readonly model: ModelFile;
  readonly parts: FolderParts;
  readonly tokenizer: Tokenizer;
  close(): Promise<void>;
}

/** What is wrong with a new model's configuration, with the file that has it. */
function inFile(error: unknown, file: string, { config }: StartConfig & { kind: "scratch" }): unknown {
  if (!(error instanceof CpmError) || error.code !== "bad-option") return error;
  const own = typeof config === "string" ? besideConfig(file, config) : undefined;
  const message = own ? `${own}: ${error.message.replace(/^model\.config(\.|: )/, "")}` : `${file}: ${error.message}`;
  return new CpmError("bad-option", message, { ...error.detail, file: own ?? file }, { cause: error });
}

/** The model that a run begins with. */
export async function openStart(wing: Wing, file: string, start: StartConfig): Promise<Opened> {
  const { signal } = interrupt;
  const pathOf = async (path: string) => String(await modelOf(besideConfig(file, path)));
  if (start.kind === "model") {
    const path = await pathOf(start.path);
    const files = await wing.pathFiles(path);
    const model = await wing.readModel(files, signal);
    const parts = await wing.folderParts(files, model, signal);
    return { model, parts, tokenizer: await loadTokenizer(path, { signal }), close: () => files.close() };
  }
  const path = await pathOf(start.tokenizer);
  const files = await wing.pathFiles(path);
  try {
    const found = await wing.tokenizerParts(files, signal);
    const tokenizer = await loadTokenizer(path, { signal });
    const config =
      typeof start.config === "string"
        ? ((await readJson(besideConfig(file, start.config))) as Record<string, unknown>)
        : start.config;
    const made = await wing.scratchModel(config, found, tokenizer.size, signal).catch((error) => {
      throw inFile(error, file, start);
    });
    return { ...made, tokenizer, close: async () => {} };
  } finally {
    await files.close();
  }
}

/** 32 bytes that tell the files of a tokenizer. */
function tokenizerHash({ files }: FolderParts): Uint8Array {
  const hash = sha256.create();
  for (const name of Object.keys(files).sort()) if (/token|chat_template/.test(name)) hash.update(files[name]!);
  return hash.digest();
}

/** Records of files, one after another. */
async function* records(files: readonly string[], field: string | undefined): AsyncGenerator<DataRecord> {
  for (const file of files)
    for await (const { line, record, error } of recordsOf(file, { field: field ?? "", mostBytes: MOST_BYTES }))
      yield { fields: record?.fields, error, place: `${file}, record ${line}` };
}

export interface Texts {
  readonly sources: readonly FeedSource[];
  /** Tells all of their tokens. */
  readonly key: string;
  /** Closes the shards. */
  close(): Promise<void>;
}

/** The texts of a configuration as shards in the run's folder: those that are there, or new ones. */
export async function openTexts(
  wing: Wing,
  file: string,
  config: TrainConfig,
  { model, parts, tokenizer }: Opened,
  store: RunStore,
  tell: (text: string) => void,
): Promise<Texts> {
  const hash = tokenizerHash(parts);
  const sources: FeedSource[] = [];
  const all = sha256.create();
  const close = async () => {
    for (const { shards } of sources.splice(0)) for (const { source } of shards) await source.close();
  };
  for (const [i, data] of config.data.entries()) {
    const files = await inputFiles(data.files.map((path) => besideConfig(file, path)));
    const facts = await Promise.all(files.map(async (path) => [path, ...(await stat(path).then((s) => [s.size, s.mtimeMs]))]));
    const { files: _, weight, ...options } = data;
    const key = bytesToHex(sha256(new TextEncoder().encode(JSON.stringify([facts, options, bytesToHex(hash)]))));
    const bar = process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
    const name = `data-${i}`;
    try {
      const prepared = await wing.prepare(() => records(files, data.field), options, {
        store,
        name,
        key,
        tokenizer,
        tokenizerHash: hash,
        vocab: model.config.vocab,
        signal: interrupt.signal,
        onProgress: ({ records: count, tokens }) =>
          bar?.show({ what: `tokenising ${files[0]}: ${count} records, ${tokens} tokens`, done: 0 }),
        breathe: async () => void (await setImmediate()),
      });
      bar?.close();
      const { tokens, trained, documents, skipped, found } = prepared;
      const share = trained < tokens ? `, ${short((100 * trained) / tokens)} % of them trained` : "";
      const without = skipped > 0 ? `; ${plural(skipped, "record")} without anything to train on` : "";
      tell(
        `data[${i}]: ${plural(tokens, "token")} in ${plural(documents, "document")}${share}${found ? ", tokenised before" : ""}${without}`,
      );
      sources.push({ name: `data[${i}]`, shards: prepared.shards, weight });
      all.update(new TextEncoder().encode(JSON.stringify([weight ?? null])));
      for (const { ends, hashes } of prepared.shards)
        for (const list of [ends, hashes]) all.update(new Uint8Array(list.buffer, list.byteOffset, list.byteLength));
    } catch (error) {
      await close();
      throw error;
    } finally {
      bar?.close();
    }
  }
  return { sources, key: bytesToHex(all.digest()), close };
}

/** A model as it is loaded here, whose states a head learns. */
export interface Resident {
  readonly features: Train.Features;
  close(): Promise<void>;
}

/** The resident target of a head; undefined where there is none. */
export async function openTarget(
  wing: Wing,
  file: string,
  { stages, start, length, threads }: TrainConfig,
  store: RunStore,
): Promise<Resident | undefined> {
  const [{ objective }] = stages as [TrainConfig["stages"][number]];
  if (objective.kind !== "eagle" || objective.target !== "resident" || start.kind !== "model") return undefined;
  const { signal } = interrupt;
  const path = String(await modelOf(besideConfig(file, start.path)));
  const model = await load(path, { contextSize: Math.max(64, length), draft: false, signal, ...(threads ? { threads } : {}) });
  try {
    const features = await wing.Features.open(store, await wing.targetOf(model, { layout: objective.layout }), signal);
    return {
      features,
      async close() {
        await features.close();
        await model.dispose();
      },
    };
  } catch (error) {
    await model.dispose();
    throw error;
  }
}

/** FR-Spec's vocabularies by the paths that name them. @throws CpmError "bad-option" for files that are no lists of token ids */
export async function vocabulariesOf(file: string, config: TrainConfig, vocab: number): Promise<Map<string, Int32Array>> {
  const found = new Map<string, Int32Array>();
  for (const { objective } of config.stages) {
    if (objective.kind !== "eagle" || objective.vocabulary === undefined) continue;
    const path = besideConfig(file, objective.vocabulary);
    const ids = await readJson(path);
    const good = Array.isArray(ids) && ids.length > 0 && ids.every((id) => Number.isInteger(id) && id >= 0 && id < vocab);
    if (!good || new Set(ids).size !== ids.length)
      throw new CpmError("bad-option", `${path}: expected a list of different token ids below ${vocab}, as cpm freq writes`, {
        file: path,
      });
    found.set(objective.vocabulary, Int32Array.from(ids as number[]));
  }
  return found;
}

/** Models that stages name as teachers, by the paths that name them. The caller closes them. */
export async function teachersOf(
  wing: Wing,
  file: string,
  config: TrainConfig,
): Promise<Map<string, Pick<Opened, "model" | "close">>> {
  const found = new Map<string, Pick<Opened, "model" | "close">>();
  for (const { objective } of config.stages) {
    if (objective.kind !== "lm" || !objective.teacher || found.has(objective.teacher.path)) continue;
    const { path } = objective.teacher;
    const files = await wing.pathFiles(String(await modelOf(besideConfig(file, path))));
    found.set(path, { model: await wing.readModel(files, interrupt.signal), close: () => files.close() });
  }
  return found;
}
