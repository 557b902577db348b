// ECMAScript regular expressions, the linear ones, as automata over UTF-8 bytes.
import { determinise } from "./determinise.ts";
import type { Dfa } from "./dfa.ts";
import type { CodePoints } from "./grammar.ts";
import { MAX_NESTING, MAX_STRING_STATES, UnsupportedSchemaError } from "./limits.ts";
import { Nfa } from "./nfa.ts";
import { trimmed } from "./strings.ts";
import { ALL, inverted, normalised } from "./utf8.ts";

type Node =
  | { readonly kind: "chars"; readonly set: CodePoints }
  | { readonly kind: "seq"; readonly parts: readonly Node[] }
  | { readonly kind: "alt"; readonly parts: readonly Node[] }
  | { readonly kind: "repeat"; readonly part: Node; readonly least: number; readonly most: number }
  | { readonly kind: "start" | "end" };

const DIGIT = [0x30, 0x39];
const WORD = [0x30, 0x39, 0x41, 0x5a, 0x5f, 0x5f, 0x61, 0x7a];
const SPACE = normalised(
  [9, 10, 11, 12, 13, 32, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff]
    .flatMap((c) => [c, c])
    .concat([0x2000, 0x200a]),
);
const LINE_ENDS = [10, 10, 13, 13, 0x2028, 0x2029];
const NAMED: Readonly<Record<string, readonly number[]>> = {
  d: DIGIT,
  D: inverted(DIGIT),
  w: WORD,
  W: inverted(WORD),
  s: SPACE,
  S: inverted(SPACE),
};
const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, 0: 0 };

/** Sets of Unicode properties, as this runtime's own expressions know them. */
const properties = new Map<string, readonly number[]>();

function property(name: string, refuse: (why: string) => never): readonly number[] {
  let set = properties.get(name);
  if (set) return set;
  let test: RegExp;
  try {
    test = new RegExp(`^\\p{${name}}$`, "u");
  } catch {
    refuse(`unknown property \\p{${name}}`);
  }
  const out: number[] = [];
  for (let c = 0; c <= 0x10ffff; c++) {
    if (c === 0xd800) c = 0xe000;
    if (!test.test(String.fromCodePoint(c))) continue;
    if (out[out.length - 1] === c - 1) out[out.length - 1] = c;
    else out.push(c, c);
  }
  set = normalised(out);
  properties.set(name, set);
  return set;
}

