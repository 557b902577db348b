// Which records of many shards repeat earlier ones, from their fingerprints (see signatures.ts): a join in DuckDB where it is installed, else
// tables in memory. A record repeats an earlier one where it has the exact hash or the key of a band in common with it, whatever became of
// that one; both ways find the same records.
import { availableParallelism } from "node:os";
import { type DedupKind, FirstRecords, similarity } from "cpm-wasm/data";
import { CpmError } from "../index.ts";
import { failure, openParquet } from "./cleaninput.ts";
import { interrupt } from "./interrupt.ts";
import { bandColumns, exactColumns } from "./signatures.ts";

/** A shard of a cleaned folder. */
export interface SignedShard {
  /** Its place among the shards of all folders. */
  readonly index: number;
  readonly signatures: string;
  /** What is added to its records' places, so that those of later folders come later. */
  readonly base: number;
}

/** A line of a shard's kept records that repeats an earlier record. */
export interface Repetition {
  readonly line: number;
  /** Places of both in the input: `base` and the number of the record. */
  readonly record: number;
  readonly of: number;
  readonly kind: DedupKind;
  /** Of near ones: the estimated Jaccard similarity of their shingles. */
  readonly similarity: number | undefined;
}

export interface Duplicates {
  /** Those of a shard, by line. */
  of(shard: SignedShard): AsyncIterable<Repetition>;
  close(): void;
}

export interface JoinOptions {
  readonly kinds: readonly DedupKind[];
  /** Told of each column that is done. */
  readonly onColumn: (done: number, total: number) => void;
}

const columnSets = (kinds: readonly DedupKind[]): (readonly string[])[] => [
  ...(kinds.includes("exact") ? [exactColumns] : []),
  ...(kinds.includes("near") ? bandColumns.map((name) => [name]) : []),
];

/** Records that tables in memory are made for, at most: about 2 GB. */
const MOST_RECORDS = 20_000_000;

/** The join in memory: 64 bytes a record, and a table for one column after another. */
export async function joinInMemory(shards: readonly SignedShard[], { kinds, onColumn }: JoinOptions): Promise<Duplicates> {
  const records: number[] = [];
  for (const shard of shards) {
    const { groups, close } = await openParquet(shard.signatures);
    records.push(groups.at(-1)?.rowEnd ?? 0);
    await close();
  }
  const total = records.reduce((a, b) => a + b, 0);
  if (total > MOST_RECORDS)
    throw new CpmError(
      "unsupported",
      `${total} records are too many for tables in memory (${MOST_RECORDS}); install DuckDB: npm install @duckdb/node-api`,
      { field: "engine", expected: `at most ${MOST_RECORDS} records`, found: String(total) },
    );
  const starts = records.map((_, i) => records.slice(0, i).reduce((a, b) => a + b, 0));
  /** Of each row: the record it is, its line, the earliest record that it repeats, and whether exactly. */
  const [ids, lines, firsts] = [0, 0, 0].map(() => new Float64Array(total));
  const exact = new Uint8Array(total);
  for (const [s, shard] of shards.entries())
    await eachColumns(shard, ["record", "line"], ([record, line], row) => {
      record!.forEach((value, i) => {
        ids![starts[s]! + row + i] = shard.base + Number(value);
        lines![starts[s]! + row + i] = Number(line![i]);
      });
    });
  firsts!.fill(-1);
  const sets = columnSets(kinds);
  for (const [done, columns] of sets.entries()) {
    const table = new FirstRecords(total, columns.length);
    const walk = async (use: (keys: BigInt64Array, at: number, row: number) => void) => {
      for (const [s, shard] of shards.entries())
        await eachColumns(shard, columns, (values, row) => {
          const keys = woven(values);
          for (let i = 0; i < values[0]!.length; i++)
            if (columns.length > 1 || keys[i]! >= 0n) use(keys, i * columns.length, starts[s]! + row + i);
        });
    };
    await walk((keys, at, row) => table.add(keys, at, ids![row]!));
    await walk((keys, at, row) => {
      const first = table.first(keys, at);
      if (first >= ids![row]! || exact[row]) return;
      if (columns === exactColumns) exact[row] = 1;
      if (firsts![row]! < 0 || first < firsts![row]!) firsts![row] = first;
    });
    onColumn(done + 1, sets.length);
  }
  const signatures = await neededSignatures(shards, starts, (row) =>
    lines![row]! >= 0 && firsts![row]! >= 0 && !exact[row] ? [ids![row]!, firsts![row]!] : [],
  );
  return {
    async *of({ index }) {
      const [from, to] = [starts[index]!, starts[index]! + records[index]!];
      for (let row = from; row < to; row++) {
        const [record, of, line] = [ids![row]!, firsts![row]!, lines![row]!];
        if (of < 0 || line < 0) continue;
        const kind = exact[row] ? "exact" : "near";
        yield {
          line,
          record,
          of,
          kind,
          similarity: kind === "near" ? alike(signatures.get(record), signatures.get(of)) : undefined,
        };
      }
    },
    close() {},
  };

  /** The signatures of the records that rows name. */
  async function neededSignatures(all: readonly SignedShard[], begins: readonly number[], named: (row: number) => number[]) {
    const found = new Map<number, Uint8Array | undefined>();
    for (let row = 0; row < total; row++) for (const record of named(row)) found.set(record, undefined);
    if (found.size > 0)
      for (const [s, shard] of all.entries())
        await eachColumns<Uint8Array>(shard, ["signature"], ([signature], row) => {
          for (let i = 0; i < signature!.length; i++) {
            const id = ids![begins[s]! + row + i]!;
            if (found.has(id)) found.set(id, signature![i]!.slice());
          }
        });
    return found;
  }
}

