// Shapes -> grammars of JSON text.
import type { Dfa } from "../dfa.ts";
import { alt, automaton, call, type GraphEdge, graph, literal, optional, type Part, Rule, repeat, seq } from "../grammar.ts";
import { refusing, UnsupportedSchemaError } from "../limits.ts";
import { numberPart } from "../numbers.ts";
import { anyBut, anyText, combine, limited, quoted, stringTail, stringTailOf, wordsDfa } from "../strings.ts";
import type { Reader } from "./read.ts";
import { type ArraySet, hasString, itemOf, type Lazy, memberOf, type ObjectSet, type Shape, type StringSet } from "./shape.ts";

/** Where white space may stand: nowhere, one space behind `,` and `:` (default), or also line breaks with indentation. */
export type Whitespace = "none" | "single" | "indented";

/** Nodes of one object's graph, at most. */
const MAX_NODES = 20_000;
/** Names that a schema gives one object, at most. */
const MAX_NAMES = 5000;
/** Patterns of one object that are told apart. */
const MAX_PATTERNS = 6;
/** Lengths up to which an automaton over a string's bytes counts, where other things are said of it, too. */
const MAX_COUNTED = 4096;
/** States from which on an automaton of a string becomes a rule, which is there once. */
const SHARED = 24;
const INFINITY = Number.POSITIVE_INFINITY;

const JSON_WORDS: Readonly<Record<"true" | "false" | "null", string>> = { true: "true", false: "false", null: "null" };

export class Emitter {
  readonly #reader: Reader;
  readonly #gap: Part | undefined;
  readonly #lines: Part | undefined;
  /** Rules of arrays' and objects' insides by what they hold; their bodies are made one after the other. */
  readonly #rules = new Map<string, Rule>();
  readonly #open: (() => void)[] = [];
  readonly #keys = new Map<string, Part>();
  readonly #dfas = new Map<Dfa, number>();
  readonly #words: Readonly<Record<"true" | "false" | "null", string>>;

  /** `words`: how true, false and null are spelled. */
  constructor(reader: Reader, whitespace: Whitespace, words = JSON_WORDS) {
    this.#reader = reader;
    this.#words = words;
    const lines = seq(literal("\n"), repeat(literal(" "), 0, 20));
    this.#gap = whitespace === "none" ? undefined : optional(literal(" "));
    this.#lines = whitespace === "indented" ? optional(lines) : undefined;
    if (whitespace === "indented") this.#gap = optional(alt(literal(" "), lines));
  }

  /** The grammar of all values that `lazy` allows. */
  value(lazy: Lazy, path: string): Part {
    const part = this.#value(lazy, path);
    for (let make = this.#open.pop(); make; make = this.#open.pop()) make();
    return part;
  }

  #value(lazy: Lazy, path: string): Part {
    const shape = this.#reader.shape(lazy);
    const key = this.#reader.key(lazy);
    const at = lazy[0] ? this.#reader.named(lazy[0]).path : path;
    const parts: Part[] = [...shape.words].map((w) => literal(this.#words[w]));
    for (const r of shape.numbers) {
      const part = refusing(at, r.multiples.length ? "multipleOf" : "minimum", () => numberPart(r, at));
      if (part) parts.push(part);
    }
    const strings = shape.strings.flatMap((s) => this.#string(s, at));
    if (strings.length) parts.push(seq(literal('"'), alt(...strings)));
    if (shape.arrays.length)
      parts.push(
        seq(
          literal("["),
          this.#inside(`[${key}`, at, () => this.#arrays(shape, at)),
        ),
      );
    if (shape.objects.length)
      parts.push(
        seq(
          literal("{"),
          this.#inside(`{${key}`, at, () => this.#objects(shape, at)),
        ),
      );
    return alt(...parts);
  }

  #inside(key: string, path: string, make: () => Part): Part {
    let rule = this.#rules.get(key);
    if (!rule) {
      const made = new Rule(path);
      rule = made;
      this.#rules.set(key, made);
      this.#open.push(() => {
        made.body = make();
      });
    }
    return call(rule);
  }

