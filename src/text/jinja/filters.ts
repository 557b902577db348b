// Jinja's filters, and tojson as transformers has it.
import { Bound, needNumber, needText } from "./arguments.ts";
import type { Budget } from "./budget.ts";
import { percent, toJson } from "./format.ts";
import { indent, wrap } from "./lines.ts";
import { escapeHtml, stripped, unescaped } from "./markup.ts";
import { joinText, replaceText } from "./methods.ts";
import { rounded, toReal } from "./numbers.ts";
import { binary, weigh } from "./operators.ts";
import * as s from "./strings.ts";
import {
  type Args,
  asFloat,
  asInt,
  compare,
  equal,
  hashKey,
  isIterable,
  isNumber,
  iterate,
  PyDict,
  PyGenerator,
  PyList,
  PyRange,
  PyTuple,
  PyView,
  repr,
  text,
  textOf,
  truthy,
  typeName,
  Undefined,
  undefinedError,
  type Value,
} from "./values.ts";

/** What filters need from the interpreter. */
export interface Machine {
  readonly budget: Budget;
  /** object.name or object["name"], undefined objects where there is nothing. */
  attribute(object: Value, name: string): Value;
  item(object: Value, key: Value): Value;
  filter(name: string, value: Value, args: Args): Value;
  test(name: string, value: Value, args: readonly Value[]): boolean;
}
type Filter = (value: Value, args: Args, machine: Machine) => Value;

const bind = (name: string, params: string, args: Args) => new Bound(name, params === "" ? [] : params.split(" "), args);
const onText =
  (work: (value: string) => Value): Filter =>
  (value, args, { budget }) => {
    bind("filter", "", args);
    const whole = text(value, budget.spend);
    budget.spend(whole.length / 4);
    return work(whole);
  };
const items = (value: Value, budget: Budget): readonly Value[] => {
  const all = iterate(value);
  budget.items(all.length);
  return all;
};

/** "a.b.0" -> a function that reaches it. */
function getter(machine: Machine, attribute: Value | undefined, fallback?: Value): (value: Value) => Value {
  if (attribute === undefined || attribute === null) return (value) => value;
  const whole = asInt(attribute);
  const path =
    whole !== undefined
      ? [whole]
      : needText(attribute, "attribute")
          .split(".")
          .map((part) => (/^\d+$/.test(part) ? BigInt(part) : part));
  return (value) => {
    let at = value;
    for (const part of path) {
      machine.budget.spend(1);
      at = machine.item(at, part);
      if (at instanceof Undefined && fallback !== undefined) at = fallback;
    }
    return at;
  };
}
const folded = (value: Value, sensitive: boolean): Value => (!sensitive && typeof value === "string" ? s.lower(value) : value);

function sorted<T>(values: readonly T[], key: (value: T) => Value, reverse: boolean, budget: Budget): T[] {
  const keyed = values.map((value, i) => ({ value, key: key(value), i }));
  budget.spend(values.length);
  keyed.sort((a, b) => {
    budget.spend(1 + (typeof a.key === "string" ? a.key.length / 64 : 1));
    if (typeof a.key !== "string" && !isNumber(a.key)) weigh(a.key, budget, 0);
    return (reverse ? -1 : 1) * compare(a.key, b.key) || a.i - b.i;
  });
  return keyed.map(({ value }) => value);
}

function extreme(sign: 1 | -1): Filter {
  return (value, args, machine) => {
    const bound = bind("min", "case_sensitive attribute", args);
    const all = items(value, machine.budget);
    const get = getter(machine, bound.get("attribute"));
    const sensitive = bound.flag("case_sensitive", false);
    let best: Value | undefined;
    for (const item of all)
      if (best === undefined || sign * compare(folded(get(item), sensitive), folded(get(best), sensitive)) < 0) best = item;
    return best === undefined ? new Undefined("the smallest or largest of nothing") : best;
  };
}

/** select, reject, selectattr and rejectattr. */
function chosen(keep: boolean, byAttribute: boolean): Filter {
  return (value, { positional }, machine) => {
    const all =
      value instanceof Undefined || value === null || truthy(value) ? (value === null ? [] : items(value, machine.budget)) : [];
    const get = byAttribute
      ? getter(machine, positional[0] ?? raise("this filter needs the name of an attribute"))
      : (item: Value) => item;
    const [name, ...rest] = positional.slice(byAttribute ? 1 : 0);
    const test = name === undefined ? undefined : needText(name, "select");
    const passes = (item: Value) => (test === undefined ? truthy(item) : machine.test(test, item, rest));
    return new PyGenerator(all.filter((item) => passes(get(item)) === keep));
  };
}
const raise = (message: string): never => {
  throw new Error(`TypeError: ${message}`);
};

