// Python's operators on a template's values.
import type { Budget } from "./budget.ts";
import { percent } from "./format.ts";
import { codePoints, find } from "./strings.ts";
import {
  asFloat,
  asInt,
  bounded,
  compare,
  equal,
  isNumber,
  iterate,
  PyDict,
  PyList,
  PyRange,
  PyTuple,
  PyView,
  textOf,
  typeName,
  Undefined,
  undefinedError,
  type Value,
} from "./values.ts";

const unsupported = (operator: string, a: Value, b: Value): Error => {
  for (const value of [a, b]) if (value instanceof Undefined) return undefinedError(value);
  return new Error(`TypeError: unsupported operand type(s) for ${operator}: '${typeName(a)}' and '${typeName(b)}'`);
};

export function binary(operator: string, a: Value, b: Value, budget: Budget): Value {
  if (isNumber(a) && isNumber(b)) return arithmetic(operator, a, b);
  if (operator === "%" && typeof a === "string") return percent(a, b, budget);
  if (operator === "+") {
    const [s, t] = [textOf(a), textOf(b)];
    if (s !== undefined && t !== undefined && (typeof a === "string" || typeof b === "string")) {
      budget.characters(s.length + t.length);
      return s + t;
    }
    if (a instanceof PyList && b instanceof PyList) {
      budget.items(a.items.length + b.items.length);
      return new PyList([...a.items, ...b.items]);
    }
    if (a instanceof PyTuple && b instanceof PyTuple) {
      budget.items(a.items.length + b.items.length);
      return new PyTuple([...a.items, ...b.items]);
    }
  }
  if (operator === "*") {
    const [sequence, count] = asInt(a) === undefined ? [a, asInt(b)] : [b, asInt(a)];
    if (count !== undefined) {
      const times = count < 0n ? 0 : Number(count);
      if (typeof sequence === "string") {
        budget.characters(times * sequence.length);
        return sequence === "" ? "" : sequence.repeat(times);
      }
      if (sequence instanceof PyList || sequence instanceof PyTuple) {
        budget.items(times * sequence.items.length);
        const items = sequence.items.length === 0 ? [] : Array.from({ length: times }, () => sequence.items).flat();
        return sequence instanceof PyList ? new PyList(items) : new PyTuple(items);
      }
    }
  }
  throw unsupported(operator === "**" ? "** or pow()" : operator, a, b);
}

function arithmetic(operator: string, a: boolean | bigint | number, b: boolean | bigint | number): Value {
  const [x, y] = [asInt(a), asInt(b)];
  if (x !== undefined && y !== undefined && operator !== "/" && !(operator === "**" && y < 0n)) return whole(operator, x, y);
  const [p, q] = [asFloat(a), asFloat(b)];
  switch (operator) {
    case "+":
      return p + q;
    case "-":
      return p - q;
    case "*":
      return p * q;
    case "**":
      if (p === 0 && q < 0) throw new Error("ZeroDivisionError: 0.0 cannot be raised to a negative power");
      return p ** q;
    default: {
      if (q === 0) throw new Error("ZeroDivisionError: division by zero");
      if (operator === "/") return p / q;
      const rest = p % q;
      const modulo = rest !== 0 && rest < 0 !== q < 0 ? rest + q : rest === 0 ? Math.sign(q) * 0 : rest;
      if (operator === "%") return modulo;
      const quotient = (p - modulo) / q;
      const floor = Math.floor(quotient);
      return quotient === 0 ? (p / q < 0 || Object.is(p / q, -0) ? -0 : 0) : quotient - floor > 0.5 ? floor + 1 : floor;
    }
  }
}

function whole(operator: string, x: bigint, y: bigint): bigint {
  switch (operator) {
    case "+":
      return bounded(x + y);
    case "-":
      return bounded(x - y);
    case "*":
      return bounded(x * y);
    case "**":
      if (y > 20_000n && x !== 0n && x !== 1n && x !== -1n) throw new Error("it makes a number of more than 4300 characters");
      if (BigInt(x.toString(2).length) * y > 20_000n)
        return x === 0n || x === 1n ? x : x === -1n ? (y % 2n ? -1n : 1n) : bounded(10n ** 4300n);
      return bounded(x ** y);
    default: {
      if (y === 0n) throw new Error("ZeroDivisionError: integer division or modulo by zero");
      const rest = x % y;
      const down = rest !== 0n && rest < 0n !== y < 0n;
      return operator === "%" ? (down ? rest + y : rest) : down ? x / y - 1n : x / y;
    }
  }
}

