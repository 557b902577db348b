// Jinja's filters by name: those of numbers and of any value here, and tojson as transformers has it.
import { needNumber, needText } from "./arguments.ts";
import { bind, type Filter, raise } from "./filter.ts";
import { toJson } from "./format.ts";
import { listFilters } from "./listfilters.ts";
import { rounded, toReal } from "./numbers.ts";
import * as s from "./strings.ts";
import { textFilters } from "./textfilters.ts";
import { asFloat, asInt, isNumber, iterate, repr, text, truthy, Undefined, undefinedError } from "./values.ts";

const toInt: Filter = (value, args) => {
  const bound = bind("int", "default base", args);
  const fallback = bound.has("default") ? bound.get("default")! : 0n;
  const base = bound.int("base", 10);
  const whole = asInt(value);
  if (whole !== undefined) return whole;
  if (typeof value === "number") return Number.isFinite(value) ? BigInt(Math.trunc(value)) : fallback;
  if (typeof value !== "string") return value instanceof Undefined ? raiseUndefined(value) : fallback;
  const plain = s.strip(value, undefined, "both").replace(/(?<=\w)_(?=\w)/g, "");
  const [, sign = "", digits = ""] = /^([+-]?)([\s\S]*)$/.exec(plain)!;
  const prefixed =
    base === 16
      ? digits.replace(/^0x/i, "")
      : base === 8
        ? digits.replace(/^0o/i, "")
        : base === 2
          ? digits.replace(/^0b/i, "")
          : digits;
  if (base === 10 ? /^\d{1,4300}$/.test(prefixed) : prefixed.length > 0 && prefixed.length < 4300) {
    let made = 0n;
    for (const c of prefixed) {
      const digit = Number.parseInt(c, 36);
      if (!(digit < base)) return fallback;
      made = made * BigInt(base) + BigInt(digit);
    }
    return sign === "-" ? -made : made;
  }
  const real = toReal(plain);
  return real !== undefined && Number.isFinite(real) ? BigInt(Math.trunc(real)) : fallback;
};
const raiseUndefined = (value: Undefined): never => {
  throw undefinedError(value);
};
const filters: Readonly<Record<string, Filter>> = {
  ...listFilters,
  ...textFilters,
  abs: (value) => {
    const n = needNumber(value, "abs");
    const whole = asInt(n);
    return whole === undefined ? Math.abs(n as number) : whole < 0n ? -whole : whole;
  },
  attr: (value, args, machine) => machine.attribute(value, bind("attr", "name", args).text("name")),
  default: (value, args) => {
    const bound = bind("default", "default_value boolean", args);
    return value instanceof Undefined || (bound.flag("boolean", false) && !truthy(value))
      ? bound.has("default_value")
        ? bound.get("default_value")!
        : ""
      : value;
  },
  filesizeformat: (value, args, { budget }) => {
    const binary = bind("filesizeformat", "binary", args).flag("binary", false);
    const bytes = isNumber(value)
      ? asFloat(value)
      : (toReal(text(value, budget.spend)) ?? raise("filesizeformat needs a number"));
    const base = binary ? 1024 : 1000;
    if (bytes === 1) return "1 Byte";
    if (bytes < base) return `${Math.trunc(bytes)} Bytes`;
    const units = binary
      ? ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]
      : ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    let unit = base ** 2;
    for (const [i, name] of units.entries()) {
      unit = base ** (i + 2);
      if (bytes < unit || i === units.length - 1) return `${((base * bytes) / unit).toFixed(1)} ${name}`;
    }
    return "";
  },
  float: (value, args) => {
    const fallback = bind("float", "default", args).get("default") ?? 0;
    if (isNumber(value)) return asFloat(value);
    if (value instanceof Undefined) return raiseUndefined(value);
    return (typeof value === "string" ? toReal(value) : undefined) ?? fallback;
  },
  int: toInt,
  pprint: (value, _, { budget }) => repr(value, budget.spend),
  round: (value, args) => {
    const bound = bind("round", "precision method", args);
    const number = needNumber(value, "round");
    const [digits, method] = [bound.int("precision", 0), bound.text("method", "common")];
    const whole = asInt(number);
    // Jinja gives ints back only by the common method, and only for ints.
    if (whole !== undefined && method === "common") {
      if (digits >= 0) return whole;
      const unit = 10n ** BigInt(Math.min(-digits, 5000));
      const twice = 2n * (((whole % unit) + unit) % unit);
      const down = whole - (((whole % unit) + unit) % unit);
      return twice > unit || (twice === unit && (down / unit) % 2n !== 0n) ? down + unit : down;
    }
    return rounded(asFloat(number), digits, method);
  },
  safe: (value, _, { budget }) => text(value, budget.spend),
  string: (value, _, { budget }) => text(value, budget.spend),
  tojson: (value, args, { budget }) => {
    const bound = bind("tojson", "ensure_ascii indent separators sort_keys", args);
    if (args.positional.length > 1 && isNumber(args.positional[0]!) && typeof args.positional[0] !== "boolean")
      raise("tojson takes ensure_ascii, indent, separators, sort_keys");
    const spaces = bound.get("indent");
    const count = spaces === undefined || spaces === null ? undefined : asInt(spaces);
    if (count !== undefined) budget.characters(Number(count));
    const indentation =
      count === undefined
        ? spaces === undefined || spaces === null
          ? undefined
          : needText(spaces, "tojson")
        : " ".repeat(Math.max(0, Number(count)));
    const marks = bound.get("separators");
    const pair = marks === undefined || marks === null ? undefined : iterate(marks).map((mark) => needText(mark, "tojson"));
    const made = toJson(value, budget, {
      indent: indentation,
      item: pair?.[0] ?? (indentation === undefined ? ", " : ","),
      key: pair?.[1] ?? ": ",
      sort: bound.flag("sort_keys", false),
      ascii: bound.flag("ensure_ascii", false),
    });
    budget.characters(made.length);
    return made;
  },
};
const aliases: Readonly<Record<string, string>> = { d: "default", e: "escape", count: "length", forceescape: "escape" };

export function filterNamed(name: string): Filter | undefined {
  const own = Object.hasOwn(aliases, name) ? aliases[name]! : name;
  return Object.hasOwn(filters, own) ? filters[own] : undefined;
}
