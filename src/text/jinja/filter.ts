// What filters are, and what they share.
import { Bound } from "./arguments.ts";
import type { Budget } from "./budget.ts";
import { type Args, iterate, type Value } from "./values.ts";

/** What filters need from the interpreter. */
export interface Machine {
  readonly budget: Budget;
  /** object.name or object["name"], undefined objects where there is nothing. */
  attribute(object: Value, name: string): Value;
  item(object: Value, key: Value): Value;
  filter(name: string, value: Value, args: Args): Value;
  test(name: string, value: Value, args: readonly Value[]): boolean;
}

/** A filter: of a value, with what stands in parentheses. */
export type Filter = (value: Value, args: Args, machine: Machine) => Value;

/** The arguments, by the names that `params` lists. */
export const bind = (name: string, params: string, args: Args) => new Bound(name, params === "" ? [] : params.split(" "), args);

/** A value's items, paid for. */
export const items = (value: Value, budget: Budget): readonly Value[] => {
  const all = iterate(value);
  budget.items(all.length);
  return all;
};

/** Throws a TypeError of Python's. */
export const raise = (message: string): never => {
  throw new Error(`TypeError: ${message}`);
};