export function contains(container: Value, item: Value, budget: Budget): boolean {
  const text = textOf(container);
  if (
    typeof container === "string" ||
    (text !== undefined && typeof item === "string" && !(container instanceof PyDict || container instanceof PyList))
  ) {
    const part = textOf(item);
    if (part === undefined) {
      if (item instanceof Undefined) throw undefinedError(item);
      throw new Error(`TypeError: 'in <string>' requires string as left operand, not ${typeName(item)}`);
    }
    budget.spend((text!.length + part.length) / 16);
    return find(text!, part) >= 0;
  }
  if (container instanceof PyDict) return container.has(item);
  const items = iterate(container);
  budget.spend(items.length / 4);
  return items.some((other) => {
    budget.value(other);
    return equal(other, item);
  });
}

export function compares(operator: string, a: Value, b: Value, budget: Budget): boolean {
  if (operator !== "in" && operator !== "not in") {
    budget.value(a);
    budget.value(b);
  }
  switch (operator) {
    case "==":
      return equalWithin(a, b, budget);
    case "!=":
      return !equalWithin(a, b, budget);
    case "in":
      return contains(b, a, budget);
    case "not in":
      return !contains(b, a, budget);
    case "<":
      return compare(a, b, operator) < 0;
    case "<=":
      return compare(a, b, operator) <= 0;
    case ">":
      return compare(a, b, operator) > 0;
    default:
      return compare(a, b, operator) >= 0;
  }
}

/** Equality of containers is priced by what is in them: lists may hold the same list many times. */
function equalWithin(a: Value, b: Value, budget: Budget): boolean {
  if (a instanceof PyList || a instanceof PyTuple) weigh(a, budget, 0);
  if (a instanceof PyDict) weigh(a, budget, 0);
  return equal(a, b);
}
export function weigh(value: Value, budget: Budget, depth: number): void {
  if (depth > 300) throw new Error("RecursionError: a value nested more than 300 deep");
  budget.spend(1 / 16);
  budget.value(value);
  if (value instanceof PyList || value instanceof PyTuple || value instanceof PyView)
    for (const item of value.items) weigh(item, budget, depth + 1);
  else if (value instanceof PyDict) for (const [, item] of value.map.values()) weigh(item, budget, depth + 1);
}

const index = (key: Value): number | undefined => {
  const at = asInt(key);
  return at === undefined ? undefined : Number(at);
};

/** object[key]; undefined where there is nothing. */
export function getItem(object: Value, key: Value, budget: Budget): Value | undefined {
  if (object instanceof PyDict) return object.get(key);
  const at = index(key);
  if (at === undefined) return undefined;
  if (typeof object === "string") {
    budget.spend(object.length / 16);
    return codePoints(object).at(at);
  }
  if (object instanceof PyList || object instanceof PyTuple || object instanceof PyRange) return object.items.at(at);
  return undefined;
}

export function slice(object: Value, parts: readonly Value[], budget: Budget): Value {
  budget.value(object);
  const items =
    typeof object === "string"
      ? codePoints(object)
      : object instanceof PyList || object instanceof PyTuple || object instanceof PyRange
        ? object.items
        : undefined;
  if (items === undefined) {
    const source = textOf(object);
    if (source !== undefined) return slice(source, parts, budget);
    if (object instanceof Undefined) throw undefinedError(object);
    throw new Error(`TypeError: '${typeName(object)}' object is not subscriptable`);
  }
  const bound = (value: Value | undefined) => {
    if (value === undefined || value === null) return undefined;
    const at = asInt(value);
    if (at === undefined) throw new Error("TypeError: slice indices must be integers or None");
    return Number(at);
  };
  const step = bound(parts[2]) ?? 1;
  if (step === 0) throw new Error("ValueError: slice step cannot be zero");
  const clamp = (at: number, least: number, most: number) => Math.max(least, Math.min(most, at < 0 ? at + items.length : at));
  const [least, most] = step > 0 ? [0, items.length] : [-1, items.length - 1];
  const from = bound(parts[0]);
  const to = bound(parts[1]);
  const begin = from === undefined ? (step > 0 ? 0 : items.length - 1) : clamp(from, least, most);
  const end = to === undefined ? (step > 0 ? items.length : -1) : clamp(to, least, most);
  if (object instanceof PyRange) {
    const at = (i: number) => object.start + BigInt(i) * object.step;
    return new PyRange(at(begin), at(end), object.step * BigInt(step));
  }
  const picked: Value[] = [];
  for (let i = begin; step > 0 ? i < end : i > end; i += step) picked.push(items[i]!);
  if (typeof object === "string") return picked.join("");
  return object instanceof PyTuple ? new PyTuple(picked) : new PyList(picked);
}

export function negate(value: Value, sign: 1 | -1): Value {
  const whole = asInt(value);
  if (whole !== undefined) return sign < 0 ? -whole : whole;
  if (typeof value === "number") return sign * value;
  if (value instanceof Undefined) throw undefinedError(value);
  throw new Error(`TypeError: bad operand type for unary ${sign < 0 ? "-" : "+"}: '${typeName(value)}'`);
}
