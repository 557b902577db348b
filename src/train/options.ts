// Checking what a configuration says: every value with its place, every name that is none refused.
import { isRecord, kindOf } from "../brands.ts";
import { CpmError, didYouMean } from "../errors.ts";
import { shown } from "../shown.ts";

interface NumberRange {
  readonly least?: number;
  readonly most?: number;
  readonly whole?: boolean;
}

/** An object of a configuration. `path`: where it stands, "" for the whole; `file`: what messages begin with. */
export class Part {
  readonly path: string;
  readonly file: string;
  readonly #values: Readonly<Record<string, unknown>>;

  /** @throws CpmError "bad-option" for what is no object, and for unknown names in it */
  constructor(value: unknown, file: string, path: string, names: readonly string[]) {
    this.file = file;
    this.path = path;
    if (!isRecord(value)) this.#refuse(path, "an object", kindOf(value));
    this.#values = value as Record<string, unknown>;
    for (const name of Object.keys(this.#values))
      if (!names.includes(name))
        this.#refuse(this.at(name), `one of ${names.join(", ")}`, `an unknown name${didYouMean(name, names)}`);
  }

  at(name: string): string {
    return this.path === "" ? name : `${this.path}.${name}`;
  }

  #refuse(field: string, expected: string, found: string): never {
    const where = field === "" ? this.file : `${this.file}: ${field}`;
    throw new CpmError("bad-option", `${where}: expected ${expected}, found ${found}`, {
      file: this.file,
      field,
      expected,
      found,
    });
  }

  /** @throws CpmError "bad-option" about a field */
  fail(name: string, expected: string, found: unknown = this.raw(name)): never {
    const what = typeof found === "object" && found !== null && !Array.isArray(found) ? kindOf(found) : shown(found);
    this.#refuse(this.at(name), expected, what);
  }

  /** null is absent. */
  raw(name: string): unknown {
    return (Object.hasOwn(this.#values, name) ? this.#values[name] : undefined) ?? undefined;
  }

  has(name: string): boolean {
    return this.raw(name) !== undefined;
  }

  number(name: string, range: NumberRange = {}, fallback?: number): number {
    const { least = 0, whole = false } = range;
    const most = range.most ?? (whole ? Number.MAX_SAFE_INTEGER : Number.MAX_VALUE);
    const value = this.raw(name) ?? fallback;
    if (typeof value !== "number" || !(value >= least && value <= most) || (whole && !Number.isInteger(value)))
      this.fail(name, `a ${whole ? "whole " : ""}number from ${least}${range.most === undefined ? " on" : ` to ${most}`}`, value);
    return value;
  }

  count(name: string, least: number, fallback?: number, most?: number): number {
    return this.number(name, { least, whole: true, ...(most === undefined ? {} : { most }) }, fallback);
  }

  maybe<T>(name: string, read: () => T): T | undefined {
    return this.has(name) ? read() : undefined;
  }

  text(name: string, fallback?: string): string {
    const value = this.raw(name) ?? fallback;
    if (typeof value !== "string" || value === "") this.fail(name, "a text", value);
    return value;
  }

  flag(name: string, fallback = false): boolean {
    const value = this.raw(name) ?? fallback;
    if (typeof value !== "boolean") this.fail(name, "true or false", value);
    return value;
  }

  choice<const T extends string>(name: string, choices: readonly T[], fallback?: T): T {
    const value = this.raw(name) ?? fallback;
    if (!choices.includes(value as T)) this.fail(name, choices.map((c) => JSON.stringify(c)).join(" or "), value);
    return value as T;
  }

  /** A list; `least`: entries that it has at least. */
  list(name: string, least = 0): readonly unknown[] {
    const value = this.raw(name) ?? [];
    if (!Array.isArray(value) || value.length < least)
      this.fail(name, `a list${least > 0 ? ` of ${least} or more` : ""}`, Array.isArray(value) ? "one that is shorter" : value);
    return value;
  }

  /** Texts: a list of them, or one. */
  texts(name: string, least = 0): readonly string[] {
    const value = this.raw(name);
    const list = typeof value === "string" ? [value] : this.list(name, least);
    if (!list.every((text) => typeof text === "string" && text !== "")) this.fail(name, "texts, none empty", value);
    return list as readonly string[];
  }

  numbers(name: string, length: number): readonly number[] {
    const list = this.list(name);
    if (list.length !== length || !list.every((x) => typeof x === "number" && Number.isFinite(x)))
      this.fail(name, `${length} numbers`);
    return list as readonly number[];
  }

  part(name: string, names: readonly string[]): Part {
    return new Part(this.raw(name) ?? {}, this.file, this.at(name), names);
  }

  parts(name: string, names: readonly string[], least = 0): readonly Part[] {
    return this.list(name, least).map((value, i) => new Part(value, this.file, `${this.at(name)}[${i}]`, names));
  }

  /** Plain data of any names. */
  record(name: string): Readonly<Record<string, unknown>> {
    const value = this.raw(name);
    if (!isRecord(value)) this.fail(name, "an object", value);
    return value;
  }
}