/** Keys of several columns, word after word. */
function woven(columns: readonly ArrayLike<bigint>[]): BigInt64Array {
  const keys = new BigInt64Array(columns[0]!.length * columns.length);
  columns.forEach((values, w) => {
    for (let i = 0; i < values.length; i++) keys[i * columns.length + w] = values[i]!;
  });
  return keys;
}

/** Columns of a table, one row group after another. */
async function eachColumns<T = bigint>(
  { signatures: file }: SignedShard,
  columns: readonly string[],
  use: (values: readonly T[][], row: number) => void,
): Promise<void> {
  const { parquet, options, groups, close } = await openParquet(file);
  try {
    for (const range of groups) {
      interrupt.signal.throwIfAborted();
      const found = new Map<string, { at: number; values: ArrayLike<T> }[]>();
      const onChunk = (chunk: { columnName: string; columnData: ArrayLike<T>; rowStart: number }) => {
        const parts = found.get(chunk.columnName) ?? [];
        parts.push({ at: chunk.rowStart, values: chunk.columnData });
        found.set(chunk.columnName, parts);
      };
      await parquet.parquetRead({ ...options, ...range, columns, utf8: false, onChunk });
      const values = columns.map((name) => {
        const parts = (found.get(name) ?? []).sort((a, b) => a.at - b.at);
        const all = parts.flatMap((part) => Array.from(part.values));
        if (all.length !== range.rowEnd - range.rowStart)
          throw new Error(`it has no column "${name}"; write it with --signatures`);
        return all;
      });
      use(values, range.rowStart);
    }
  } catch (cause) {
    throw failure(file, cause, 0);
  } finally {
    await close();
  }
}

/** Similarity by two signatures as they lie in files. */
function alike(a: Uint8Array | undefined, b: Uint8Array | undefined): number | undefined {
  const values = (bytes: Uint8Array) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(4 * i, true));
  };
  return a && b ? similarity(values(a), values(b)) : undefined;
}

/** What is used of DuckDB. */
interface DuckDB {
  DuckDBInstance: {
    create(path: string, options: Record<string, string>): Promise<{ connect(): Promise<Connection>; closeSync(): void }>;
  };
}
interface Connection {
  run(sql: string): Promise<unknown>;
  stream(sql: string): Promise<{ yieldRows(): AsyncIterable<unknown[][]> }>;
  interrupt(): void;
  closeSync(): void;
}

/** DuckDB, or undefined where it is not installed. */
export async function duckdb(): Promise<DuckDB | undefined> {
  const name = "@duckdb/node-api";
  return await (import(name) as Promise<DuckDB>).catch(() => undefined);
}

const text = (value: string): string => `'${value.replaceAll("'", "''")}'`;

