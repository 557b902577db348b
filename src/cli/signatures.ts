// Fingerprints of a shard's records as a Parquet table, from which duplicates of all shards are told. Columns: `record` (the record's place
// in the input, from 0, over all shards), `line` (its line among the kept, from 0; -1: it was not kept), `exact_0`, `exact_1` (128 bits of hash),
// `band_00` to `band_13` (keys of the bands; -1: a text without words), `signature` (112 little-endian u32).
import { open } from "node:fs/promises";
import type { Fingerprints } from "cpm-wasm/data";
import { optional } from "./cleaninput.ts";
import { interrupt } from "./interrupt.ts";

/** Bytes of a row until the table is made: record and line (f64), hashes, signature. */
const SIGNATURE = 448;
const ROW = 32 + SIGNATURE;
/** Rows of a group: 12 MB of memory. */
const GROUP = 20_000;

export const bandColumns = Array.from({ length: 14 }, (_, i) => `band_${String(i).padStart(2, "0")}`);
export const exactColumns = ["exact_0", "exact_1"];

interface Writer {
  ParquetWriter: new (options: object) => { write(options: object): void | Promise<void>; finish(): void | Promise<void> };
  fileWriter(path: string): object;
}

export class Signer {
  readonly #prints: Fingerprints;
  readonly #writer: Writer;

  private constructor(prints: Fingerprints, writer: Writer) {
    this.#prints = prints;
    this.#writer = writer;
  }

  /** @throws CpmError "unsupported" where hyparquet-writer is not installed */
  static async create(): Promise<Signer> {
    const { createFingerprints } = await import("cpm-wasm/data");
    const writer = await optional<Writer>("hyparquet-writer", "to write signatures");
    return new Signer(await createFingerprints(), writer);
  }

  /** A row's bytes. */
  row(record: number, line: number, text: string): Uint8Array {
    const { exact, signature } = this.#prints.of(text);
    const row = Buffer.alloc(ROW);
    row.writeDoubleLE(record, 0);
    row.writeDoubleLE(line, 8);
    for (const [i, hash] of exact.entries()) row.writeBigUInt64LE(hash, 16 + 8 * i);
    // What the least of no shingles would be.
    if (signature) for (const [i, value] of signature.entries()) row.writeUInt32LE(value, 32 + 4 * i);
    else row.fill(0xff, 32);
    return row;
  }

  /** The Parquet file of a file of rows. */
  async table(from: string, to: string): Promise<void> {
    const { ParquetWriter, fileWriter } = this.#writer;
    const long = (name: string) => ({ name, type: "INT64", repetition_type: "REQUIRED" });
    const bytes = { name: "signature", type: "FIXED_LEN_BYTE_ARRAY", type_length: SIGNATURE, repetition_type: "REQUIRED" };
    const longs = ["record", "line", ...exactColumns, ...bandColumns];
    const schema = [{ name: "root", num_children: longs.length + 1 }, ...longs.map(long), bytes];
    // Hashes do not pack.
    const table = new ParquetWriter({ writer: fileWriter(to), schema, codec: "UNCOMPRESSED", statistics: false });
    const file = await open(from, "r");
    try {
      const { size } = await file.stat();
      for (let at = 0; at < size; at += GROUP * ROW) {
        interrupt.signal.throwIfAborted();
        const rows = Buffer.alloc(Math.min(GROUP * ROW, size - at));
        await file.read(rows, 0, rows.length, at);
        await table.write({ columnData: this.#columns(rows), rowGroupSize: GROUP });
      }
    } finally {
      await file.close();
    }
    await table.finish();
  }

  #columns(rows: Buffer) {
    const count = rows.length / ROW;
    const column = () => new BigInt64Array(count);
    const columns = { record: column(), line: column(), exact: [column(), column()], bands: bandColumns.map(column) };
    const signatures: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      const at = i * ROW;
      columns.record[i] = BigInt(rows.readDoubleLE(at));
      columns.line[i] = BigInt(rows.readDoubleLE(at + 8));
      columns.exact.forEach((hashes, k) => {
        hashes[i] = rows.readBigInt64LE(at + 16 + 8 * k);
      });
      const signature = Uint32Array.from({ length: SIGNATURE / 4 }, (_, k) => rows.readUInt32LE(at + 32 + 4 * k));
      const words = signature.some((value) => value !== 0xffffffff);
      const keys = words ? this.#prints.minhash.bands(signature) : undefined;
      columns.bands.forEach((band, k) => {
        band[i] = keys ? BigInt(keys[k]!) : -1n;
      });
      signatures.push(rows.subarray(at + 32, at + ROW));
    }
    const plain = (name: string, data: unknown) => ({ name, data, encoding: "PLAIN", nullable: false });
    return [
      plain("record", columns.record),
      plain("line", columns.line),
      ...columns.exact.map((data, i) => plain(exactColumns[i]!, data)),
      ...columns.bands.map((data, i) => plain(bandColumns[i]!, data)),
      plain("signature", signatures),
    ];
  }
}
