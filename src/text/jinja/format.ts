// Python's two ways of formatting: "%" and str.format().
import type { Budget } from "./budget.ts";
import { codePoints, floatText, lengthOf } from "./strings.ts";
import {
  type Args,
  asFloat,
  asInt,
  isNumber,
  iterate,
  PyDict,
  PyList,
  PyTuple,
  repr,
  text,
  typeName,
  type Value,
} from "./values.ts";

const ascii = (value: string): string =>
  value.replace(
    /[\u0080-\uffff]/g,
    (c) =>
      `\\${c.charCodeAt(0) < 256 ? "x" : "u"}${c
        .charCodeAt(0)
        .toString(16)
        .padStart(c.charCodeAt(0) < 256 ? 2 : 4, "0")}`,
  );

const exponent = (s: string): string => s.replace(/e([+-])(\d)$/, "e$10$2");

/** A double with so many digits behind the point, rounded to nearest, halves to even. */
export function fixed(value: number, digits: number): string {
  // toFixed is exact below 1e21 and takes at most 100 digits.
  if (Math.abs(value) < 1e21) {
    const exact = value.toFixed(Math.min(digits, 100));
    // Exact halves go up there and to the even digit here; a float of 30 digits more is exact for all that can be one.
    const longer = value.toFixed(Math.min(digits + 30, 100));
    const cut = longer.length - (Math.min(digits + 30, 100) - digits);
    const kept = longer.slice(0, cut).replace(/\.$/, "");
    const even = /^50*$/.test(longer.slice(cut)) && Number(kept.at(-1)) % 2 === 0;
    return (even ? kept : exact) + "0".repeat(Math.max(0, digits - 100));
  }
  return `${BigInt(value)}${digits > 0 ? `.${"0".repeat(digits)}` : ""}`;
}

/** Python's presentation types e, f, g and %. */
function real(value: number, type: string, precision: number | undefined, alternate: boolean): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : "inf";
  const digits = Math.min(precision ?? 6, 1000);
  switch (type.toLowerCase()) {
    case "f":
      return fixed(value, digits);
    case "%":
      return `${fixed(value * 100, digits)}%`;
    case "e":
      return exponent(value.toExponential(Math.min(digits, 100)));
    default: {
      const most = Math.max(1, Math.min(digits, 100));
      const power = value === 0 ? 0 : Number(value.toExponential(most - 1).split("e")[1]);
      const raw = power < -4 || power >= most ? value.toExponential(most - 1) : value.toFixed(Math.max(0, most - 1 - power));
      if (alternate) return exponent(raw);
      const [mantissa, e] = raw.split("e") as [string, string | undefined];
      const short = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
      return exponent(e === undefined ? short : `${short}e${e}`);
    }
  }
}

interface Spec {
  readonly fill: string;
  readonly align: string;
  readonly sign: string;
  readonly alternate: boolean;
  readonly width: number;
  readonly grouping: string;
  readonly precision: number | undefined;
  readonly type: string;
}

function pad(body: string, sign: string, { fill, align, width }: Pick<Spec, "fill" | "align" | "width">, budget: Budget): string {
  const missing = width - lengthOf(body) - sign.length;
  if (missing <= 0) return sign + body;
  budget.characters(width);
  if (align === "=") return sign + fill.repeat(missing) + body;
  const left = align === "<" ? 0 : align === "^" ? Math.floor(missing / 2) : missing;
  return fill.repeat(left) + sign + body + fill.repeat(missing - left);
}

function number(value: boolean | bigint | number, spec: Spec): { body: string; sign: string } {
  const whole = asInt(value);
  const type = spec.type || (whole === undefined ? "" : "d");
  let body: string;
  let negative: boolean;
  if (whole !== undefined && "bcdoxXn".includes(type)) {
    negative = whole < 0n;
    const size = negative ? -whole : whole;
    const bases: Readonly<Record<string, number>> = { b: 2, o: 8, x: 16, X: 16 };
    if (type === "c") return { body: String.fromCodePoint(Number(size)), sign: "" };
    body = size.toString(bases[type] ?? 10);
    if (type === "X") body = body.toUpperCase();
    if (spec.grouping) body = group(body, spec.grouping, type === "d" || type === "n" ? 3 : 4);
    if (spec.alternate && bases[type]) body = `0${type}${body}`;
  } else {
    if (!"eEfFgGn%".includes(type))
      throw new Error(`ValueError: Unknown format code '${type}' for object of type '${typeName(value)}'`);
    const x = asFloat(value);
    negative = x < 0 || Object.is(x, -0);
    const size = Math.abs(x);
    if (type === "" && spec.precision === undefined) body = floatText(size);
    else if (type === "") {
      body = real(size, "g", spec.precision, false);
      if (/^\d+$/.test(body)) body += ".0";
    } else body = real(size, type === "n" ? "g" : type, spec.precision, spec.alternate);
    if ("EFG".includes(type) && type !== "") body = body.toUpperCase();
    if (spec.grouping) body = body.replace(/^\d+/, (digits) => group(digits, spec.grouping, 3));
  }
  return { body, sign: negative ? "-" : spec.sign === "+" || spec.sign === " " ? spec.sign : "" };
}

