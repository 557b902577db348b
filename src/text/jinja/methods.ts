// The methods of Python's str, dict, list and numbers that do not change their object.
import { Bound, needText } from "./arguments.ts";
import type { Budget } from "./budget.ts";
import { formatText } from "./format.ts";
import { weigh } from "./operators.ts";
import * as s from "./strings.ts";
import {
  type Args,
  asInt,
  Callable,
  equal,
  iterate,
  PyDict,
  PyList,
  PyTuple,
  PyView,
  text,
  Undefined,
  undefinedError,
  type Value,
} from "./values.ts";

type Reach = (object: Value, key: Value, attribute: boolean) => Value;
type TextMethod = (self: string, args: Args, budget: Budget, reach: Reach) => Value;

const bind = (name: string, params: string, args: Args) => new Bound(name, params === "" ? [] : params.split(" "), args);
const all = (test: (c: string) => boolean) => (self: string) => self !== "" && s.codePoints(self).every(test);
const strips =
  (sides: "both" | "left" | "right"): TextMethod =>
  (self, args) =>
    s.strip(self, bind("strip", "chars", args).maybe("chars"), sides);

/** Start and end arguments as UTF-16 places. */
function range(self: string, bound: Bound): { part: string; skipped: number } {
  if (!bound.has("start") && !bound.has("end")) return { part: self, skipped: 0 };
  const points = s.codePoints(self);
  const at = (value: Value | undefined, fallback: number) => {
    const whole = value === undefined || value === null ? BigInt(fallback) : (asInt(value) ?? 0n);
    const place = Number(whole);
    return Math.max(0, Math.min(points.length, place < 0 ? place + points.length : place));
  };
  const begin = at(bound.get("start"), 0);
  return { part: points.slice(begin, Math.max(begin, at(bound.get("end"), points.length))).join(""), skipped: begin };
}

function where(last: boolean, fails: boolean): TextMethod {
  return (self, args) => {
    const bound = bind("find", "sub start end", args);
    const { part, skipped } = range(self, bound);
    const sub = bound.text("sub");
    const places = sub === "" ? [last ? part.length : 0] : last ? lastOf(part, sub) : [s.find(part, sub)];
    const at = places[0]!;
    if (at < 0 && fails) throw new Error("ValueError: substring not found");
    return BigInt(at < 0 ? -1 : skipped + s.lengthOf(part.slice(0, at)));
  };
}
/** The last place, overlapping ones counted: the first place read backwards. */
function lastOf(part: string, sub: string): number[] {
  if (sub.length <= 16) return [part.lastIndexOf(sub)];
  const back = (text: string) => [...Array(text.length).keys()].map((i) => text[text.length - 1 - i]).join("");
  const at = s.find(back(part), back(sub));
  return [at < 0 ? -1 : part.length - at - sub.length];
}

function affix(starts: boolean): TextMethod {
  return (self, args) => {
    const bound = bind(starts ? "startswith" : "endswith", "affix start end", args);
    const { part } = range(self, bound);
    const value = bound.need("affix");
    const choices = value instanceof PyTuple ? value.items : [value];
    return choices.some((choice) => {
      const mark = needText(choice, starts ? "startswith" : "endswith");
      return starts ? part.startsWith(mark) : part.endsWith(mark);
    });
  };
}

