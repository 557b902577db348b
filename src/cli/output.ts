// What commands write: text on stdout, everything else on stderr.
import { once } from "node:events";
import { access, constants, mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import process from "node:process";
import { makeFolder as make } from "../file/write/folder.ts";
import { CpmError } from "../index.ts";
import { reasonOf } from "../shown.ts";
import { visible, visibleJson, visibleLine } from "./visible.ts";

/** Dim where it will be seen on a terminal, else as it is. */
export const dim = (text: string, stream: { isTTY?: boolean } = process.stderr): string =>
  stream.isTTY && !process.env["NO_COLOR"] ? `\u001b[2m${text}\u001b[22m` : text;

/** Writes to stdout and waits while it is full, so that large results never pile up in memory. */
export async function write(text: string): Promise<void> {
  let more: boolean;
  try {
    more = process.stdout.write(text);
  } catch (error) {
    // Deno throws where Node emits an event.
    outputFailed(error as NodeJS.ErrnoException);
  }
  if (!more) await once(process.stdout, "drain");
}

/** Writes what a model said: as it is, but a terminal gets no controls. */
export const writeSaid = (text: string): Promise<void> => write(process.stdout.isTTY ? visible(text) : text);

/**
 * Writes a file whole or not at all: beside it first, then renamed. What is no ordinary file (a pipe, /dev/stdout) is written to.
 * Rejects with CpmError "io", naming `option`.
 */
export async function writeFileWhole(path: string, text: string | Uint8Array, option: string): Promise<void> {
  await checkPlace(path, option);
  const found = await stat(path).catch(() => undefined);
  const place = found && !found.isFile() ? path : `${path}.${process.pid}.partial`;
  try {
    await writeFile(place, text, found?.isFile() ? { mode: found.mode } : {});
    if (place !== path) await rename(place, path);
  } catch (cause) {
    if (place !== path) await rm(place, { force: true }).catch(() => {});
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === "ENOSPC" || code === "EDQUOT" ? "the disk is full" : code === "EISDIR" ? "this is a folder" : message;
    throw new CpmError("io", `${path}: could not be written (${why}); check ${option}`, { file: path }, { cause });
  }
}

/** Rejects with CpmError "io", naming `option`, where no file can be put at `path`: call it before the work whose result goes there. */
export async function checkPlace(path: string | undefined, option: string): Promise<void> {
  if (path === undefined) return;
  const isFolder = (folder: string) => stat(folder).then((found) => found.isDirectory());
  const refuse = (why: string) => new CpmError("io", `${path}: ${why}; check ${option}`, { file: path });
  if (await isFolder(path).catch(() => false)) throw refuse("this is a folder, and a file is written");
  const folder = dirname(path);
  if (!(await isFolder(folder).catch(() => false))) throw refuse(`there is no folder ${folder}: make it first`);
  await access(folder, constants.W_OK).catch((cause: unknown) => {
    throw refuse(`${folder} cannot be written to (${reasonOf(cause)})`);
  });
}

/** Makes a folder and what is missing above it. Rejects with CpmError "io", naming `option`. */
export async function makeFolder(path: string, option: string): Promise<void> {
  const isFolder = (folder: string) =>
    stat(folder).then(
      (found) => found.isDirectory(),
      () => false,
    );
  await make(path, { mkdir, isFolder, parent: dirname }).catch((cause: unknown) => {
    throw new CpmError(
      "io",
      `${path}: no folder can be made there (${reasonOf(cause)}); check ${option}`,
      { file: path },
      { cause },
    );
  });
}

/** Ends the process. Whoever reads our output may stop reading: that is no failure. */
export function outputFailed(error: NodeJS.ErrnoException): never {
  if (error.code === "EPIPE") process.exit(0);
  note(`the output could not be written: ${error.code === "ENOSPC" ? "the disk is full" : error.message}`);
  process.exit(1);
}

export const note = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

export const printJson = (value: unknown): Promise<void> => write(`${visibleJson(JSON.stringify(value, jsonValue))}\n`);

/** Typed arrays as lists, big integers as numbers where they fit, else as text. */
export function jsonValue(_: string, value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  return ArrayBuffer.isView(value) ? Array.from(value as unknown as ArrayLike<unknown>) : value;
}

/** Columns side by side, numbers to the right. Cells hold what files say: each is one line without controls. */
export function table(cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map((cell) => visibleLine(cell)));
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  const numeric = widths.map((_, i) => rows.length > 1 && rows.slice(1).every((row) => /^-?[\d.]*$/.test(row[i]!)));
  const padded = (cell: string, i: number) => (numeric[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!));
  return rows.map((row) => row.map(padded).join("  ").trimEnd()).join("\n");
}

/** Tokens per second and other measures: three digits are all that is meant. */
export const short = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

export const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

/** Peak resident set of this process, in bytes. */
export const peakMemoryBytes = (): number => process.resourceUsage().maxRSS * 1024;
