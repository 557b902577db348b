// Oniguruma expressions, in Ruby's syntax as the tokenizers library uses it -> a tree of what runs in linear time.
// Source: Oniguruma's doc/RE and doc/SYNTAX.md. What has no exact meaning here is refused by name.

/** A set of code points: the inside of a JavaScript character class, or the sets that it is made of. */
export interface CharSet {
  readonly negated: boolean;
  readonly source: string;
  readonly nested: readonly CharSet[];
  readonly fold: boolean;
}

export type Assertion = "textStart" | "textEnd" | "lastLineEnd" | "lineStart" | "lineEnd" | "boundary" | "noBoundary";

export type Node =
  | { readonly kind: "set"; readonly set: CharSet }
  | { readonly kind: "all"; readonly parts: readonly Node[] }
  | { readonly kind: "any"; readonly parts: readonly Node[] }
  | { readonly kind: "repeat"; readonly body: Node; readonly min: number; readonly max: number; readonly greedy: boolean }
  | { readonly kind: "at"; readonly what: Assertion }
  | { readonly kind: "look"; readonly set: CharSet; readonly ahead: boolean; readonly negated: boolean };

const word = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
const shorthand: Readonly<Record<string, string>> = { w: word, d: "\\p{Nd}", s: "\\p{White_Space}", h: "0-9a-fA-F" };
const controls: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, a: 7, e: 27 };
const anchors: Readonly<Record<string, Assertion>> = {
  A: "textStart",
  z: "textEnd",
  Z: "lastLineEnd",
  b: "boundary",
  B: "noBoundary",
};
const posix: Readonly<Record<string, string>> = {
  alpha: "\\p{Alphabetic}",
  digit: "\\p{Nd}",
  alnum: "\\p{Alphabetic}\\p{Nd}",
  space: "\\p{White_Space}",
  upper: "\\p{Uppercase}",
  lower: "\\p{Lowercase}",
  xdigit: "0-9a-fA-F",
  word,
};
/** Pairs of letters that one character may stand for when case is ignored: "ss" for U+00DF. */
const joined = /ss|st|ff|fi|fl/i;
const maxDepth = 64;

export const wordSet: CharSet = { negated: false, source: word, nested: [], fold: false };

interface Flags {
  readonly fold: boolean;
  readonly dotAll: boolean;
}

const setOf = (source: string, fold = false, negated = false): CharSet => ({ negated, source, nested: [], fold });
/** One code point as the inside of a JavaScript class spells it. */
const spelled = (code: number): string => `\\u{${code.toString(16)}}`;

/** @throws SyntaxError naming the construct that is not read. */
export function parse(pattern: string): Node {
  return new Parser(pattern).whole();
}

class Parser {
  readonly #chars: readonly string[];
  #at = 0;
  #depth = 0;

  constructor(pattern: string) {
    this.#chars = [...pattern];
  }