  /** Strings behind the opening quote, the closing one included. */
  #string(set: StringSet, path: string): Part[] {
    if (set.words) return set.words.map((w) => literal(JSON.stringify(w).slice(1)));
    const { dfa, least, most } = set;
    if (!dfa) {
      if (least === 0 && most === INFINITY) return [this.#once('"', path, () => stringTail)];
      return [this.#once(`"${least} ${most}`, path, () => stringTailOf(least, most, path))];
    }
    const bounded = least > 0 || most !== INFINITY;
    const found = refusing(path, bounded ? (most === INFINITY ? "minLength" : "maxLength") : "pattern", () =>
      this.#counted(dfa, set, path),
    );
    if (!found) return [];
    if (dfa.edges.length < SHARED) return [automaton(quoted(found))];
    let number = this.#dfas.get(dfa);
    if (number === undefined) this.#dfas.set(dfa, (number = this.#dfas.size));
    return [this.#once(`~${number} ${least} ${most}`, path, () => automaton(quoted(found)))];
  }

  /** A part that stands in many places, as one rule. */
  #once(key: string, path: string, make: () => Part): Part {
    let part = this.#keys.get(key);
    if (!part) {
      const made = make();
      part = made.kind === "call" ? made : call(new Rule(path, made));
      this.#keys.set(key, part);
    }
    return part;
  }

  #counted(dfa: Dfa, { least, most }: StringSet, path: string): Dfa | undefined {
    let found: Dfa | undefined = dfa;
    if (least > 0 || most !== INFINITY) {
      const bound = most === INFINITY ? least : most;
      if (bound > MAX_COUNTED) {
        const keyword = most === INFINITY ? "minLength" : "maxLength";
        throw new UnsupportedSchemaError(path, keyword, `${bound} beside a pattern or format takes too many states`);
      }
      found = limited(dfa, least, most, path);
    }
    return found;
  }

