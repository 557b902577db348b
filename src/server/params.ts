// A request's JSON, read strictly: every parameter is read, known to be without effect, or refused by name.
import { Problem } from "./problem.ts";

/** A finite range of a number. */
export interface Range {
  readonly least?: number;
  readonly most?: number;
  readonly integer?: boolean;
}

const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? typeof value;
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
};

export const invalid = (param: string, expected: string, found: unknown): Problem =>
  new Problem(400, `${param}: expected ${expected}, found ${shown(found)}`, { code: "invalid_value", param });

export const unsupported = (param: string, why: string): Problem =>
  new Problem(400, `${param}: ${why}`, { code: "unsupported_parameter", param });

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** One JSON object of a request. null counts as absent, as the clients write it. */
export class Params {
  readonly #value: Readonly<Record<string, unknown>>;
  readonly #path: string;
  readonly #known = new Set<string>();

  /** @throws Problem 400 when `value` is no object. `path` stands before the names in messages. */
  constructor(value: unknown, path = "") {
    if (!isObject(value)) throw invalid(path === "" ? "body" : path, "a JSON object", value);
    this.#value = value;
    this.#path = path;
  }

  name(field: string): string {
    return this.#path === "" ? field : `${this.#path}.${field}`;
  }

  raw(field: string): unknown {
    this.#known.add(field);
    return Object.hasOwn(this.#value, field) ? (this.#value[field] ?? undefined) : undefined;
  }

  text(field: string): string | undefined {
    const value = this.raw(field);
    if (value !== undefined && typeof value !== "string") throw invalid(this.name(field), "a string", value);
    return value;
  }

  flag(field: string): boolean | undefined {
    const value = this.raw(field);
    if (value !== undefined && typeof value !== "boolean") throw invalid(this.name(field), "true or false", value);
    return value;
  }

  number(field: string, { least = -Infinity, most = Infinity, integer = false }: Range = {}): number | undefined {
    const value = this.raw(field);
    if (value === undefined) return undefined;
    const fits = typeof value === "number" && Number.isFinite(value) && value >= least && value <= most;
    if (!fits || (integer && !Number.isSafeInteger(value))) {
      const bounds = [least > -Infinity ? `at least ${least}` : "", most < Infinity ? `at most ${most}` : ""].filter(Boolean);
      throw invalid(this.name(field), [integer ? "a whole number" : "a number", ...bounds].join(", "), value);
    }
    return value;
  }

  integer(field: string, least: number, most = Number.MAX_SAFE_INTEGER): number | undefined {
    return this.number(field, { least, most, integer: true });
  }

  oneOf<T extends string>(field: string, values: readonly T[]): T | undefined {
    const value = this.raw(field);
    if (value !== undefined && !values.includes(value as T))
      throw invalid(this.name(field), values.map((v) => `"${v}"`).join(" or "), value);
    return value as T | undefined;
  }

  list(field: string): readonly unknown[] | undefined {
    const value = this.raw(field);
    if (value !== undefined && !Array.isArray(value)) throw invalid(this.name(field), "a list", value);
    return value as readonly unknown[] | undefined;
  }

  /** A nested object, to be read and ended by the caller. */
  object(field: string): Params | undefined {
    const value = this.raw(field);
    return value === undefined ? undefined : new Params(value, this.name(field));
  }

  /** Says that these parameters have no effect on the answer, whatever they hold (labels of the caller's own). */
  ignore(...fields: readonly string[]): void {
    for (const field of fields) this.#known.add(field);
  }

  /** Takes a parameter whose default does nothing here; any other value is refused. */
  only(field: string, values: readonly unknown[], why: string): void {
    const value = this.raw(field);
    if (value === undefined || values.some((v) => JSON.stringify(v) === JSON.stringify(value))) return;
    throw unsupported(this.name(field), `${shown(value)}: ${why}`);
  }

  /** @throws Problem 400 naming the first parameter that nobody read. */
  end(): void {
    for (const [field, value] of Object.entries(this.#value))
      if (!this.#known.has(field) && value !== null && value !== undefined)
        throw new Problem(400, `${this.name(field)}: this server has no such parameter`, {
          code: "unknown_parameter",
          param: this.name(field),
        });
  }
}
