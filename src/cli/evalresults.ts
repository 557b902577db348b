// Results of a measurement, a JSON line each, written as they come: the same command goes on from them after a kill.
import { createHash } from "node:crypto";
import { type FileHandle, open, readFile, stat } from "node:fs/promises";
import { CpmError } from "../index.ts";
import { reasonOf } from "../shown.ts";
import { checkPlace } from "./output.ts";

const NAME = "cpm-eval";

export class ResultsFile<T extends { readonly id: string }> implements AsyncDisposable {
  /** Results of earlier runs. */
  readonly known: readonly T[];
  readonly #handle: FileHandle;
  readonly #path: string;

  private constructor(handle: FileHandle, path: string, known: readonly T[]) {
    this.#handle = handle;
    this.#path = path;
    this.known = known;
  }

  /**
   * Opens a file of results, or begins one. `settings`: all that decides a result. A last line that was cut off is dropped.
   * Rejects with CpmError "io" where the file holds something else, or results of other settings, unless `force` begins it anew.
   */
  static async open<T extends { readonly id: string }>(path: string, settings: unknown, force: boolean): Promise<ResultsFile<T>> {
    const hash = createHash("sha256").update(JSON.stringify(settings)).digest("hex").slice(0, 16);
    await checkPlace(path, "--results");
    const there = await stat(path).catch(() => undefined);
    if (there && !there.isFile()) throw new CpmError("io", `${path}: this is no ordinary file; check --results`, { file: path });
    const text = force
      ? undefined
      : await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
          if (cause.code === "ENOENT") return undefined;
          throw failed(path, cause);
        });
    const whole = text === undefined ? "" : text.slice(0, text.lastIndexOf("\n") + 1);
    const known = whole === "" ? [] : resultsOf<T>(path, whole, hash);
    if (text !== undefined && text !== "" && whole === "" && !`{"${NAME}":`.startsWith(text.slice(0, 12))) throw foreign(path);
    try {
      const handle = await open(path, text === undefined ? "w" : "r+");
      await handle.truncate(Buffer.byteLength(whole));
      const file = new ResultsFile<T>(handle, path, known);
      if (whole === "") await file.#line({ [NAME]: 1, settings: hash });
      return file;
    } catch (cause) {
      throw failed(path, cause);
    }
  }

  /** Writes a result down. Rejects with CpmError "io". */
  async add(result: T): Promise<void> {
    await this.#line(result);
  }

  async #line(value: object): Promise<void> {
    const bytes = Buffer.from(`${JSON.stringify(value)}\n`);
    try {
      const { size } = await this.#handle.stat();
      await this.#handle.write(bytes, 0, bytes.length, size);
    } catch (cause) {
      throw failed(this.#path, cause);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close().catch(() => {});
  }
}

function resultsOf<T extends { readonly id: string }>(path: string, text: string, hash: string): T[] {
  const lines = text.split("\n").filter((line) => line !== "");
  const [head, ...rest] = lines.map((line, i) => {
    try {
      const value: unknown = JSON.parse(line);
      if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
    } catch {}
    throw i === 0 ? foreign(path) : damaged(path, i + 1);
  });
  if (head![NAME] !== 1) throw foreign(path);
  if (head!["settings"] !== hash)
    throw new CpmError(
      "io",
      `${path}: these are results of another model, other tasks or other options; give another name, or --force to begin anew`,
      { file: path },
    );
  return rest.map((value, i) => {
    if (typeof value["id"] !== "string" || typeof value["score"] !== "number") throw damaged(path, i + 2);
    return value as unknown as T;
  });
}

const foreign = (path: string): CpmError =>
  new CpmError("io", `${path}: this is no file of results; give another name, or --force to replace it`, { file: path });
const damaged = (path: string, line: number): CpmError =>
  new CpmError("io", `${path}:${line}: this line is no result; take it out, or begin anew with --force`, { file: path });

function failed(path: string, cause: unknown): CpmError {
  if (cause instanceof CpmError) return cause;
  const { code } = cause as NodeJS.ErrnoException;
  const why =
    code === "ENOSPC" || code === "EDQUOT" ? "the disk is full" : code === "EISDIR" ? "this is a folder" : reasonOf(cause);
  return new CpmError("io", `${path}: could not be written (${why}); check --results`, { file: path }, { cause });
}