const map: Filter = (value, { positional, named }, machine) => {
  const all = value === null || (!(value instanceof Undefined) && !truthy(value)) ? [] : items(value, machine.budget);
  if (positional.length === 0 && named.has("attribute")) {
    const get = getter(machine, named.get("attribute"), named.get("default"));
    return new PyGenerator(all.map(get));
  }
  const [name, ...rest] = positional;
  const filter = needText(name ?? raise("map requires a filter argument"), "map");
  return new PyGenerator(all.map((item) => machine.filter(filter, item, { positional: rest, named })));
};

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
/** What wordwrap is told. */
function wrapping(args: Args) {
  const bound = bind("wordwrap", "width break_long_words wrapstring break_on_hyphens", args);
  return {
    width: bound.int("width", 79),
    breaks: bound.flag("break_long_words", true),
    mark: bound.maybe("wrapstring") ?? "\n",
    hyphens: bound.flag("break_on_hyphens", true),
  };
}

const filters: Readonly<Record<string, Filter>> = {
  abs: (value) => {
    const n = needNumber(value, "abs");
    const whole = asInt(n);
    return whole === undefined ? Math.abs(n as number) : whole < 0n ? -whole : whole;
  },
  attr: (value, args, machine) => machine.attribute(value, bind("attr", "name", args).text("name")),
  batch: (value, args, { budget }) => {
    const bound = bind("batch", "linecount fill_with", args);
    const size = bound.int("linecount");
    const fill = bound.get("fill_with");
    const all = items(value, budget);
    if (size < 1) throw new Error("ValueError: linecount must be positive");
    const rows: Value[] = [];
    for (let i = 0; i < all.length; i += size) {
      const row = all.slice(i, i + size);
      if (fill !== undefined && fill !== null) budget.items(size);
      rows.push(
        new PyList(
          fill === undefined || fill === null ? row : [...row, ...Array.from({ length: size - row.length }, () => fill)],
        ),
      );
    }
    return new PyGenerator(rows);
  },
  capitalize: onText(s.capitalize),
  center: (value, args, { budget }) => {
    const width = bind("center", "width", args).int("width", 80);
    const whole = text(value, budget.spend);
    const missing = width - s.lengthOf(whole);
    if (missing <= 0) return whole;
    budget.characters(whole.length + missing);
    const left = (missing >> 1) + (missing & width & 1);
    return " ".repeat(left) + whole + " ".repeat(missing - left);
  },
  default: (value, args) => {
    const bound = bind("default", "default_value boolean", args);
    return value instanceof Undefined || (bound.flag("boolean", false) && !truthy(value))
      ? bound.has("default_value")
        ? bound.get("default_value")!
        : ""
      : value;
  },
  dictsort: (value, args, machine) => {
    const bound = bind("dictsort", "case_sensitive by reverse", args);
    if (!(value instanceof PyDict)) return raise("dictsort needs a mapping");
    const [sensitive, by] = [bound.flag("case_sensitive", false), bound.text("by", "key")];
    const pairs = sorted(
      value.entries(),
      (pair) => folded(pair[by === "value" ? 1 : 0], sensitive),
      bound.flag("reverse", false),
      machine.budget,
    );
    return new PyList(pairs.map((pair) => new PyTuple(pair)));
  },
  escape: onText(escapeHtml),
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
  first: (value, args, { budget }) => {
    bind("first", "", args);
    const all = value instanceof PyGenerator ? value.take(1) : iterate(value);
    budget.value(value);
    return all[0] === undefined ? new Undefined("the first of nothing") : all[0];
  },
  float: (value, args) => {
    const fallback = bind("float", "default", args).get("default") ?? 0;
    if (isNumber(value)) return asFloat(value);
    if (value instanceof Undefined) return raiseUndefined(value);
    return (typeof value === "string" ? toReal(value) : undefined) ?? fallback;
  },
  format: (value, { positional, named }, { budget }) => {
    if (named.size > 0 && positional.length > 0) return raise("can't handle positional and keyword arguments at the same time");
    const with_ = named.size > 0 ? new PyDict([...named]) : new PyTuple(positional);
    return percent(text(value, budget.spend), with_, budget);
  },
  groupby: (value, args, machine) => {
    const bound = bind("groupby", "attribute default case_sensitive", args);
    const get = getter(machine, bound.need("attribute"), bound.get("default"));
    const sensitive = bound.flag("case_sensitive", false);
    const key = (item: Value) => folded(get(item), sensitive);
    const groups: [Value, Value[]][] = [];
    for (const item of sorted(items(value, machine.budget), key, false, machine.budget)) {
      const last = groups.at(-1);
      if (last && equal(folded(last[0], sensitive), key(item))) last[1].push(item);
      else groups.push([get(item), [item]]);
    }
    return new PyList(groups.map(([grouper, list]) => new PyTuple([grouper, new PyList(list)], ["grouper", "list"])));
  },
  indent: (value, args, { budget }) => {
    const bound = bind("indent", "width first blank", args);
    const width = bound.get("width") ?? 4n;
    const count = asInt(width);
    if (count !== undefined) budget.characters(Number(count));
    const mark = count === undefined ? needText(width, "indent") : " ".repeat(Math.max(0, Number(count)));
    return indent(
      needText(value, "indent"),
      { width: mark, first: bound.flag("first", false), blank: bound.flag("blank", false) },
      budget,
    );
  },
  int: toInt,
  items: (value, args, { budget }) => {
    bind("items", "", args);
    if (value instanceof Undefined) return new PyGenerator([]);
    if (!(value instanceof PyDict)) return raise("Can only get item pairs from a mapping.");
    budget.items(value.map.size);
    return new PyGenerator(value.entries().map((pair) => new PyTuple(pair)));
  },
  join: (value, args, machine) => {
    const bound = bind("join", "d attribute", args);
    const get = getter(machine, bound.get("attribute"));
    return joinText(
      text(bound.get("d") ?? "", machine.budget.spend),
      items(value, machine.budget).map(get),
      machine.budget,
      true,
    );
  },
  last: (value, args, { budget }) => {
    bind("last", "", args);
    budget.value(value);
    if (value instanceof PyGenerator) return raise("'generator' object is not reversible");
    const last = iterate(value).at(-1);
    return last === undefined ? new Undefined("the last of nothing") : last;
  },
  length: (value) => {
    if (typeof value === "string") return BigInt(s.lengthOf(value));
    if (value instanceof Undefined) return 0n;
    if (value instanceof PyDict) return BigInt(value.map.size);
    if (value instanceof PyList || value instanceof PyTuple || value instanceof PyRange || value instanceof PyView)
      return BigInt(value.items.length);
    return raise(`object of type '${typeName(value)}' has no len()`);
  },
  list: (value, args, { budget }) => {
    bind("list", "", args);
    return new PyList(items(value, budget));
  },
  lower: onText(s.lower),
  map,
  max: extreme(-1),
  min: extreme(1),
  pprint: (value, _, { budget }) => repr(value, budget.spend),
  reject: chosen(false, false),
  rejectattr: chosen(false, true),
  replace: (value, args, { budget }) => {
    const bound = bind("replace", "old new count", args);
    const whole = text(value, budget.spend);
    budget.spend(whole.length / 32);
    const count = bound.get("count");
    return replaceText(
      whole,
      text(bound.need("old"), budget.spend),
      text(bound.need("new"), budget.spend),
      count === undefined || count === null ? -1 : bound.int("count"),
      budget,
    );
  },
  reverse: (value, args, { budget }) => {
    bind("reverse", "", args);
    if (typeof value === "string") {
      budget.spend(value.length / 16);
      return s.codePoints(value).reverse().join("");
    }
    return new PyGenerator([...items(value, budget)].reverse());
  },
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
  select: chosen(true, false),
  selectattr: chosen(true, true),
  slice: (value, args, { budget }) => {
    const bound = bind("slice", "slices fill_with", args);
    const count = bound.int("slices");
    const fill = bound.get("fill_with");
    const all = items(value, budget);
    if (count < 1) throw new Error("ZeroDivisionError: integer division or modulo by zero");
    budget.items(count);
    const [each, more] = [Math.floor(all.length / count), all.length % count];
    let at = 0;
    return new PyGenerator(
      Array.from({ length: count }, (_, i) => {
        const row = all.slice(at, (at += each + (i < more ? 1 : 0)));
        return new PyList(fill !== undefined && fill !== null && i >= more ? [...row, fill] : row);
      }),
    );
  },
  sort: (value, args, machine) => {
    const bound = bind("sort", "reverse case_sensitive attribute", args);
    const sensitive = bound.flag("case_sensitive", false);
    const attribute = bound.get("attribute");
    const paths =
      typeof attribute === "string" ? attribute.split(",").map((path) => getter(machine, path)) : [getter(machine, attribute)];
    const key = (item: Value) =>
      paths.length === 1 ? folded(paths[0]!(item), sensitive) : new PyList(paths.map((get) => folded(get(item), sensitive)));
    return new PyList(sorted(items(value, machine.budget), key, bound.flag("reverse", false), machine.budget));
  },
  string: (value, _, { budget }) => text(value, budget.spend),
  striptags: onText((value) => unescaped(s.strip(stripped(value).replace(/\s+/g, " "), undefined, "both"))),
  sum: (value, args, machine) => {
    const bound = bind("sum", "attribute start", args);
    const get = getter(machine, bound.get("attribute"));
    let sum: Value = bound.get("start") ?? 0n;
    for (const item of items(value, machine.budget)) sum = binary("+", sum, get(item), machine.budget);
    return sum;
  },
  title: onText(s.titleFilter),
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
  trim: (value, args, { budget }) => {
    const whole = text(value, budget.spend);
    budget.spend(whole.length / 32);
    return s.strip(whole, bind("trim", "chars", args).maybe("chars"), "both");
  },
  truncate: (value, args, { budget }) => {
    const bound = bind("truncate", "length killwords end leeway", args);
    const [length, end, leeway] = [
      bound.int("length", 255),
      bound.text("end", "..."),
      bound.get("leeway") === null ? 5 : bound.int("leeway", 5),
    ];
    const whole = textOf(value) ?? (value instanceof Undefined ? "" : undefined);
    if (whole === undefined) {
      const size = filters["length"]!(value, { positional: [], named: new Map() }, { budget } as Machine);
      if (Number(size) <= length + leeway) return value;
      return raise("truncate needs a text");
    }
    const points = s.codePoints(whole);
    budget.spend(points.length / 16);
    const mark = s.lengthOf(end);
    if (length < mark || leeway < 0) throw new Error("AssertionError: expected a length of at least that of the end");
    if (points.length <= length + leeway) return points.join("");
    const cut = points.slice(0, length - mark).join("");
    if (bound.flag("killwords", false)) return cut + end;
    const space = cut.lastIndexOf(" ");
    return (space < 0 ? cut : cut.slice(0, space)) + end;
  },
  unique: (value, args, machine) => {
    const bound = bind("unique", "case_sensitive attribute", args);
    const get = getter(machine, bound.get("attribute"));
    const seen = new Set<string>();
    if (!(value instanceof PyGenerator)) machine.budget.spend(iterate(value).length);
    return new PyGenerator(
      items(value, machine.budget).filter((item) => {
        const key = hashKey(folded(get(item), bound.flag("case_sensitive", false)));
        return !seen.has(key) && seen.add(key);
      }),
    );
  },
  upper: onText(s.upper),
  urlencode: (value, args, { budget }) => {
    bind("urlencode", "", args);
    const quote = (part: Value, safe: boolean) => {
      const whole = text(part, budget.spend);
      budget.characters(3 * whole.length);
      const made = encodeURIComponent(whole.replace(/\p{Surrogate}/gu, "\ufffd")).replace(
        /[!'()*]/g,
        (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
      );
      return safe ? made.replaceAll("%2F", "/") : made;
    };
    if (textOf(value) !== undefined || !isIterable(value)) return quote(value, true);
    const pairs = value instanceof PyDict ? value.entries() : items(value, budget).map((pair) => iterate(pair));
    const plus = (part: Value) => quote(part, false).replaceAll("%20", "+");
    return pairs
      .map(([key, item, more]) => {
        if (key === undefined || item === undefined || more !== undefined) raise("urlencode needs pairs");
        return `${plus(key!)}=${plus(item!)}`;
      })
      .join("&");
  },
  wordcount: (value, _, { budget }) => {
    const whole = text(value, budget.spend);
    budget.spend(whole.length / 16);
    return BigInt(whole.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0);
  },
  wordwrap: (value, args, { budget }) => {
    const whole = needText(value, "wordwrap");
    budget.spend(whole.length / 4);
    const made = wrap(whole, wrapping(args), budget);
    budget.characters(made.length);
    return made;
  },
  xmlattr: (value, args, { budget }) => {
    const space = bind("xmlattr", "autospace", args).flag("autospace", true);
    if (!(value instanceof PyDict)) return raise("xmlattr needs a mapping");
    const parts = value.entries().flatMap(([key, item]) => {
      if (item === null || item instanceof Undefined) return [];
      const name = text(key, budget.spend);
      if (/[\s/>=]/.test(name)) throw new Error("ValueError: Invalid character in attribute name");
      return [`${escapeHtml(name)}="${escapeHtml(text(item, budget.spend))}"`];
    });
    return (space && parts.length > 0 ? " " : "") + parts.join(" ");
  },
};
const aliases: Readonly<Record<string, string>> = { d: "default", e: "escape", count: "length", forceescape: "escape" };

export function filterNamed(name: string): Filter | undefined {
  const own = Object.hasOwn(aliases, name) ? aliases[name]! : name;
  return Object.hasOwn(filters, own) ? filters[own] : undefined;
}
