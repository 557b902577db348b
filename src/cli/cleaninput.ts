// What cpm clean reads: JSON lines (plain, gzip, zstd), Parquet, folders of texts, standard input.
import { createReadStream } from "node:fs";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import process from "node:process";
import { Readable, type Transform } from "node:stream";
import * as zlib from "node:zlib";
import { linesOf, parseRecord, type TextRecord, textOf } from "cpm-wasm/data";
import { CpmError } from "../index.ts";
import { interrupt } from "./interrupt.ts";

/** A record, or what is wrong with it, and where it stands. */
export interface Placed {
  readonly file: string;
  /** Line of a text, row of a table; from 1. */
  readonly line: number;
  readonly record?: TextRecord;
  readonly error?: string;
}

export interface InputOptions {
  readonly field: string | undefined;
  /** Bytes of a record, at most. */
  readonly mostBytes: number;
  /** Told of bytes read from files. */
  readonly read?: (bytes: number) => void;
  /** Asked once for each record, in order: one that is not wanted is passed over unread. Default: all are wanted. */
  readonly wanted?: () => boolean;
}

/** Files of the paths given: folders become the files below them, in order. */
export async function inputFiles(paths: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const path of paths) {
    if (path === "-") files.push(path);
    else if ((await stat(path).catch((cause: Error) => Promise.reject(failure(path, cause)))).isDirectory())
      for (const entry of await readdir(path, { withFileTypes: true, recursive: true })) {
        const file = join(entry.parentPath ?? entry.path, entry.name);
        // Hidden files and folders are what programs keep for themselves.
        if (
          entry.isFile() &&
          !relative(path, file)
            .split(sep)
            .some((part) => part.startsWith("."))
        )
          files.push(file);
      }
    else files.push(path);
  }
  return [...new Set(files)].sort();
}

export function failure(file: string, cause: unknown, line?: number): CpmError {
  interrupt.signal.throwIfAborted();
  if (cause instanceof CpmError) return cause;
  const why = (cause as Error).message;
  const where = line === undefined ? file : `${file}, after record ${line}`;
  return new CpmError(
    "io",
    `${where}: ${why}; check the file, or leave it out`,
    { file, field: `record ${line ?? 0}` },
    { cause },
  );
}

/** The records of a file, by its name's ending; what is no record is told and passed over. @throws CpmError "io" where the file breaks off. */
export async function* recordsOf(file: string, options: InputOptions): AsyncGenerator<Placed> {
  if (/\.parquet$/i.test(file)) yield* parquetRecords(file, options);
  else if (!(/\.(txt|md|html?)$/i.test(file) || foreign.test(file))) yield* jsonRecords(file, options);
  else if (options.wanted?.() === false) return;
  else if (!foreign.test(file)) yield await textRecord(file, options);
  else
    yield { file, line: 1, error: "not read: by its name it is a table, a picture, a sound, a program, an archive or a model" };
}

/** Endings of what is no JSON lines, of which each line would be an error. */
const foreign =
  /\.(csv|tsv|xlsx?|docx?|pptx?|pdf|epub|png|jpe?g|gif|webp|svg|ico|mp[34]|wav|ogg|webm|js|mjs|ts|css|py|sh|exe|so|dll|wasm|zip|tar|tgz|bz2|xz|7z|rar|gguf|safetensors|bin|ftz|fold|lock|ya?ml|xml)$/i;

async function textRecord(file: string, { mostBytes, read }: InputOptions): Promise<Placed> {
  const { size } = await stat(file);
  if (size > mostBytes) return { file, line: 1, error: `${size} bytes; at most ${mostBytes} are read` };
  const bytes = await readFile(file).catch((cause: Error) => Promise.reject(failure(file, cause)));
  read?.(bytes.length);
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return { file, line: 1, record: { json: undefined, fields: { text }, text } };
  } catch {
    return { file, line: 1, error: "not UTF-8" };
  }
}

async function* jsonRecords(file: string, { field, mostBytes, read, wanted }: InputOptions): AsyncGenerator<Placed> {
  let line = 0;
  try {
    for await (const { number, bytes, length } of linesOf(await pieces(file, read), mostBytes)) {
      line = number;
      if (wanted?.() === false) continue;
      if (bytes === undefined) {
        yield { file, line, error: `a record of ${length} bytes; at most ${mostBytes} are read` };
        continue;
      }
      let placed: Placed;
      try {
        placed = { file, line, record: parseRecord(bytes, field) };
      } catch (error) {
        placed = { file, line, error: (error as Error).message };
      }
      yield placed;
    }
  } catch (cause) {
    throw failure(file, cause, line);
  }
}