const group = (digits: string, mark: string, size: number): string => {
  const parts: string[] = [];
  for (let end = digits.length; end > 0; end -= size) parts.unshift(digits.slice(Math.max(0, end - size), end));
  return parts.join(mark);
};

/** format(value, spec). */
export function formatValue(value: Value, spec: string, budget: Budget): string {
  if (spec === "") return text(value, budget.spend);
  const match = /^(?:([\s\S]?[\ud800-\udfff]?)([<>=^]))?([+\- ]?)(#?)(0?)(\d*)([,_]?)(?:\.(\d+))?([a-zA-Z%]?)$/.exec(spec);
  if (!match) throw new Error("ValueError: Invalid format specifier");
  const [, fill, align, sign = "", hash, zero, width = "", grouping = "", precision, type = ""] = match;
  const full: Spec = {
    fill: fill || (zero ? "0" : " "),
    align: align ?? (zero ? "=" : ""),
    sign,
    alternate: hash === "#",
    width: Number(width),
    grouping,
    precision: precision === undefined ? undefined : Number(precision),
    type,
  };
  if (isNumber(value) && !(typeof value === "boolean" && type === "")) {
    const { body, sign: mark } = number(value, full);
    return pad(body, mark, { ...full, align: full.align || ">" }, budget);
  }
  if (typeof value !== "string" && typeof value !== "boolean")
    throw new Error(`TypeError: unsupported format string passed to ${typeName(value)}.__format__`);
  if (type !== "" && type !== "s") throw new Error(`ValueError: Unknown format code '${type}' for object of type 'str'`);
  const body = text(value, budget.spend);
  const cut = full.precision === undefined ? body : codePoints(body).slice(0, full.precision).join("");
  return pad(cut, "", { ...full, align: full.align === "=" || full.align === "" ? "<" : full.align }, budget);
}

/** text % value. */
export function percent(format: string, value: Value, budget: Budget): string {
  budget.characters(format.length);
  const values = value instanceof PyTuple ? value.items : [value];
  let next = 0;
  const take = (): Value => {
    if (next >= values.length) throw new Error("TypeError: not enough arguments for format string");
    return values[next++]!;
  };
  let named = false;
  const out = format.replace(
    /%(?:\(([^)]*)\))?([#0\- +]*)(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?([\s\S])?/g,
    (
      all,
      key: string | undefined,
      flags: string,
      width: string | undefined,
      precision: string | undefined,
      type: string | undefined,
    ) => {
      if (type === "%") return "%";
      const wide = width === "*" ? Number(asInt(take()) ?? 0n) : Number(width ?? 0);
      const exact =
        precision === "*"
          ? Number(asInt(take()) ?? 0n)
          : precision === undefined
            ? all.includes(".")
              ? 0
              : undefined
            : Number(precision);
      let item: Value;
      if (key !== undefined) {
        named = true;
        if (!(value instanceof PyDict)) throw new Error("TypeError: format requires a mapping");
        const found = value.get(key);
        if (found === undefined) throw new Error(`KeyError: '${key.slice(0, 60)}'`);
        item = found;
      } else item = take();
      const made = convert(item, type ?? "", flags, exact, budget);
      const left = flags.includes("-");
      const fill = flags.includes("0") && !left && made.numeric ? "0" : " ";
      return pad(made.body, made.sign, { fill, align: left ? "<" : fill === "0" ? "=" : ">", width: wide }, budget);
    },
  );
  if (!named && next < values.length && !(value instanceof PyDict || value instanceof PyList))
    throw new Error("TypeError: not all arguments converted during string formatting");
  budget.characters(out.length);
  return out;
}

function convert(
  item: Value,
  type: string,
  flags: string,
  precision: number | undefined,
  budget: Budget,
): { body: string; sign: string; numeric: boolean } {
  const sign = flags.includes("+") ? "+" : flags.includes(" ") ? " " : "";
  if (type === "s" || type === "r" || type === "a") {
    const whole = type === "s" ? text(item, budget.spend) : repr(item, budget.spend);
    const body = type === "a" ? ascii(whole) : whole;
    return { body: precision === undefined ? body : codePoints(body).slice(0, precision).join(""), sign: "", numeric: false };
  }
  if (type === "c")
    return { body: typeof item === "string" ? item : String.fromCodePoint(Number(asInt(item) ?? 0n)), sign: "", numeric: false };
  if (!isNumber(item)) throw new Error(`TypeError: %${type} format: a number is required, not ${typeName(item)}`);
  if ("diuoxX".includes(type) && type !== "") {
    const whole = asInt(item) ?? BigInt(Math.trunc(item as number));
    const made = number(whole, {
      fill: " ",
      align: ">",
      sign,
      alternate: flags.includes("#"),
      width: 0,
      grouping: "",
      precision: undefined,
      type: "diu".includes(type) ? "d" : type,
    });
    return { ...made, body: made.body.padStart(Math.min(precision ?? 0, 4300), "0"), numeric: true };
  }
  if (!"eEfFgG".includes(type) || type === "") throw new Error(`ValueError: unsupported format character '${type}'`);
  return {
    ...number(asFloat(item), {
      fill: " ",
      align: ">",
      sign,
      alternate: flags.includes("#"),
      width: 0,
      grouping: "",
      precision: precision ?? 6,
      type,
    }),
    numeric: true,
  };
}

/** text.format(...). `reach`: an attribute or item of a value. */
export function formatText(
  format: string,
  { positional, named }: Args,
  budget: Budget,
  reach: (object: Value, key: Value, attribute: boolean) => Value,
  depth = 0,
): string {
  if (depth > 2) throw new Error("ValueError: Max string recursion exceeded");
  budget.characters(format.length);
  let out = "";
  let auto = 0;
  for (let at = 0; at < format.length; ) {
    const c = format[at]!;
    if (c !== "{" && c !== "}") {
      const rest = /[{}]/.exec(format.slice(at));
      const end = rest ? at + rest.index : format.length;
      out += format.slice(at, end);
      at = end;
      continue;
    }
    if (format[at + 1] === c) {
      out += c;
      at += 2;
      continue;
    }
    if (c === "}") throw new Error("ValueError: Single '}' encountered in format string");
    let depthHere = 1;
    let end = at + 1;
    for (; end < format.length; end++) {
      if (format[end] === "{") depthHere++;
      else if (format[end] === "}" && --depthHere === 0) break;
    }
    if (depthHere !== 0) throw new Error("ValueError: expected '}' before end of string");
    const field = /^([^!:]*)(?:!([rsa]))?(?::([\s\S]*))?$/.exec(format.slice(at + 1, end));
    if (!field) throw new Error("ValueError: bad replacement field");
    at = end + 1;
    const [, path = "", conversion, spec = ""] = field;
    const [, first = "", more = ""] = /^([^.[]*)([\s\S]*)$/.exec(path)!;
    let value: Value | undefined;
    if (first === "") value = positional[auto++];
    else value = /^\d+$/.test(first) ? positional[Number(first)] : named.get(first);
    if (value === undefined) throw new Error(`IndexError or KeyError: no argument "${first.slice(0, 60)}" for the format`);
    for (const [, attribute, item] of more.matchAll(/\.([^.[]+)|\[([^\]]+)\]/g))
      value = reach(value, attribute ?? (/^\d+$/.test(item!) ? BigInt(item!) : item!), attribute !== undefined);
    if (conversion)
      value =
        conversion === "s"
          ? text(value, budget.spend)
          : conversion === "r"
            ? repr(value, budget.spend)
            : ascii(repr(value, budget.spend));
    const inner = spec.includes("{")
      ? formatText(spec, { positional: positional.slice(auto), named }, budget, reach, depth + 1)
      : spec;
    const made = formatValue(value, inner, budget);
    budget.characters(out.length + made.length);
    out += made;
  }
  return out;
}

/** json.dumps(value, ensure_ascii=False, …) as transformers calls it. */
export function toJson(
  value: Value,
  budget: Budget,
  options: { indent: string | undefined; item: string; key: string; sort: boolean; ascii: boolean },
  depth = 0,
): string {
  if (depth > 300) throw new Error("RecursionError: a value nested more than 300 deep");
  budget.spend(1 / 8);
  if (value === null) return "null";
  if (typeof value === "boolean") return value ? "true" : "false";
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number")
    return Number.isFinite(value) ? floatText(value) : Number.isNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
  const string = (s: string) => {
    budget.spend(s.length / 64);
    const json = JSON.stringify(s).replaceAll("\u007f", "\u007f");
    return options.ascii ? json.replace(/[\u0080-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`) : json;
  };
  if (typeof value === "string") return string(value);
  const line = options.indent === undefined ? "" : `\n${options.indent.repeat(depth + 1)}`;
  const last = options.indent === undefined ? "" : `\n${options.indent.repeat(depth)}`;
  const wrap = (open: string, parts: readonly string[], close: string) => {
    if (parts.length === 0) return open + close;
    const made = open + line + parts.join(options.item + line) + last + close;
    budget.characters(made.length);
    return made;
  };
  if (value instanceof PyList || value instanceof PyTuple) {
    budget.characters((line.length + 1) * value.items.length);
    return wrap(
      "[",
      value.items.map((item) => toJson(item, budget, options, depth + 1)),
      "]",
    );
  }
  if (value instanceof PyDict) {
    budget.characters((line.length + 1) * value.map.size);
    const entries = value.entries().map(([key, item]): [string, Value] => {
      if (typeof key === "string") return [key, item];
      if (key === null || isNumber(key)) return [toJson(key, budget, options), item];
      throw new Error(`TypeError: keys must be str, int, float, bool or None, not ${typeName(key)}`);
    });
    if (options.sort) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return wrap(
      "{",
      entries.map(([key, item]) => string(key) + options.key + toJson(item, budget, options, depth + 1)),
      "}",
    );
  }
  throw new Error(`TypeError: Object of type ${typeName(value)} is not JSON serializable`);
}

export const listOf = (value: Value): readonly Value[] => iterate(value);
