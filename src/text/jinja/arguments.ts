// Reading the arguments of a call by Python's rules.
import { type Args, asInt, isNumber, textOf, truthy, typeName, Undefined, undefinedError, type Value } from "./values.ts";

/** Arguments by parameter name. Throws for unknown names, and for more than there are parameters. */
export class Bound {
  readonly #values = new Map<string, Value>();
  readonly #call: string;

  constructor(call: string, params: readonly string[], { positional, named }: Args) {
    this.#call = call;
    if (positional.length > params.length)
      throw new Error(`TypeError: ${call}() takes at most ${params.length} arguments, found ${positional.length}`);
    for (const [i, value] of positional.entries()) this.#values.set(params[i]!, value);
    for (const [name, value] of named) {
      if (!params.includes(name)) throw new Error(`TypeError: ${call}() got an unexpected argument "${name.slice(0, 60)}"`);
      this.#values.set(name, value);
    }
  }
  has(name: string): boolean {
    return this.#values.has(name);
  }
  get(name: string): Value | undefined {
    return this.#values.get(name);
  }
  need(name: string): Value {
    const value = this.#values.get(name);
    if (value === undefined) throw new Error(`TypeError: ${this.#call}() needs the argument "${name}"`);
    return value;
  }
  text(name: string, fallback?: string): string {
    const value = this.#values.get(name);
    if (value === undefined && fallback !== undefined) return fallback;
    return needText(this.need(name), this.#call);
  }
  /** A text, or undefined where absent or None. */
  maybe(name: string): string | undefined {
    const value = this.#values.get(name);
    return value === undefined || value === null ? undefined : needText(value, this.#call);
  }
  int(name: string, fallback?: number): number {
    const value = this.#values.get(name);
    if (value === undefined && fallback !== undefined) return fallback;
    const whole = asInt(this.need(name));
    if (whole === undefined) throw new Error(`TypeError: ${this.#call}(): "${name}" must be an integer, not ${typeName(value!)}`);
    return Number(whole);
  }
  flag(name: string, fallback: boolean): boolean {
    const value = this.#values.get(name);
    return value === undefined ? fallback : truthy(value);
  }
}

export function needText(value: Value, call: string): string {
  const text = textOf(value);
  if (text !== undefined) return text;
  if (value instanceof Undefined) throw undefinedError(value);
  throw new Error(`TypeError: ${call}() needs a text, not ${typeName(value)}`);
}
export function needNumber(value: Value, call: string): boolean | bigint | number {
  if (isNumber(value)) return value;
  if (value instanceof Undefined) throw undefinedError(value);
  throw new Error(`TypeError: ${call}() needs a number, not ${typeName(value)}`);
}
/** Rounds to the nearest, halves to even. */
export function roundEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
}
