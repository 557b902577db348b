// What every chat template may use beside its variables: Jinja's own globals and those of transformers.
import { needText } from "./arguments.ts";
import type { Budget } from "./budget.ts";
import {
  type Args,
  asInt,
  Callable,
  iterate,
  Namespace,
  PyDict,
  PyObject,
  PyRange,
  text,
  typeName,
  type Value,
} from "./values.ts";

/** What a template says by raise_exception. */
export class TemplateRefusal extends Error {}

const MOST_FORMAT = 1000;
const months = "January February March April May June July August September October November December".split(" ");
const days = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

/** Python's strftime in the C locale, of local time. Fields it does not know stay as they are. */
export function strftime(now: Date, format: string): string {
  const two = (n: number, fill = "0") => String(n).padStart(2, fill);
  const start = new Date(now.getFullYear(), 0, 1);
  const day =
    Math.round((new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime() - start.getTime()) / 86_400_000) + 1;
  const hour12 = now.getHours() % 12 || 12;
  const zone = -now.getTimezoneOffset();
  const fields: Readonly<Record<string, () => string>> = {
    Y: () => String(now.getFullYear()),
    y: () => two(now.getFullYear() % 100),
    C: () => two(Math.floor(now.getFullYear() / 100)),
    m: () => two(now.getMonth() + 1),
    d: () => two(now.getDate()),
    e: () => two(now.getDate(), " "),
    H: () => two(now.getHours()),
    I: () => two(hour12),
    k: () => two(now.getHours(), " "),
    l: () => two(hour12, " "),
    M: () => two(now.getMinutes()),
    S: () => two(now.getSeconds()),
    f: () => String(now.getMilliseconds() * 1000).padStart(6, "0"),
    p: () => (now.getHours() < 12 ? "AM" : "PM"),
    B: () => months[now.getMonth()]!,
    b: () => months[now.getMonth()]!.slice(0, 3),
    h: () => months[now.getMonth()]!.slice(0, 3),
    A: () => days[now.getDay()]!,
    a: () => days[now.getDay()]!.slice(0, 3),
    w: () => String(now.getDay()),
    u: () => String(now.getDay() || 7),
    j: () => String(day).padStart(3, "0"),
    U: () => two(Math.floor((day + 6 - now.getDay()) / 7)),
    W: () => two(Math.floor((day + 6 - ((now.getDay() + 6) % 7)) / 7)),
    s: () => String(Math.floor(now.getTime() / 1000)),
    z: () => "",
    Z: () => (zone === 0 ? "" : ""),
    n: () => "\n",
    t: () => "\t",
    "%": () => "%",
  };
  const groups: Readonly<Record<string, string>> = {
    D: "%m/%d/%y",
    F: "%Y-%m-%d",
    T: "%H:%M:%S",
    R: "%H:%M",
    r: "%I:%M:%S %p",
    c: "%a %b %e %H:%M:%S %Y",
    x: "%m/%d/%y",
    X: "%H:%M:%S",
  };
  return format.replace(/%(-?)([a-zA-Z%])/g, (all, short: string, field: string) => {
    const made = Object.hasOwn(groups, field)
      ? strftime(now, groups[field]!)
      : Object.hasOwn(fields, field)
        ? fields[field]!()
        : all;
    return short && made !== all ? made.replace(/^[0 ]+(?=\d)/, "") : made;
  });
}

/** By name; `now` is read once for a rendering. */
export function globalNames(budget: Budget, now: Date): (readonly [string, Value])[] {
  const whole = (value: Value): bigint => {
    const found = asInt(value);
    if (found === undefined) throw new Error(`TypeError: '${typeName(value)}' object cannot be interpreted as an integer`);
    return found;
  };
  const functions: Readonly<Record<string, (args: Args) => Value>> = {
    range: ({ positional }) => {
      const [first, second, step = 1n] = positional.map(whole);
      if (first === undefined) throw new Error("TypeError: range expected at least 1 argument");
      const made = second === undefined ? new PyRange(0n, first, 1n) : new PyRange(first, second, step);
      budget.items(made.items.length);
      return made;
    },
    dict: ({ positional, named }) => {
      const made = new PyDict();
      const [first] = positional;
      if (first instanceof PyDict) for (const [key, value] of first.entries()) made.set(key, value);
      else if (first !== undefined)
        for (const pair of iterate(first)) {
          const [key, value, more] = iterate(pair);
          if (key === undefined || value === undefined || more !== undefined) throw new Error("ValueError: dict() needs pairs");
          made.set(key, value);
        }
      for (const [key, value] of named) made.set(key, value);
      budget.items(made.map.size);
      return made;
    },
    namespace: ({ positional, named }) => {
      const made = new Namespace();
      const [first] = positional;
      if (first instanceof PyDict)
        for (const [key, value] of first.entries()) made.attributes.set(text(key, budget.spend), value);
      for (const [key, value] of named) made.attributes.set(key, value);
      return made;
    },
    cycler: ({ positional }) => {
      if (positional.length === 0) throw new Error("RuntimeError: at least one item has to be provided");
      let at = 0;
      const next = () => positional[at++ % positional.length]!;
      return new PyObject("Cycler", [
        ["current", () => positional[at % positional.length]!],
        ["next", () => new Callable("next", next)],
        [
          "reset",
          () =>
            new Callable("reset", () => {
              at = 0;
              return null;
            }),
        ],
      ]);
    },
    joiner: ({ positional, named }) => {
      const mark = positional[0] ?? named.get("sep") ?? ", ";
      let used = false;
      return new PyObject("Joiner", [], () => {
        const made = used ? mark : "";
        used = true;
        return made;
      });
    },
    strftime_now: ({ positional, named }) => {
      const format = needText(positional[0] ?? named.get("format") ?? "", "strftime_now");
      if (format.length > MOST_FORMAT) throw new Error(`a date format of more than ${MOST_FORMAT} characters`);
      budget.spend(4 + format.length);
      return strftime(now, format);
    },
    raise_exception: ({ positional, named }) => {
      throw new TemplateRefusal(text(positional[0] ?? named.get("message") ?? "", budget.spend));
    },
  };
  return Object.entries(functions).map(([name, call]) => [name, new Callable(name, call)] as const);
}