  whole(): Node {
    const inline = /^\(\?([im]+)\)/.exec(this.#rest(6));
    const flags = { fold: inline?.[1]?.includes("i") ?? false, dotAll: inline?.[1]?.includes("m") ?? false };
    this.#at = inline?.[0].length ?? 0;
    const node = this.#alternatives(flags);
    if (this.#at < this.#chars.length) throw new SyntaxError("unmatched )");
    return node;
  }

  #rest(length: number): string {
    return this.#chars.slice(this.#at, this.#at + length).join("");
  }

  #alternatives(flags: Flags): Node {
    if (++this.#depth > maxDepth) throw new SyntaxError(`groups nested more than ${maxDepth} deep`);
    const parts: Node[] = [this.#sequence(flags)];
    while (this.#chars[this.#at] === "|") {
      this.#at++;
      parts.push(this.#sequence(flags));
    }
    this.#depth--;
    return parts.length === 1 ? parts[0]! : { kind: "any", parts };
  }

  #sequence(flags: Flags): Node {
    const parts: Node[] = [];
    const begin = this.#at;
    while (this.#at < this.#chars.length && this.#chars[this.#at] !== "|" && this.#chars[this.#at] !== ")") {
      const node = this.#atom(flags);
      parts.push(this.#repeats(node));
    }
    if (flags.fold && joined.test(this.#chars.slice(begin, this.#at).join("")))
      throw new SyntaxError("letters that one character may stand for where case is ignored");
    return { kind: "all", parts };
  }

  #repeats(body: Node): Node {
    let node = body;
    for (let count = 0; ; count++) {
      const [whole = "", sign = "", least, comma, most] = /^([*+?])|^\{(\d*)(,?)(\d*)\}/.exec(this.#rest(16)) ?? [];
      if (whole === "" || whole === "{}" || whole === "{,}") return node;
      if (node.kind === "at" || node.kind === "look") throw new SyntaxError("a repeated assertion");
      if (count > 0 && !(whole === "+" && node.kind === "repeat")) throw new SyntaxError("a repeat of a repeat");
      this.#at += whole.length;
      const min = sign ? (sign === "+" ? 1 : 0) : Number(least || 0);
      const max = sign ? (sign === "?" ? 1 : Infinity) : comma ? (most ? Number(most) : Infinity) : min;
      if (min > 1000 || (max !== Infinity && max > 1000) || max < min) throw new SyntaxError(`the repeat ${whole}`);
      const next = this.#chars[this.#at];
      if (!sign && !comma && next === "?") throw new SyntaxError(`${whole}?`);
      const lazy = next === "?";
      if (lazy) this.#at++;
      const possessive = sign !== "" && next === "+";
      if (mayBeEmpty(node) && max > 1) throw new SyntaxError("a repeat of what may be empty");
      if (possessive) {
        this.#at++;
        node = possessively(node, min, max);
        return node;
      }
      node = { kind: "repeat", body: node, min, max, greedy: !lazy };
      // {n,m}+ repeats once more; behind *, + and ? a + was possessive.
      if (sign || this.#chars[this.#at] !== "+") {
        if (/^(?:[*+?]|\{\d+,?\d*\})/.test(this.#rest(16))) throw new SyntaxError("a repeat of a repeat");
        return node;
      }
    }
  }

  #atom(flags: Flags): Node {
    const c = this.#chars[this.#at++]!;
    if (c === "(") return this.#group(flags);
    if (c === "[") return { kind: "set", set: this.#class(flags, 0) };
    if (c === ".") return { kind: "set", set: setOf(flags.dotAll ? "" : "\\n", false, true) };
    if (c === "^") return { kind: "at", what: "lineStart" };
    if (c === "$") return { kind: "at", what: "lineEnd" };
    if (c === "*" || c === "+" || c === "?") throw new SyntaxError(`nothing to repeat before ${c}`);
    if (c !== "\\") return { kind: "set", set: this.#literal(c.codePointAt(0)!, flags) };
    const anchor = anchors[this.#chars[this.#at] ?? ""];
    if (anchor !== undefined) {
      this.#at++;
      return { kind: "at", what: anchor };
    }
    const escaped = this.#escape();
    return { kind: "set", set: typeof escaped === "number" ? this.#literal(escaped, flags) : escaped };
  }

  #literal(code: number, { fold }: Flags): CharSet {
    if (fold && code > 127) throw new SyntaxError("letters beyond ASCII where case is ignored");
    return setOf(spelled(code), fold);
  }

  #group(flags: Flags): Node {
    const rest = this.#rest(40);
    const look = /^\?(<?)([=!])/.exec(rest);
    const named = /^\?<[A-Za-z_]\w*>/.exec(rest);
    const set = /^\?([im]*)(?:-([im]*))?:/.exec(rest);
    let inner = flags;
    if (look) this.#at += look[0].length;
    else if (named) this.#at += named[0].length;
    else if (set) {
      this.#at += set[0].length;
      const has = (flag: string, before: boolean) => !set[2]?.includes(flag) && (set[1]!.includes(flag) || before);
      inner = { fold: has("i", flags.fold), dotAll: has("m", flags.dotAll) };
    } else if (rest.startsWith("?")) throw new SyntaxError(`the group (${rest.slice(0, 3)}`);
    const node = this.#alternatives(inner);
    if (this.#chars[this.#at++] !== ")") throw new SyntaxError("unmatched (");
    if (!look) return node;
    const only = node.kind === "all" && node.parts.length === 1 ? node.parts[0]! : node;
    if (only.kind !== "set") throw new SyntaxError(`looking (${look[0]} at more than one character`);
    return { kind: "look", set: only.set, ahead: look[1] === "", negated: look[2] === "!" };
  }

  /** What stands behind a backslash, in a class or out of one: a code point or a set. */
  #escape(): number | CharSet {
    const c = this.#chars[this.#at++];
    if (c === undefined) throw new SyntaxError("a backslash at the end");
    const own = shorthand[c] ?? shorthand[c.toLowerCase()];
    if (own !== undefined) return setOf(own, false, c !== c.toLowerCase());
    if (Object.hasOwn(controls, c)) return controls[c]!;
    if (c === "p" || c === "P") return this.#property(c === "P");
    if (c === "x" || c === "u") {
      const digits = (c === "x" ? /^(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{2}))/ : /^()([0-9a-fA-F]{4})/).exec(this.#rest(8));
      const code = Number.parseInt(digits?.[1] || digits?.[2] || "", 16);
      if (!(code <= 0x10ffff)) throw new SyntaxError(`\\${c} without its digits`);
      this.#at += digits![0].length;
      return code;
    }
    if (/[A-Za-z0-9]/.test(c)) throw new SyntaxError(`\\${c}`);
    return c.codePointAt(0)!;
  }

  #property(outer: boolean): CharSet {
    const [whole, not, name = ""] = /^\{(\^?)(\w{1,40})\}/.exec(this.#rest(44)) ?? [];
    if (whole === undefined) throw new SyntaxError("\\p without a property");
    this.#at += whole.length;
    const known = Object.hasOwn(posix, name.toLowerCase()) ? posix[name.toLowerCase()] : undefined;
    const source = known ?? [`\\p{${name}}`, `\\p{Script=${name}}`].find(compiles);
    if (source === undefined) throw new SyntaxError(`\\p{${name}}`);
    return setOf(source, false, outer !== (not === "^"));
  }

  #class(flags: Flags, depth: number): CharSet {
    if (depth > maxDepth) throw new SyntaxError(`classes nested more than ${maxDepth} deep`);
    const negated = this.#chars[this.#at] === "^";
    if (negated) this.#at++;
    if (negated && flags.fold) throw new SyntaxError("a negated class where case is ignored");
    let source = "";
    const nested: CharSet[] = [];
    for (let first = true; ; first = false) {
      const c = this.#chars[this.#at];
      if (c === undefined) throw new SyntaxError("a class without an end");
      if (c === "]" && !first) break;
      if (c === "]") throw new SyntaxError("an empty class");
      if (c === "&" && this.#chars[this.#at + 1] === "&") throw new SyntaxError("the intersection &&");
      if (c === "[") {
        const named = /^\[:(\^?)(\w+):\]/.exec(this.#rest(16));
        if (named) {
          const own = Object.hasOwn(posix, named[2]!) ? posix[named[2]!] : undefined;
          if (own === undefined) throw new SyntaxError(named[0]);
          nested.push(setOf(own, false, named[1] === "^"));
          this.#at += named[0].length;
        } else {
          this.#at++;
          nested.push(this.#class(flags, depth + 1));
        }
        continue;
      }
      const low = this.#member();
      if (typeof low !== "number") {
        nested.push(low);
        continue;
      }
      if (flags.fold && low > 127) throw new SyntaxError("letters beyond ASCII where case is ignored");
      source += spelled(low);
      if (this.#chars[this.#at] !== "-" || this.#chars[this.#at + 1] === "]") continue;
      this.#at++;
      const high = this.#chars[this.#at] === "[" ? setOf("") : this.#member();
      if (typeof high !== "number" || high < low || (flags.fold && high > 127)) throw new SyntaxError("a range without an end");
      source += `-${spelled(high)}`;
    }
    this.#at++;
    return { negated, source, nested, fold: flags.fold };
  }

  #member(): number | CharSet {
    const c = this.#chars[this.#at++];
    if (c === undefined) throw new SyntaxError("a class without an end");
    if (c !== "\\") return c.codePointAt(0)!;
    if (this.#chars[this.#at] !== "b") return this.#escape();
    this.#at++;
    return 8;
  }
}

function compiles(source: string): boolean {
  try {
    return new RegExp(`[${source}]`, "u") !== undefined;
  } catch {
    return false;
  }
}

/** One character at a time, all of the run: as the greedy repeat that no further such character follows. */
function possessively(body: Node, min: number, max: number): Node {
  const only = body.kind === "all" && body.parts.length === 1 ? body.parts[0]! : body;
  if (only.kind !== "set") throw new SyntaxError("a possessive repeat of more than one character");
  const end: Node = { kind: "look", set: only.set, ahead: true, negated: true };
  if (max === 1) return { kind: "any", parts: [only, end] };
  return { kind: "all", parts: [{ kind: "repeat", body: only, min, max, greedy: true }, end] };
}

function mayBeEmpty(node: Node): boolean {
  if (node.kind === "set") return false;
  if (node.kind === "all") return node.parts.every(mayBeEmpty);
  if (node.kind === "any") return node.parts.some(mayBeEmpty);
  return node.kind !== "repeat" || node.min === 0 || mayBeEmpty(node.body);
}
