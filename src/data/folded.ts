// The file of a folded model, little-endian:
//   "CPMFOLD\0", version u32 (1), bytes of the header u32, the header (JSON, UTF-8),
//   entries (words, labels, each ended by NUL), pairs of pruned n-grams (i32), table (f32).
// Each part after the header begins at a multiple of 16. The header holds sizes, labels, how texts become rows, XXH64 of everything
// behind it, and which file was folded.

import { viewOf } from "../brands.ts";
import { CpmError } from "../errors.ts";
import { parseObject } from "../file/json.ts";
import type { Source } from "../file/source.ts";
import { shown } from "../shown.ts";
import { checkRows, type Loss, losses, type Vocabulary } from "./fasttext.ts";
import { checkFinite, type FoldedModel, foldedValues } from "./fold.ts";
import { type DataInstance, StreamHash } from "./module.ts";
import { Reader } from "./reader.ts";

const MAGIC = new TextEncoder().encode("CPMFOLD\0");
const VERSION = 1;
const FIXED = 16;
const MOST_HEADER = 1 << 26;
const PIECE = 1 << 22;

const aligned = (offset: number): number => Math.ceil(offset / 16) * 16;

export const isFolded = (head: Uint8Array): boolean => MAGIC.every((byte, i) => head[i] === byte);