  #separator(): Part {
    return this.#gap ? seq(literal(","), this.#gap) : literal(",");
  }

  #close(bracket: string): Part {
    return this.#lines ? seq(this.#lines, literal(bracket)) : literal(bracket);
  }

  #arrays(shape: Shape, path: string): Part {
    const parts = shape.arrays.map((a) => this.#array(a, path));
    return this.#lines ? seq(this.#lines, alt(...parts)) : alt(...parts);
  }

  #array(set: ArraySet, path: string): Part {
    const { least, most } = set;
    const prefix = Math.max(0, ...set.groups.map((g) => g.prefix.length));
    const close = this.#close("]");
    const fixed = Math.min(prefix, most);
    const edges: GraphEdge[] = [];
    /** Nodes at which the array may end. The end itself is the last node. */
    const ends: number[] = [];
    let nodes = 1;
    for (let i = 0; i < fixed; i++) {
      const item = this.#value(itemOf(set, i), path);
      if (i >= least) ends.push(i);
      edges.push({ from: i, to: nodes++, part: i === 0 ? item : seq(this.#separator(), item) });
    }
    if (fixed >= least) ends.push(fixed);
    let rest = this.#reader.isEmpty(itemOf(set, prefix)) ? 0 : most - fixed;
    if (rest > 0) {
      const item = this.#value(itemOf(set, prefix), path);
      let at = fixed;
      let written = fixed;
      if (fixed === 0) {
        at = nodes++;
        written = 1;
        rest--;
        edges.push({ from: 0, to: at, part: item });
        if (least <= 1) ends.push(at);
      }
      if (rest > 0) {
        edges.push({ from: at, to: nodes, part: repeat(seq(this.#separator(), item), Math.max(1, least - written), rest) });
        ends.push(nodes++);
      }
    }
    const end = nodes++;
    for (const from of ends) edges.push({ from, to: end, part: close });
    return graph(nodes, edges);
  }

  #objects(shape: Shape, path: string): Part {
    const parts = shape.objects.map((o) => this.#object(o, path));
    return this.#lines ? seq(this.#lines, alt(...parts)) : alt(...parts);
  }

  /**
   * Members in the order in which the schema names them, then those that it does not name. Node B(i): a member before the
   * i-th has been written; E(i): one must come, of those from the i-th on or of those that are not named; C(i): one that is
   * named. Each once per number of members, where that is bounded.
   */
  #object(set: ObjectSet, path: string): Part {
    const order = new Set(set.groups.flatMap((g) => [...g.names.keys()]));
    for (const name of set.required) order.add(name);
    if (order.size > MAX_NAMES)
      throw new UnsupportedSchemaError(path, "properties", `more than ${MAX_NAMES} names of one object`);
    const allowed = (name: string) => set.nameSets.every((s) => hasString(s, name));
    const members = [...order].filter((name) => allowed(name) && !this.#reader.isEmpty(memberOf(set, name)));
    if ([...set.required].some((name) => !members.includes(name))) return alt();
    const extras = refusing(path, set.nameSets.length ? "propertyNames" : "patternProperties", () =>
      this.#extras(set, [...order], path),
    );
    const n = members.length;
    const needed = (i: number): boolean => set.required.has(members[i]!);
    let lastNeeded = -1;
    for (let i = 0; i < n; i++) if (needed(i)) lastNeeded = i;
    // Members that can be written at all: a bound beyond them says nothing.
    const most = extras.length === 0 && set.most >= n ? INFINITY : set.most;
    const least = set.least <= set.required.size ? 0 : set.least;
    const counts = most !== INFINITY ? most : least;
    if (3 * (n + 1) * (counts + 1) > MAX_NODES)
      throw new UnsupportedSchemaError(path, most !== INFINITY ? "maxProperties" : "minProperties", "it takes too many states");
    const width = counts + 1;
    const nodeE = (i: number, c: number) => 3 * (i * width + c);
    const nodeC = (i: number, c: number) => nodeE(i, c) + 1;
    const nodeB = (i: number, c: number) => nodeE(i, c) + 2;
    const end = 3 * (n + 1) * width;
    const edges: GraphEdge[] = [];
    const up = (c: number) => Math.min(c + 1, counts);
    const close = this.#close("}");
    const colon = this.#gap ? seq(literal(":"), this.#gap) : literal(":");
    const parts = members.map((name) =>
      seq(literal(`${JSON.stringify(name)}:`), ...(this.#gap ? [this.#gap] : []), this.#value(memberOf(set, name), path)),
    );
    // Several sets of names are one rule, so that a walk over tokens looks at all of them at once.
    const others = extras.map(({ key, value }) => seq(literal('"'), key, colon, this.#value(value, path)));
    const other = others.length > 1 ? call(new Rule(path, alt(...others))) : others[0];
    const separator = this.#separator();
    for (let i = 0; i <= n; i++)
      for (let c = 0; c < width; c++) {
        const full = most !== INFINITY && c >= most;
        if (!full) {
          if (i < n) {
            edges.push({ from: nodeC(i, c), to: nodeB(i + 1, up(c)), part: parts[i]! });
            if (!needed(i)) edges.push({ from: nodeC(i, c), to: nodeC(i + 1, c) });
          }
          edges.push({ from: nodeE(i, c), to: nodeC(i, c) });
          // Names that the schema does not know come when all that are needed have.
          if (i > lastNeeded && other) edges.push({ from: nodeE(i, c), to: nodeB(i, up(c)), part: other });
          edges.push({ from: nodeB(i, c), to: nodeE(i, c), part: separator });
        }
        if (i > lastNeeded && c >= least) edges.push({ from: nodeB(i, c), to: end, part: close });
      }
    if (lastNeeded < 0 && least === 0) edges.push({ from: 0, to: end, part: close });
    return graph(end + 1, edges);
  }

  /** Members whose names the schema does not give: sets of names behind the opening quote, and what stands under them. */
  #extras(set: ObjectSet, named: readonly string[], path: string): { key: Part; value: Lazy }[] {
    const patterns = new Map<string, Dfa | undefined>();
    for (const group of set.groups) for (const p of group.patterns) patterns.set(p.source, p.dfa);
    if (patterns.size > MAX_PATTERNS)
      throw new UnsupportedSchemaError(path, "patternProperties", `more than ${MAX_PATTERNS} patterns of one object`);
    const limits = set.nameSets;
    if (patterns.size === 0 && limits.length === 0) {
      const value = set.groups.flatMap((g) => g.rest);
      if (this.#reader.isEmpty(value)) return [];
      const key = this.#once(`k${JSON.stringify([...named].sort())}`, path, () => automaton(anyBut(named)));
      return [{ key, value }];
    }
    let base: Dfa | undefined = anyText;
    for (const limit of limits) {
      if (!base) return [];
      const other = limit.words ? wordsDfa(limit.words, path) : this.#counted(limit.dfa ?? anyText, limit, path);
      base = other && combine(base, other, true, path);
    }
    if (base && named.length) base = combine(base, wordsDfa(named, path), false, path);
    const out: { key: Part; value: Lazy }[] = [];
    const list = [...patterns];
    const visit = (i: number, dfa: Dfa | undefined, matched: ReadonlySet<string>): void => {
      if (!dfa) return;
      if (i < list.length) {
        const [source, pattern] = list[i]!;
        if (pattern) visit(i + 1, combine(dfa, pattern, true, path), new Set([...matched, source]));
        visit(i + 1, pattern ? combine(dfa, pattern, false, path) : dfa, matched);
        return;
      }
      const value = set.groups.flatMap((g) => {
        const own = g.patterns.filter((p) => matched.has(p.source));
        return own.length ? own.flatMap((p) => p.value) : g.rest;
      });
      if (!this.#reader.isEmpty(value)) out.push({ key: automaton(quoted(dfa)), value });
    };
    visit(0, base, new Set());
    return out;
  }
}