/** The statements of the join: what a database with Parquet files needs to do the same. */
export function joinStatements(shards: readonly SignedShard[], kinds: readonly DedupKind[]): string[] {
  const files = shards.map(({ signatures }) => text(signatures)).join(", ");
  const places = shards.map(({ signatures, base, index }) => `(${text(signatures)}, ${base}, ${index})`).join(", ");
  const repeats = (columns: readonly string[]) => {
    const keys = columns.join(", ");
    const exact = columns === exactColumns;
    const where = exact ? "" : `WHERE ${keys} >= 0`;
    return `INSERT INTO repeats
WITH firsts AS (SELECT ${keys}, min(id) AS first FROM signed ${where} GROUP BY ${keys} HAVING count(*) > 1)
SELECT id, first, ${exact} FROM signed JOIN firsts USING (${keys}) WHERE first < id`;
  };
  return [
    `CREATE TABLE shards AS SELECT * FROM (VALUES ${places}) AS t(filename, base, shard)`,
    `CREATE VIEW signed AS SELECT base + record AS id, shard, f.*
FROM read_parquet([${files}], filename = true) f JOIN shards USING (filename)`,
    "CREATE TABLE repeats (id BIGINT, first BIGINT, exact BOOLEAN)",
    ...columnSets(kinds).map(repeats),
    `CREATE TABLE duplicates AS
SELECT id, coalesce(min(first) FILTER (exact), min(first)) AS first, bool_or(exact) AS exact FROM repeats GROUP BY id`,
    `CREATE TABLE answers AS
SELECT shard, line, d.id AS id, first, exact, CASE WHEN exact THEN NULL ELSE s.signature END AS signature
FROM duplicates d JOIN signed s ON s.id = d.id WHERE line >= 0`,
  ];
}

/** Bytes of DuckDB's sizes, as "4GB" or "512MiB"; undefined for others, which are left to it. */
function bytesOf(size: string): number | undefined {
  const found = /^([\d.]+)\s*([KMGT]?)(i?)B$/i.exec(size.trim());
  return found ? Number(found[1]) * (found[3] ? 1024 : 1000) ** " KMGT".indexOf(found[2]!.toUpperCase() || " ") : undefined;
}

/** Memory without which a thread of the join does not come to its end, however much goes to disk. */
const THREAD_BYTES = 32e6;

/** The join in DuckDB, which puts on disk (`scratch`) what does not fit in memory. */
export async function joinInDuckdb(
  { DuckDBInstance }: DuckDB,
  shards: readonly SignedShard[],
  { kinds, onColumn, scratch, memory }: JoinOptions & { readonly scratch: string; readonly memory?: string | undefined },
): Promise<Duplicates> {
  const most = Math.max(1, Math.floor((bytesOf(memory ?? "") ?? Number.POSITIVE_INFINITY) / THREAD_BYTES));
  const options = {
    temp_directory: scratch,
    preserve_insertion_order: "false",
    ...(memory ? { memory_limit: memory } : {}),
    ...(most < availableParallelism() ? { threads: String(most) } : {}),
  };
  const instance = await DuckDBInstance.create(":memory:", options);
  const connection = await instance.connect();
  const stop = () => connection.interrupt();
  interrupt.signal.addEventListener("abort", stop);
  const close = () => {
    interrupt.signal.removeEventListener("abort", stop);
    connection.closeSync();
    instance.closeSync();
  };
  const guarded = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      interrupt.signal.throwIfAborted();
      const why = (cause as Error).message;
      if (/out of memory/i.test(why))
        throw new CpmError(
          "out-of-memory",
          `DuckDB: ${memory ?? "80 % of this machine's memory"} is too little for the join even with a disk beside it (${why.split("\n")[0]}); give more by --memory`,
          { field: "memory", found: memory ?? "" },
          { cause },
        );
      throw new CpmError("io", `DuckDB: ${why}`, { field: "engine" }, { cause });
    }
  };
  try {
    const total = columnSets(kinds).length;
    let done = 0;
    for (const statement of joinStatements(shards, kinds)) {
      await guarded(() => connection.run(statement));
      if (statement.startsWith("INSERT")) onColumn(++done, total);
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    async *of({ index }) {
      const sql = `SELECT a.line::DOUBLE, a.id::DOUBLE, a.first::DOUBLE, a.exact, a.signature, s.signature FROM answers a
LEFT JOIN (SELECT id, signature FROM signed WHERE id IN (SELECT first FROM answers WHERE shard = ${index} AND NOT exact)) s
ON s.id = a.first AND NOT a.exact WHERE a.shard = ${index} ORDER BY a.line`;
      const rows = await guarded(() => connection.stream(sql));
      for await (const part of rows.yieldRows())
        for (const [line, record, of, exact, a, b] of part as [number, number, number, boolean, Blob | null, Blob | null][])
          yield { line, record, of, kind: exact ? "exact" : "near", similarity: exact ? undefined : alike(a?.bytes, b?.bytes) };
    },
    close,
  };
}

/** Bytes as DuckDB's values hold them. */
interface Blob {
  readonly bytes: Uint8Array;
}