export function splitText(self: string, args: Args, fromRight: boolean, budget: Budget): PyList {
  const bound = bind("split", "sep maxsplit", args);
  const most = bound.int("maxsplit", -1);
  const limit = most < 0 ? Number.POSITIVE_INFINITY : most;
  const mark = bound.maybe("sep");
  if (mark === "") throw new Error("ValueError: empty separator");
  const parts: string[] = [];
  if (mark !== undefined) {
    let places = s.findAll(self, mark, fromRight ? undefined : limit);
    if (fromRight && places.length > limit) places = limit === 0 ? [] : places.slice(-limit);
    budget.items(places.length + 1);
    let at = 0;
    for (const place of places) {
      parts.push(self.slice(at, place));
      at = place + mark.length;
    }
    parts.push(self.slice(at));
    return new PyList(parts);
  }
  const runs: [number, number][] = [];
  let begin = -1;
  let at = 0;
  for (const c of self) {
    if (s.isSpace(c)) {
      if (begin >= 0) runs.push([begin, at]);
      begin = -1;
    } else if (begin < 0) begin = at;
    at += c.length;
  }
  if (begin >= 0) runs.push([begin, at]);
  budget.items(runs.length);
  if (runs.length > limit) {
    if (fromRight) {
      const kept = limit === 0 ? [] : runs.slice(-limit);
      const rest = runs[runs.length - limit - 1]!;
      return new PyList([self.slice(0, rest[1]), ...kept.map(([a, b]) => self.slice(a, b))]);
    }
    const rest = self.slice(runs[limit]![0]);
    return new PyList([...runs.slice(0, limit).map(([a, b]) => self.slice(a, b)), rest]);
  }
  return new PyList(runs.map(([a, b]) => self.slice(a, b)));
}

export function replaceText(self: string, old: string, by: string, count: number, budget: Budget): string {
  const limit = count < 0 ? Number.POSITIVE_INFINITY : count;
  if (old === "") {
    const points = s.codePoints(self);
    const times = Math.min(points.length + 1, limit);
    budget.characters(self.length + times * by.length);
    return points.map((c, i) => (i < times ? by + c : c)).join("") + (times > points.length ? by : "");
  }
  const places = s.findAll(self, old, limit);
  budget.characters(self.length + places.length * (by.length - old.length));
  budget.spend(places.length / 16);
  let out = "";
  let at = 0;
  for (const place of places) {
    out += self.slice(at, place) + by;
    at = place + old.length;
  }
  return out + self.slice(at);
}

function partition(self: string, args: Args, last: boolean): PyTuple {
  const mark = bind("partition", "sep", args).text("sep");
  if (mark === "") throw new Error("ValueError: empty separator");
  const at = last ? lastOf(self, mark)[0]! : s.find(self, mark);
  if (at < 0) return new PyTuple(last ? ["", "", self] : [self, "", ""]);
  return new PyTuple([self.slice(0, at), mark, self.slice(at + mark.length)]);
}

function justify(side: "left" | "right" | "both"): TextMethod {
  return (self, args, budget) => {
    const bound = bind("justify", "width fill", args);
    const [width, fill] = [bound.int("width"), bound.text("fill", " ")];
    if (s.lengthOf(fill) !== 1) throw new Error("TypeError: the fill character must be exactly one character long");
    const missing = width - s.lengthOf(self);
    if (missing <= 0) return self;
    budget.characters(self.length + missing * fill.length);
    // CPython puts the odd one on the left where the width is odd.
    const left = side === "left" ? 0 : side === "right" ? missing : (missing >> 1) + (missing & width & 1);
    return fill.repeat(left) + self + fill.repeat(missing - left);
  };
}

export function joinText(mark: string, items: readonly Value[], budget: Budget, lenient: boolean): string {
  budget.items(items.length);
  const parts = items.map((item) => {
    if (lenient) return text(item, budget.spend);
    return needText(item, "join");
  });
  let size = mark.length * Math.max(0, parts.length - 1);
  for (const part of parts) size += part.length;
  budget.characters(size);
  return parts.join(mark);
}

const isLower = (c: string) => /\p{Lowercase}/u.test(c);
const isUpper = (c: string) => /\p{Uppercase}/u.test(c);