/** Bytes of a file or of standard input, unpacked by the name's ending. */
async function pieces(file: string, read: ((bytes: number) => void) | undefined): Promise<AsyncIterable<Uint8Array>> {
  const stream: Readable =
    file === "-" ? process.stdin : createReadStream(file, { highWaterMark: 1 << 18, signal: interrupt.signal });
  const counted = (async function* () {
    for await (const piece of stream as AsyncIterable<Uint8Array>) {
      read?.(piece.length);
      yield piece;
    }
  })();
  if (/\.(gz|gzip)$/i.test(file)) return through(counted, zlib.createGunzip());
  if (!/\.(zst|zstd)$/i.test(file)) return counted;
  const native = (zlib as unknown as { createZstdDecompress?: () => Transform }).createZstdDecompress;
  return native ? through(counted, native()) : fzstd(counted);
}

/** Unpacked pieces; what fails at either end fails the reader. */
function through(source: AsyncIterable<Uint8Array>, unpack: Transform): AsyncIterable<Uint8Array> {
  const readable = Readable.from(source, { objectMode: true });
  readable.on("error", (error) => unpack.destroy(error));
  return readable.pipe(unpack) as AsyncIterable<Uint8Array>;
}

interface Fzstd {
  Decompress: new (take: (piece: Uint8Array, last: boolean) => void) => { push(piece: Uint8Array, last?: boolean): void };
}

/** Node before 22.15 has no zstd of its own. */
async function* fzstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { Decompress } = await optional<Fzstd>("fzstd", "to read .zst with this Node");
  let out: Uint8Array[] = [];
  const unpack = new Decompress((piece) => out.push(piece));
  for await (const piece of source) {
    unpack.push(piece);
    yield* out.splice(0);
  }
  unpack.push(new Uint8Array(0), true);
  yield* out;
  out = [];
}

/** A package that is not installed with this one. @throws CpmError "unsupported" that says how to get it. */
export async function optional<T>(name: string, what: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (cause) {
    throw new CpmError("unsupported", `${name} is needed ${what}: npm install ${name}`, { field: name }, { cause });
  }
}

interface Hyparquet {
  parquetMetadataAsync(file: AsyncBuffer): Promise<ParquetMetadata>;
  parquetRead(options: object): Promise<void>;
  parquetReadObjects(options: object): Promise<Record<string, unknown>[]>;
}
interface AsyncBuffer {
  readonly byteLength: number;
  slice(start: number, end?: number): Promise<ArrayBuffer>;
}
interface ParquetMetadata {
  readonly row_groups: readonly { readonly num_rows: bigint }[];
}

/** A Parquet file, opened: what hyparquet's functions take. */
export interface ParquetFile {
  readonly parquet: Hyparquet;
  readonly options: { readonly file: AsyncBuffer; readonly metadata: ParquetMetadata; readonly compressors: unknown };
  /** First row and end of each group. */
  readonly groups: readonly { readonly rowStart: number; readonly rowEnd: number }[];
  close(): Promise<void>;
}

/** @throws CpmError "unsupported" without hyparquet, "io" for what is no Parquet file */
export async function openParquet(file: string, read?: (bytes: number) => void): Promise<ParquetFile> {
  const parquet = await optional<Hyparquet>("hyparquet", "to read Parquet");
  const { compressors } = await optional<{ compressors: unknown }>("hyparquet-compressors", "to read Parquet").catch(() => ({
    compressors: undefined,
  }));
  const handle = await open(file, "r").catch((cause: Error) => Promise.reject(failure(file, cause)));
  try {
    const { size } = await handle.stat();
    if (size < 12) throw new Error(`no Parquet file: ${size} bytes`);
    const buffer: AsyncBuffer = {
      byteLength: size,
      async slice(start, end = size) {
        const memory = new ArrayBuffer(Math.max(0, Math.min(end, size) - start));
        const bytes = new Uint8Array(memory);
        const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
        if (bytesRead < bytes.length) throw new Error("the file became shorter");
        read?.(bytes.length);
        return memory;
      },
    };
    const metadata = await parquet.parquetMetadataAsync(buffer);
    let rowEnd = 0;
    const groups = metadata.row_groups.map((group) => {
      const rowStart = rowEnd;
      rowEnd += Number(group.num_rows);
      return { rowStart, rowEnd };
    });
    return { parquet, options: { file: buffer, metadata, compressors }, groups, close: () => handle.close() };
  } catch (cause) {
    await handle.close();
    throw failure(file, cause, 0);
  }
}

/** Row groups one after another: one of them lies in memory. */
async function* parquetRecords(file: string, { field, read, wanted }: InputOptions): AsyncGenerator<Placed> {
  const { parquet, options, groups, close } = await openParquet(file, read);
  let line = 0;
  try {
    for (const range of groups) {
      for (const fields of await parquet.parquetReadObjects({ ...options, ...range })) {
        line++;
        if (wanted?.() === false) continue;
        let placed: Placed;
        try {
          placed = { file, line, record: { json: undefined, fields, text: textOf(fields, field) } };
        } catch (error) {
          placed = { file, line, error: (error as Error).message };
        }
        yield placed;
      }
    }
  } catch (cause) {
    throw failure(file, cause, line);
  } finally {
    await close();
  }
}
