// Tables of measurements for cpm tunnel: folders of sweeps, JSON, JSON lines, CSV with a line of names.
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { BenchItem } from "cpm-wasm/tunnel";
import { isRecord } from "../brands.ts";
import { CpmError } from "../index.ts";
import { reasonOf } from "../shown.ts";

export type Row = Readonly<Record<string, number>>;

/** The columns of a table's first row. @throws as readRows() does */
export const columnsOf = async (path: string): Promise<ReadonlySet<string>> =>
  new Set(Object.keys((await rawRows(path))[0] ?? {}));

/** What tells runs of a sweep apart, beside their sizes. */
export const SETTINGS = ["width", "depth", "rate", "rows", "seed"] as const;

/** Rows of numbers by name; those of `also` where a row has them. @throws CpmError "io", "bad-input" with the file and the row */
export async function readRows(path: string, names: readonly string[], also: readonly string[] = []): Promise<Row[]> {
  const raw = await rawRows(path);
  if (raw.length === 0) throw new CpmError("bad-input", `${path}: there are no rows in it`, { file: path });
  return raw.map((row, i) => {
    const out: Record<string, number> = {};
    for (const name of names) {
      const value = Object.hasOwn(row, name) ? row[name] : undefined;
      const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
      if (typeof number !== "number" || !Number.isFinite(number))
        throw new CpmError(
          "bad-input",
          `${path}, row ${i + 1}: expected a number in "${name}"; it has ${Object.keys(row).slice(0, 12).join(", ")}`,
          { file: path, field: name },
        );
      out[name] = number;
    }
    for (const name of also) {
      const number = Number(row[name]);
      if (Object.hasOwn(row, name) && row[name] !== "" && Number.isFinite(number)) out[name] = number;
    }
    return out;
  });
}

async function rawRows(path: string): Promise<Record<string, unknown>[]> {
  const fail = (cause: unknown) =>
    new CpmError("io", `${path}: could not be read (${reasonOf(cause)})`, { file: path }, { cause });
  const found = await stat(path).catch((cause: unknown) => Promise.reject(fail(cause)));
  if (found.isDirectory()) {
    const names = (await readdir(path)).filter((name) => /^point-.*\.json$/.test(name)).sort();
    return (await Promise.all(names.map((name) => rawRows(join(path, name))))).flat();
  }
  const text = (await readFile(path, "utf8").catch((cause: unknown) => Promise.reject(fail(cause)))).trim();
  if (/\.csv$/i.test(path)) {
    const [head, ...lines] = text.split(/\r?\n/).map((line) => line.split(",").map((cell) => cell.trim()));
    return lines.map((cells) => Object.fromEntries(head!.map((name, i) => [name, cells[i]])));
  }
  const parse = (json: string, where: string): unknown => {
    try {
      return JSON.parse(json);
    } catch (cause) {
      throw new CpmError("bad-input", `${where}: no JSON: ${reasonOf(cause)}`, { file: path }, { cause });
    }
  };
  const value =
    /^\s*\[/.test(text) || !text.includes("\n{")
      ? parse(text, path)
      : text.split(/\r?\n/).map((line, i) => parse(line, `${path}, line ${i + 1}`));
  const list = Array.isArray(value) ? (value as unknown[]) : [value];
  const bad = list.findIndex((row) => !isRecord(row));
  if (bad >= 0) throw new CpmError("bad-input", `${path}, row ${bad + 1}: expected an object`, { file: path });
  return list as Record<string, unknown>[];
}

/** Items of ScalingBench: JSON lines with input and output. @throws CpmError "io", "bad-input" with the line */
export async function itemsOf(file: string): Promise<BenchItem[]> {
  const text = await readFile(file, "utf8").catch((cause: Error) => {
    throw new CpmError("io", `${file}: ${cause.message}; check --items`, { file }, { cause });
  });
  return text
    .split(/\r?\n/)
    .filter((line) => line.trim() !== "")
    .map((line, i) => {
      try {
        const { input, output } = JSON.parse(line) as BenchItem;
        if (input !== undefined && output !== undefined) return { input, output };
      } catch {}
      throw new CpmError("bad-input", `${file}, line ${i + 1}: expected an object with input and output`, { file });
    });
}