const textMethods: Readonly<Record<string, TextMethod>> = {
  capitalize: s.capitalize,
  casefold: (self) => s.lower(self.replaceAll("ß", "ss")),
  center: justify("both"),
  count: (self, args) => {
    const bound = bind("count", "sub start end", args);
    const { part } = range(self, bound);
    const sub = bound.text("sub");
    return BigInt(sub === "" ? s.lengthOf(part) + 1 : s.findAll(part, sub).length);
  },
  endswith: affix(false),
  expandtabs: (self, args, budget) => {
    const size = bind("expandtabs", "tabsize", args).int("tabsize", 8);
    let column = 0;
    let out = "";
    for (const c of self) {
      if (c === "\t") {
        const step = size > 0 ? size - (column % size) : 0;
        budget.characters(out.length + step);
        out += " ".repeat(step);
        column += step;
      } else {
        out += c;
        column = c === "\n" || c === "\r" ? 0 : column + 1;
      }
    }
    return out;
  },
  find: where(false, false),
  format: (self, args, budget, reach) => formatText(self, args, budget, reach),
  format_map: (self, args, budget, reach) => {
    const map = bind("format_map", "mapping", args).need("mapping");
    const named = new Map(
      map instanceof PyDict ? map.entries().map(([key, value]) => [text(key, budget.spend), value] as const) : [],
    );
    return formatText(self, { positional: [], named }, budget, reach);
  },
  index: where(false, true),
  isalnum: all((c) => /[\p{L}\p{N}]/u.test(c)),
  isalpha: all(s.isLetter),
  isascii: (self) => /^[\0-\x7f]*$/.test(self),
  isdecimal: all((c) => /\p{Nd}/u.test(c)),
  isdigit: all((c) => /[\p{Nd}²³¹⁰⁴-⁹₀-₉①-⑨⑴-⑼⒈-⒐⓪⓵-⓽⓿❶-❾➀-➈➊-➒]/u.test(c)),
  isidentifier: (self) => /^[\p{ID_Start}_][\p{ID_Continue}]*$/u.test(self),
  islower: (self) => /\p{Lowercase}/u.test(self) && !/[\p{Uppercase}\p{Lt}]/u.test(self),
  isnumeric: all((c) => /\p{N}/u.test(c)),
  isprintable: (self) => !/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(self),
  isspace: all(s.isSpace),
  istitle: (self) => {
    let inside = false;
    let found = false;
    for (const c of self) {
      const [up, low] = [isUpper(c) || /\p{Lt}/u.test(c), isLower(c)];
      if ((up && inside) || (low && !inside)) return false;
      inside = up || low;
      found ||= inside;
    }
    return found;
  },
  isupper: (self) => /\p{Uppercase}/u.test(self) && !/[\p{Lowercase}\p{Lt}]/u.test(self),
  join: (self, args, budget) => joinText(self, iterate(bind("join", "iterable", args).need("iterable")), budget, false),
  ljust: justify("left"),
  lower: s.lower,
  lstrip: strips("left"),
  partition: (self, args) => partition(self, args, false),
  removeprefix: (self, args) => {
    const mark = bind("removeprefix", "prefix", args).text("prefix");
    return self.startsWith(mark) ? self.slice(mark.length) : self;
  },
  removesuffix: (self, args) => {
    const mark = bind("removesuffix", "suffix", args).text("suffix");
    return mark !== "" && self.endsWith(mark) ? self.slice(0, -mark.length) : self;
  },
  replace: (self, args, budget) => {
    const bound = bind("replace", "old new count", args);
    return replaceText(self, bound.text("old"), bound.text("new"), bound.int("count", -1), budget);
  },
  rfind: where(true, false),
  rindex: where(true, true),
  rjust: justify("right"),
  rpartition: (self, args) => partition(self, args, true),
  rsplit: (self, args, budget) => splitText(self, args, true, budget),
  rstrip: strips("right"),
  split: (self, args, budget) => splitText(self, args, false, budget),
  splitlines: (self, args, budget) => {
    const lines = s.splitLines(self, bind("splitlines", "keepends", args).flag("keepends", false));
    budget.items(lines.length);
    return new PyList(lines);
  },
  startswith: affix(true),
  strip: strips("both"),
  swapcase: (self) =>
    s
      .codePoints(self)
      .map((c) => (isUpper(c) ? s.lower(c) : isLower(c) ? s.upper(c) : c))
      .join(""),
  title: s.title,
  upper: s.upper,
  zfill: (self, args, budget) => {
    const width = bind("zfill", "width", args).int("width");
    const missing = width - s.lengthOf(self);
    if (missing <= 0) return self;
    budget.characters(width);
    const sign = /^[+-]/.exec(self)?.[0] ?? "";
    return sign + "0".repeat(missing) + self.slice(sign.length);
  },
};