/** Reads a pattern by the grammar of the `u` flag; beyond it, escapes of punctuation (`\-`) and lone `{`, `}`, `]` stand for themselves. */
class Parser {
  readonly #text: readonly string[];
  readonly #refuse: (why: string) => never;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, refuse: (why: string) => never) {
    this.#text = [...pattern];
    this.#refuse = refuse;
  }

  parse(): Node {
    const node = this.#alternatives();
    if (this.#at < this.#text.length) this.#refuse(`unexpected ${this.#text[this.#at]} at character ${this.#at}`);
    return node;
  }

  #peek(text: string): boolean {
    for (let i = 0; i < text.length; i++) if (this.#text[this.#at + i] !== text[i]) return false;
    return true;
  }

  #take(text: string): boolean {
    if (!this.#peek(text)) return false;
    this.#at += text.length;
    return true;
  }

  #alternatives(): Node {
    if (++this.#depth > MAX_NESTING) this.#refuse(`groups nested more than ${MAX_NESTING} deep`);
    const parts = [this.#sequence()];
    while (this.#take("|")) parts.push(this.#sequence());
    this.#depth--;
    return parts.length === 1 ? parts[0]! : { kind: "alt", parts };
  }

  #sequence(): Node {
    const parts: Node[] = [];
    while (this.#at < this.#text.length && !this.#peek("|") && !this.#peek(")")) parts.push(this.#quantified());
    return parts.length === 1 ? parts[0]! : { kind: "seq", parts };
  }

  #quantified(): Node {
    const node = this.#atom();
    const bounds = this.#quantifier();
    if (!bounds) return node;
    if (node.kind === "start" || node.kind === "end") this.#refuse("a repeated ^ or $");
    this.#take("?");
    if (this.#quantifier()) this.#refuse(`nothing to repeat at character ${this.#at}`);
    return { kind: "repeat", part: node, least: bounds[0], most: bounds[1] };
  }

  #quantifier(): [number, number] | undefined {
    if (this.#take("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.#take("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.#take("?")) return [0, 1];
    if (!this.#peek("{")) return undefined;
    const match = /^\{(\d{1,15})(,(\d{1,15})?)?\}/.exec(this.#text.slice(this.#at, this.#at + 40).join(""));
    if (!match) return undefined;
    this.#at += match[0].length;
    const least = Number(match[1]);
    const most = match[2] === undefined ? least : match[3] === undefined ? Number.POSITIVE_INFINITY : Number(match[3]);
    if (most < least) this.#refuse(`${match[0]}: its bounds are the wrong way round`);
    return [least, most];
  }

  #atom(): Node {
    const c = this.#text[this.#at++]!;
    switch (c) {
      case "^":
        return { kind: "start" };
      case "$":
        return { kind: "end" };
      case ".":
        return { kind: "chars", set: inverted(LINE_ENDS) };
      case "(":
        return this.#group();
      case "[":
        return { kind: "chars", set: this.#class() };
      case "*":
      case "+":
      case "?":
        return this.#refuse(`nothing to repeat at character ${this.#at - 1}`);
      case "\\": {
        if (this.#peek("b") || this.#peek("B")) this.#refuse("\\b and \\B look around");
        if (/^[1-9]$/.test(this.#text[this.#at] ?? "") || this.#peek("k<")) this.#refuse("a back reference");
        return { kind: "chars", set: normalised(this.#escape()) };
      }
      default:
        return { kind: "chars", set: normalised([c.codePointAt(0)!, c.codePointAt(0)!]) };
    }
  }

  #group(): Node {
    if (this.#take("?")) {
      if (this.#peek("=") || this.#peek("!") || this.#peek("<=") || this.#peek("<!")) this.#refuse("look-around");
      if (this.#take("<")) {
        while (this.#at < this.#text.length && !this.#take(">")) this.#at++;
      } else if (!this.#take(":")) this.#refuse("a group of an unknown kind");
    }
    const node = this.#alternatives();
    if (!this.#take(")")) this.#refuse("a group that does not end");
    // A quantifier of a group that is an anchor alone is refused above; inside a group it is fine.
    return node.kind === "start" || node.kind === "end" ? { kind: "seq", parts: [node] } : node;
  }

  /** What follows a backslash, as a set. */
  #escape(): readonly number[] {
    const c = this.#text[this.#at++];
    if (c === undefined) return this.#refuse("a backslash at the end");
    const named = NAMED[c];
    if (named) return named;
    if (c === "0" && /\d/.test(this.#text[this.#at] ?? "")) this.#refuse("an octal escape");
    const control = CONTROLS[c];
    if (control !== undefined) return [control, control];
    if (c === "p" || c === "P") {
      const name = /^\{([A-Za-z0-9_=]+)\}/.exec(this.#text.slice(this.#at, this.#at + 80).join(""));
      if (!name) return this.#refuse(`\\${c} without a property`);
      this.#at += name[0].length;
      const set = property(name[1]!, this.#refuse);
      return c === "p" ? set : inverted(set);
    }
    if (c === "c") {
      const letter = this.#text[this.#at++] ?? "";
      if (!/^[A-Za-z]$/.test(letter)) this.#refuse("\\c without a letter");
      return [letter.charCodeAt(0) & 31, letter.charCodeAt(0) & 31];
    }
    if (c === "x" || c === "u") {
      const code = this.#hex(c);
      return [code, code];
    }
    if (/^[A-Za-z0-9]$/.test(c)) return this.#refuse(`unknown escape \\${c}`);
    return [c.codePointAt(0)!, c.codePointAt(0)!];
  }

  #hex(kind: "x" | "u"): number {
    const rest = this.#text.slice(this.#at, this.#at + 12).join("");
    const braces = kind === "u" ? /^\{([0-9A-Fa-f]{1,6})\}/.exec(rest) : null;
    const match = braces ?? (kind === "u" ? /^([0-9A-Fa-f]{4})/ : /^([0-9A-Fa-f]{2})/).exec(rest);
    if (!match) return this.#refuse(`\\${kind} without its digits`);
    this.#at += match[0].length;
    const code = Number.parseInt(match[1]!, 16);
    if (code > 0x10ffff) return this.#refuse(`\\u{${match[1]}} is beyond Unicode`);
    const low = code >= 0xd800 && code < 0xdc00 ? /^\\u([dD][c-fC-F][0-9A-Fa-f]{2})/.exec(rest.slice(match[0].length)) : null;
    if (!low) return code;
    this.#at += low[0].length;
    return 0x10000 + ((code - 0xd800) << 10) + (Number.parseInt(low[1]!, 16) - 0xdc00);
  }

  #class(): CodePoints {
    const negated = this.#take("^");
    const out: number[] = [];
    for (;;) {
      if (this.#at >= this.#text.length) this.#refuse("a class that does not end");
      if (this.#take("]")) break;
      const low = this.#classAtom();
      if (this.#peek("-") && this.#text[this.#at + 1] !== "]" && this.#at + 1 < this.#text.length) {
        const before = this.#at;
        this.#at++;
        const high = this.#classAtom();
        if (low.length === 2 && low[0] === low[1] && high.length === 2 && high[0] === high[1]) {
          if (low[0]! > high[0]!) this.#refuse("a range whose ends are the wrong way round");
          out.push(low[0]!, high[0]!);
          continue;
        }
        // As outside Unicode mode: a hyphen beside a set is itself.
        this.#at = before + 1;
        out.push(...low, 0x2d, 0x2d);
        continue;
      }
      out.push(...low);
    }
    const set = normalised(out);
    return negated ? inverted(set) : set;
  }

  #classAtom(): readonly number[] {
    const c = this.#text[this.#at++]!;
    if (c !== "\\") return [c.codePointAt(0)!, c.codePointAt(0)!];
    if (this.#take("b")) return [8, 8];
    return this.#escape();
  }
}

/** Whether every way through the node begins (ends) at an anchor. */
function anchored(node: Node, kind: "start" | "end"): boolean {
  switch (node.kind) {
    case "seq": {
      const part = node.parts[kind === "start" ? 0 : node.parts.length - 1];
      return part !== undefined && anchored(part, kind);
    }
    case "alt":
      return node.parts.every((p) => anchored(p, kind));
    case "repeat":
      return node.least > 0 && node.most === 1 && anchored(node.part, kind);
    default:
      return node.kind === kind;
  }
}

const cache = new Map<string, Dfa | undefined>();

/**
 * The texts in which `pattern` is found (as JSON Schema's `pattern`), or that it matches as a whole; undefined: none.
 * @throws UnsupportedSchemaError for look-around, back references, `\b` and what is no regular expression; CpmError
 * "unsupported" for what takes too many states.
 */
export function regexDfa(pattern: string, path: string, whole = false, keyword = "pattern"): Dfa | undefined {
  const key = `${whole} ${pattern}`;
  if (cache.has(key)) return cache.get(key);
  const refuse = (why: string): never => {
    throw new UnsupportedSchemaError(path, keyword, `${JSON.stringify(pattern.slice(0, 80))}: ${why}`);
  };
  const node = new Parser(pattern, refuse).parse();
  const nfa = new Nfa();
  const start = nfa.state();
  const body = nfa.state();
  nfa.join(start, body);
  if (!whole && !anchored(node, "start")) {
    const any = nfa.state();
    nfa.chars(any, ALL, any);
    nfa.join(start, any);
    nfa.join(any, body);
  }
  const end = add(nfa, node, body, refuse);
  if (!whole && !anchored(node, "end")) nfa.chars(end, ALL, end);
  const dfa = trimmed(determinise(nfa, start, end, path, MAX_STRING_STATES));
  if (cache.size > 256) cache.clear();
  cache.set(key, dfa);
  return dfa;
}

function add(nfa: Nfa, node: Node, from: number, refuse: (why: string) => never): number {
  if (nfa.edges.length > 20 * MAX_STRING_STATES) refuse("it repeats too much");
  const to = nfa.state();
  switch (node.kind) {
    case "chars":
      nfa.chars(from, node.set, to);
      return to;
    case "seq":
      for (const part of node.parts) from = add(nfa, part, from, refuse);
      return from;
    case "alt":
      for (const part of node.parts) {
        const begin = nfa.state();
        nfa.join(from, begin);
        nfa.join(add(nfa, part, begin, refuse), to);
      }
      return to;
    case "start":
    case "end": {
      const at = node.kind === "start" ? nfa.atStart : nfa.atEnd;
      at.set(from, [...(at.get(from) ?? []), to]);
      return to;
    }
    case "repeat": {
      const { part, least, most } = node;
      const endless = most === Number.POSITIVE_INFINITY;
      const copies = endless ? least : most;
      for (let i = 0; i < copies; i++) {
        if (i >= least) nfa.join(from, to);
        const before = nfa.edges.length;
        from = add(nfa, part, from, refuse);
        if (copies * (nfa.edges.length - before) > 20 * MAX_STRING_STATES) refuse("it repeats too much");
      }
      if (endless) {
        const again = nfa.state();
        nfa.join(from, again);
        nfa.join(add(nfa, part, again, refuse), again);
        from = again;
      }
      nfa.join(from, to);
      return to;
    }
  }
}
