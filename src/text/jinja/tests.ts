// Jinja's tests: what stands behind "is".
import type { Budget } from "./budget.ts";
import { binary, compares, contains } from "./operators.ts";
import {
  asInt,
  Callable,
  equal,
  isIterable,
  isNumber,
  PyDict,
  PyList,
  PyObject,
  PyRange,
  PyTuple,
  text,
  textOf,
  Undefined,
  type Value,
} from "./values.ts";

type Test = (value: Value, args: readonly Value[], budget: Budget) => boolean;
const compared =
  (operator: string): Test =>
  (value, args, budget) =>
    compares(operator, value, need(args), budget);
const need = (args: readonly Value[]): Value => {
  if (args[0] === undefined) throw new Error("TypeError: this test needs an argument");
  return args[0];
};
const remainder = (value: Value, by: Value, budget: Budget) => equal(binary("%", value, by, budget), 0n);
const isString = (value: Value) => textOf(value) !== undefined;

const table: Readonly<Record<string, Test>> = {
  boolean: (value) => typeof value === "boolean",
  // Undefined has every method of its own, which are the ones that fail.
  callable: (value) =>
    value instanceof Undefined || value instanceof Callable || (value instanceof PyObject && value.call !== undefined),
  defined: (value) => !(value instanceof Undefined),
  undefined: (value) => value instanceof Undefined,
  divisibleby: (value, args, budget) => remainder(value, need(args), budget),
  escaped: () => false,
  even: (value, _, budget) => remainder(value, 2n, budget),
  odd: (value, _, budget) => equal(binary("%", value, 2n, budget), 1n),
  false: (value) => value === false,
  true: (value) => value === true,
  none: (value) => value === null,
  float: (value) => typeof value === "number",
  integer: (value) => typeof value === "bigint",
  number: isNumber,
  string: isString,
  mapping: (value) => value instanceof PyDict,
  iterable: (value) => isIterable(value),
  sequence: (value) =>
    typeof value === "string" ||
    value instanceof Undefined ||
    value instanceof PyList ||
    value instanceof PyTuple ||
    value instanceof PyDict ||
    value instanceof PyRange,
  sameas: (value, args) =>
    value === need(args) || (typeof value === "bigint" && value === asInt(need(args)) && typeof args[0] === "bigint"),
  lower: (value, _, budget) => {
    const s = text(value, budget.spend);
    return /\p{Lowercase}/u.test(s) && !/[\p{Uppercase}\p{Lt}]/u.test(s);
  },
  upper: (value, _, budget) => {
    const s = text(value, budget.spend);
    return /\p{Uppercase}/u.test(s) && !/[\p{Lowercase}\p{Lt}]/u.test(s);
  },
  in: (value, args, budget) => contains(need(args), value, budget),
};
for (const [names, operator] of [
  ["eq equalto ==", "=="],
  ["ne !=", "!="],
  ["lt lessthan <", "<"],
  ["le <=", "<="],
  ["gt greaterthan >", ">"],
  ["ge >=", ">="],
] as const)
  for (const name of names.split(" ")) (table as Record<string, Test>)[name] = compared(operator);

/** The test of this name; "filter" and "test" are the interpreter's own. */
export const testNamed = (name: string): Test | undefined => (Object.hasOwn(table, name) ? table[name] : undefined);