function hashed(data: DataInstance, parts: readonly Uint8Array[]): string {
  const mark = data.end;
  const hash = new StreamHash(data);
  for (const part of parts) hash.add(part);
  data.release(mark);
  return hash.end();
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Int32Array | Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** The bytes of a folded model's file. */
export function writeFolded(data: DataInstance, model: FoldedModel): Uint8Array<ArrayBuffer> {
  const { vocabulary, loss, rows, values, table, source } = model;
  const { words, labels, labelCounts, entries, pruned, wordNgrams, bucket, minn, maxn } = vocabulary;
  const parts = [entries, bytesOf(pruned ?? new Int32Array(0)), bytesOf(table)];
  const header = new TextEncoder().encode(
    JSON.stringify({
      loss,
      labels,
      labelCounts,
      words,
      entryBytes: entries.length,
      pruned: pruned ? pruned.length / 2 : null,
      wordNgrams,
      bucket,
      minn,
      maxn,
      rows,
      values,
      xxh64: hashed(data, parts),
      source,
    }),
  );
  let size = FIXED + header.length;
  const places = parts.map((part) => {
    const at = aligned(size);
    size = at + part.length;
    return at;
  });
  const out = new Uint8Array(size);
  out.set(MAGIC);
  viewOf(out).setUint32(8, VERSION, true);
  viewOf(out).setUint32(12, header.length, true);
  out.set(header, FIXED);
  parts.forEach((part, i) => {
    out.set(part, places[i]);
  });
  return out;
}

/** Reads a folded model. @throws CpmError "bad-model" when the file contradicts itself, "unsupported" for another version. */
export async function readFolded(data: DataInstance, source: Source, signal?: AbortSignal): Promise<FoldedModel> {
  const reader = new Reader(source, signal);
  await reader.need(FIXED, "header");
  reader.skip(MAGIC.length);
  const [version, length] = [reader.i32(), reader.i32()];
  if (version !== VERSION)
    throw new CpmError("unsupported", `${source.name}: folded model of version ${version}, this package reads ${VERSION}`, {
      file: source.name,
      field: "version",
      expected: String(VERSION),
      found: String(version),
    });
  if (length <= 0 || length > MOST_HEADER) throw reader.fail("header", `at most ${MOST_HEADER} bytes`, length);
  const text = new TextDecoder().decode(await reader.bytes(length, "header"));
  const header = checkHeader(parseObject(text, source.name, FIXED), reader);
  const { vocabulary, loss, rows, values, entryBytes, pairs, xxh64 } = header;
  const tail = [entryBytes, 4 * pairs, 4 * rows * values];
  const begins: number[] = [];
  let at = FIXED + length;
  for (const bytes of tail) {
    begins.push((at = aligned(at)));
    at += bytes;
  }
  if (at !== source.size) throw reader.fail("size of the file", `${at} bytes`, source.size);
  const buffers = tail.map((bytes) => new Uint8Array(bytes));
  for (let i = 0; i < buffers.length; i++)
    for (let done = 0; done < buffers[i]!.length; done += PIECE) {
      const part = buffers[i]!.subarray(done, done + PIECE);
      part.set(await source.read(begins[i]! + done, part.length, signal));
      signal?.throwIfAborted();
    }
  const found = hashed(data, buffers);
  if (found !== xxh64) throw reader.fail("xxh64", xxh64, found);
  const entries = buffers[0]!;
  if (count(entries) !== vocabulary.words + vocabulary.labels.length || (entries.length > 0 && entries.at(-1) !== 0))
    throw reader.fail("entries", `${vocabulary.words + vocabulary.labels.length} ended by NUL`, count(entries));
  const pruned = vocabulary.pruned ? over(Int32Array, buffers[1]!) : undefined;
  const whole = { ...vocabulary, entries, pruned };
  checkRows(whole, rows, (field, expected, what) => {
    throw reader.fail(field, expected, what);
  });
  const table = over(Float32Array, buffers[2]!);
  checkFinite(table, source.name);
  return { loss, vocabulary: whole, rows, values, table, source: header.source };
}

function count(entries: Uint8Array): number {
  let n = 0;
  for (const byte of entries) if (byte === 0) n++;
  return n;
}

function checkHeader(header: Record<string, unknown>, reader: Reader) {
  const whole = (field: string, most: number, least = 0): number => {
    const value = header[field];
    if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most)
      throw reader.fail(field, `${least} to ${most}`, shown(value));
    return value;
  };
  const { loss, labels, labelCounts, xxh64, source } = header;
  if (!Object.values(losses).includes(loss as Loss)) throw reader.fail("loss", Object.values(losses).join(", "), shown(loss));
  if (!Array.isArray(labels) || labels.length === 0 || !labels.every((label) => typeof label === "string"))
    throw reader.fail("labels", "texts", typeof labels);
  const numbers = Array.isArray(labelCounts) && labelCounts.length === labels.length;
  if (!numbers || !labelCounts.every((n) => typeof n === "number")) throw reader.fail("labelCounts", "numbers", "something else");
  if (typeof xxh64 !== "string") throw reader.fail("xxh64", "a text", typeof xxh64);
  const size = reader.source.size;
  const values = whole("values", size, 1);
  const rows = whole("rows", Math.floor(size / (4 * values)));
  if (values !== foldedValues(loss as Loss, labels.length))
    throw reader.fail("values", String(foldedValues(loss as Loss, labels.length)), values);
  const pruned = header["pruned"] === null ? undefined : whole("pruned", Math.floor(size / 8));
  const vocabulary: Vocabulary = {
    words: whole("words", size),
    labels,
    labelCounts,
    entries: new Uint8Array(0),
    pruned: pruned === undefined ? undefined : new Int32Array(0),
    wordNgrams: whole("wordNgrams", 1024),
    bucket: whole("bucket", 2 ** 31 - 1),
    minn: whole("minn", 1024),
    maxn: whole("maxn", 1024),
  };
  const facts = (typeof source === "object" && source !== null ? source : {}) as Record<string, unknown>;
  return {
    loss: loss as Loss,
    vocabulary,
    rows,
    values,
    entryBytes: whole("entryBytes", size),
    pairs: 2 * (pruned ?? 0),
    xxh64,
    source: { xxh64: typeof facts["xxh64"] === "string" ? facts["xxh64"].slice(0, 64) : "", bytes: Number(facts["bytes"] ?? 0) },
  };
}

/** An array over bytes that were allocated for it. */
function over<T>(
  kind: new (buffer: ArrayBuffer, offset: number, length: number) => T,
  { buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>,
): T {
  return new kind(buffer, byteOffset, byteLength / 4);
}