/** A bound method of a value; undefined where there is none. Methods that change their object are refused as the sandbox does. */
export function methodOf(object: Value, name: string, budget: Budget, reach: Reach): Value | undefined {
  if (typeof object === "string") return textMethod(object, name, budget, reach);
  if (object instanceof PyDict) {
    const views: Readonly<Record<string, () => Value>> = {
      keys: () => new PyView("dict_keys", iterate(object)),
      values: () =>
        new PyView(
          "dict_values",
          object.entries().map(([, value]) => value),
        ),
      items: () =>
        new PyView(
          "dict_items",
          object.entries().map((pair) => new PyTuple(pair)),
        ),
      copy: () => new PyDict(object.entries()),
    };
    if (Object.hasOwn(views, name))
      return new Callable(name, (args) => {
        bind(name, "", args);
        budget.items(object.map.size);
        return views[name]!();
      });
    if (name === "get")
      return new Callable(name, (args) => {
        if (args.named.size > 0) throw new Error("TypeError: get() takes no keyword arguments");
        const bound = bind("get", "key default", args);
        const found = object.get(bound.need("key"));
        return found === undefined ? (bound.get("default") ?? null) : found;
      });
    if (["clear", "pop", "popitem", "setdefault", "update"].includes(name)) return unsafe(name);
    return object.source === undefined ? undefined : textMethod(object.source, name, budget, reach);
  }
  if (object instanceof PyList || object instanceof PyTuple) {
    const named = object instanceof PyTuple ? (object.names?.indexOf(name) ?? -1) : -1;
    if (named >= 0) return object.items[named];
    if (name === "count" || name === "index")
      return new Callable(name, (args) => {
        const item = bind(name, "value", args).need("value");
        weigh(object, budget, 0);
        if (name === "count") return BigInt(object.items.filter((other) => equal(other, item)).length);
        const at = object.items.findIndex((other) => equal(other, item));
        if (at < 0) throw new Error("ValueError: the value is not in the list");
        return BigInt(at);
      });
    if (object instanceof PyList && name === "copy") return new Callable(name, () => new PyList(object.items));
    if (["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"].includes(name) && object instanceof PyList)
      return unsafe(name);
    return undefined;
  }
  if (typeof object === "number" && name === "is_integer") return new Callable(name, () => Number.isInteger(object));
  if (typeof object === "bigint" && name === "bit_length")
    return new Callable(name, () => BigInt((object < 0n ? -object : object).toString(2).replace(/^0$/, "").length));
  if (object instanceof Undefined) throw undefinedError(object);
  return undefined;
}

const unsafe = (name: string): Value =>
  new Callable(name, () => {
    throw new Error(`SecurityError: ${name}() changes its object, which chat templates may not; use "+" or a namespace`);
  });

function textMethod(self: string, name: string, budget: Budget, reach: Reach): Value | undefined {
  const method = Object.hasOwn(textMethods, name) ? textMethods[name] : undefined;
  return (
    method &&
    new Callable(name, (args) => {
      budget.spend(1 + self.length / 4);
      for (const value of args.positional) budget.value(value);
      const made = method(self, args, budget, reach);
      budget.value(made);
      return made;
    })
  );
}
