// Typed access to metadata that may hold anything.
import { modelError } from "../errors.ts";
import { shown } from "../file/json.ts";

/** Reads checked values of one metadata object; errors name the file and the field. */
export class Fields {
  readonly file: string;
  readonly #get: (key: string) => unknown;

  readonly #within: string;

  /** `within`: put before keys in errors. */
  constructor(file: string, get: (key: string) => unknown, within = "") {
    this.file = file;
    this.#get = get;
    this.#within = within;
  }

  /** The same file's fields whose keys begin with `prefix`. */
  under(prefix: string): Fields {
    return new Fields(this.file, (key) => this.#get(prefix + key), this.#within + prefix);
  }

  raw(key: string): unknown {
    return this.#get(key) ?? undefined;
  }

  fail(field: string, expected: string, found: unknown, what = "value"): never {
    throw modelError({ file: this.file, field: this.#within + field, expected, found: shown(found) }, what);
  }

  /** A whole number in [least, most]; `fallback` when absent (absent without a fallback is an error). */
  count(key: string, least: number, most: number, fallback?: number): number {
    const value = this.raw(key) ?? fallback;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least || value > most)
      this.fail(key, `a whole number from ${least} to ${most}`, value);
    return value;
  }

  /** A finite number; positive unless `any`. */
  number(key: string, fallback?: number): number {
    const value = this.raw(key) ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value) || value <= 0) this.fail(key, "a positive number", value);
    return value;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.raw(key) ?? fallback;
    if (typeof value !== "boolean") this.fail(key, "true or false", value);
    return value;
  }

  text(key: string): string | undefined {
    const value = this.raw(key);
    if (value !== undefined && typeof value !== "string") this.fail(key, "text", value);
    return value;
  }

  object(key: string): Record<string, unknown> | undefined {
    const value = this.raw(key);
    if (value === undefined) return undefined;
    if (typeof value !== "object" || Array.isArray(value)) this.fail(key, "an object", value);
    return value as Record<string, unknown>;
  }
}

/** Limits that keep every size computed from a file within what memory could ever hold. */
export const LIMITS = {
  layers: 1024,
  hidden: 65536,
  inner: 1 << 20,
  heads: 1024,
  headDim: 1024,
  vocab: 1 << 22,
  context: 1 << 26,
} as const;
