// Jinja's filters of lists, dictionaries and what else has items.
import { needText } from "./arguments.ts";
import type { Budget } from "./budget.ts";
import { bind, type Filter, items, type Machine, raise } from "./filter.ts";
import { joinText } from "./methods.ts";
import { binary, weigh } from "./operators.ts";
import * as s from "./strings.ts";
import {
  asInt,
  compare,
  equal,
  hashKey,
  isNumber,
  iterate,
  PyDict,
  PyGenerator,
  PyList,
  PyRange,
  PyTuple,
  PyView,
  text,
  truthy,
  typeName,
  Undefined,
  type Value,
} from "./values.ts";

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

/** Filters of lists and other iterables. */
export const listFilters: Readonly<Record<string, Filter>> = {
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
  first: (value, args, { budget }) => {
    bind("first", "", args);
    const all = value instanceof PyGenerator ? value.take(1) : iterate(value);
    budget.value(value);
    return all[0] === undefined ? new Undefined("the first of nothing") : all[0];
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
  map,
  max: extreme(-1),
  min: extreme(1),
  reject: chosen(false, false),
  rejectattr: chosen(false, true),
  reverse: (value, args, { budget }) => {
    bind("reverse", "", args);
    if (typeof value === "string") {
      budget.spend(value.length / 16);
      return s.codePoints(value).reverse().join("");
    }
    return new PyGenerator([...items(value, budget)].reverse());
  },
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
  sum: (value, args, machine) => {
    const bound = bind("sum", "attribute start", args);
    const get = getter(machine, bound.get("attribute"));
    let sum: Value = bound.get("start") ?? 0n;
    for (const item of items(value, machine.budget)) sum = binary("+", sum, get(item), machine.budget);
    return sum;
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
};
