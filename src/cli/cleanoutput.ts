// What cpm clean writes: records under temporary names, a state to go on from after a kill, a manifest once all is done.
import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { copyFile, type FileHandle, open, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { CleanReport } from "cpm-wasm/data";

/** What a run went through when its state was written. */
export interface State {
  readonly settings: string;
  /** Records and errors of the input that were dealt with. */
  readonly done: number;
  /** Bytes of each file then, and under which name it lies. */
  readonly sizes: Readonly<Record<string, number>>;
  readonly temporary: Readonly<Record<string, string>>;
  readonly report: CleanReport;
}

export interface Manifest {
  readonly settings: string;
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
  readonly report: Omit<CleanReport, "samples">;
}

const FLUSH = 1 << 20;

/** Appends to a file under a temporary name: texts, or bytes. */
export class Appender {
  readonly path: string;
  readonly #handle: FileHandle;
  #held: (string | Uint8Array)[] = [];
  #heldSize = 0;
  size: number;

  private constructor(path: string, handle: FileHandle, size: number) {
    this.path = path;
    this.#handle = handle;
    this.size = size;
  }

  static async open(path: string, size: number): Promise<Appender> {
    const handle = await open(path, "a");
    await truncate(path, size);
    return new Appender(path, handle, size);
  }

  async write(piece: string | Uint8Array): Promise<void> {
    this.#held.push(piece);
    this.#heldSize += piece.length;
    if (this.#heldSize > FLUSH) await this.flush();
  }

  async flush(): Promise<void> {
    const held = this.#held;
    const bytes = typeof held[0] === "string" ? Buffer.from(held.join("")) : Buffer.concat(held as Uint8Array[]);
    [this.#held, this.#heldSize] = [[], 0];
    if (bytes.length > 0) await this.#handle.appendFile(bytes);
    this.size += bytes.length;
  }

  async close(): Promise<void> {
    await this.flush();
    await this.#handle.sync();
    await this.#handle.close();
  }
}

/** The outputs of one shard in a folder. */
export class Outputs {
  readonly #folder: string;
  readonly #suffix: string;
  readonly #settings: string;
  readonly #appenders: Map<string, Appender>;

  private constructor(folder: string, suffix: string, settings: string, appenders: Map<string, Appender>) {
    this.#folder = folder;
    this.#suffix = suffix;
    this.#settings = settings;
    this.#appenders = appenders;
  }

  /** The manifest of a shard that was finished with these settings. */
  static async finished(folder: string, suffix: string, settings: string): Promise<Manifest | undefined> {
    const manifest = await readJson<Manifest>(join(folder, `manifest${suffix}.json`));
    return manifest?.settings === settings ? manifest : undefined;
  }

  /** Opens the outputs: those of a run that was cut off, if its settings were the same, or new ones. */
  static async open(
    folder: string,
    suffix: string,
    settings: string,
    names: readonly string[],
  ): Promise<{ outputs: Outputs; state: State | undefined }> {
    const found = await readJson<State>(join(folder, `.state${suffix}.json`));
    // Every run writes to files of its own, begun with a copy of what was written: a run believed dead may still be writing. Whoever
    // finishes first or last gives the same bytes.
    const own = randomUUID().slice(0, 8);
    const pathOf = (name: string) => join(folder, `.${name}${suffix}.${own}.tmp`);
    let state = found?.settings === settings ? found : undefined;
    try {
      if (state) for (const name of names) await copyFile(state.temporary[name]!, pathOf(name));
    } catch {
      // They have got their names meanwhile, or are gone: from the beginning.
      state = undefined;
    }
    const appenders = new Map<string, Appender>();
    for (const name of names) appenders.set(name, await Appender.open(pathOf(name), state?.sizes[name] ?? 0));
    const outputs = new Outputs(folder, suffix, settings, appenders);
    if (state) {
      await outputs.save(state.done, state.report);
      for (const name of names) await rm(state.temporary[name]!, { force: true });
    }
    return { outputs, state };
  }

  async write(name: string, line: string): Promise<void> {
    await this.#appenders.get(name)?.write(`${line}\n`);
  }

  /** Bytes for a file that has no lines. */
  async writeBytes(name: string, bytes: Uint8Array): Promise<void> {
    await this.#appenders.get(name)?.write(bytes);
  }

  /** Writes down how far the run came. */
  async save(done: number, report: CleanReport): Promise<void> {
    const sizes: Record<string, number> = {};
    const temporary: Record<string, string> = {};
    for (const [name, appender] of this.#appenders) {
      await appender.flush();
      sizes[name] = appender.size;
      temporary[name] = appender.path;
    }
    const state: State = { settings: this.#settings, done, sizes, temporary, report };
    await replace(join(this.#folder, `.state${this.#suffix}.json`), JSON.stringify(state));
  }

  /**
   * Gives the files their names, and writes the manifest last: a shard is done when it has one. `tables`: those whose rows become
   * a Parquet file.
   */
  async finish(
    report: CleanReport,
    tables: Readonly<Record<string, (from: string, to: string) => Promise<void>>> = {},
  ): Promise<Manifest> {
    const files: Record<string, { bytes: number; sha256: string }> = {};
    for (const [name, appender] of this.#appenders) {
      await appender.close();
      const table = tables[name];
      const made = table ? `${appender.path}.parquet` : appender.path;
      if (table) await table(appender.path, made);
      const path = `${name}${this.#suffix}.${table ? "parquet" : "jsonl"}`;
      files[path] = { bytes: (await stat(made)).size, sha256: await sha256(made) };
      await rename(made, join(this.#folder, path));
      if (table) await rm(appender.path, { force: true });
    }
    const { samples: _, ...numbers } = report;
    const manifest: Manifest = { settings: this.#settings, files, report: numbers };
    await replace(join(this.#folder, `manifest${this.#suffix}.json`), `${JSON.stringify(manifest, null, 2)}\n`);
    await rm(join(this.#folder, `.state${this.#suffix}.json`), { force: true });
    return manifest;
  }
}

/** The first line of a file. */
export async function firstLine(path: string): Promise<string> {
  const input = createReadStream(path);
  try {
    for await (const line of createInterface({ input })) return line;
    return "";
  } finally {
    input.destroy();
  }
}

export async function replace(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, text);
  await rename(temporary, path);
}

export async function readJson<T>(path: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as T;
  } catch {
    return undefined;
  }
}

export async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  return hash.digest("hex");
}
