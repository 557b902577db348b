// GBNF, the grammar files of llama.cpp, as parts.
import { alt, anyTokenBut, call, chars, literal, type Part, Rule, repeat, seq, token } from "./grammar.ts";
import { badGrammar, MAX_NESTING, MAX_SOURCE } from "./limits.ts";
import { ALL, inverted, normalised } from "./utf8.ts";

/** Parts of a rule that is written out where it is called, at most. */
const INLINED = 200;

export interface GbnfOptions {
  /** The id of a special token named as `<name>`; undefined: there is none. */
  readonly tokenId?: ((name: string) => number | undefined) | undefined;
}

class Parser {
  readonly #text: string;
  readonly #options: GbnfOptions;
  readonly rules = new Map<string, Rule>();
  readonly #defined = new Set<string>();
  #at = 0;
  #depth = 0;

  constructor(text: string, options: GbnfOptions) {
    this.#text = text;
    this.#options = options;
  }

  fail(what: string, todo = "see the grammar's syntax in docs/constrain.md"): never {
    const before = this.#text.slice(0, this.#at);
    const line = before.split("\n").length;
    throw badGrammar(`grammar, line ${line}, column ${this.#at - before.lastIndexOf("\n")}`, what, todo);
  }

  parse(): void {
    this.#space(true);
    while (this.#at < this.#text.length) this.#rule();
    for (const name of this.rules.keys())
      if (!this.#defined.has(name))
        throw badGrammar("grammar", `rule ${name} is used but not defined`, "define it, or correct its name");
    if (!this.#defined.has("root")) throw badGrammar("grammar", "there is no rule root", "begin with root ::= …");
  }

  #peek(text: string): boolean {
    return this.#text.startsWith(text, this.#at);
  }

  /** Blanks and comments; line ends where they may stand. */
  #space(lines: boolean): void {
    for (;;) {
      const c = this.#text[this.#at];
      if (c === "#") while (this.#at < this.#text.length && !/[\r\n]/.test(this.#text[this.#at]!)) this.#at++;
      else if (c === " " || c === "\t" || (lines && (c === "\r" || c === "\n"))) this.#at++;
      else return;
    }
  }

  #name(): string {
    const name = /^[A-Za-z0-9_-]+/.exec(this.#text.slice(this.#at, this.#at + 256))?.[0];
    if (name === undefined) this.fail("expected the name of a rule");
    this.#at += name.length;
    return name;
  }

  #named(name: string): Rule {
    let rule = this.rules.get(name);
    if (!rule) this.rules.set(name, (rule = new Rule(name)));
    return rule;
  }

  #rule(): void {
    const name = this.#name();
    this.#space(false);
    if (!this.#peek("::=")) this.fail("expected ::=");
    this.#at += 3;
    this.#space(true);
    this.#named(name).body = this.#alternatives(false);
    this.#defined.add(name);
    if (this.#at < this.#text.length && !/[\r\n]/.test(this.#text[this.#at]!)) this.fail("expected the end of the line");
    this.#space(true);
  }

  #alternatives(nested: boolean): Part {
    if (++this.#depth > MAX_NESTING) this.fail(`groups nested more than ${MAX_NESTING} deep`, "use rules");
    const parts = [this.#sequence(nested)];
    for (;;) {
      // A bar may begin the next line.
      const before = this.#at;
      this.#space(true);
      if (!this.#peek("|")) {
        this.#at = before;
        break;
      }
      this.#at++;
      this.#space(true);
      parts.push(this.#sequence(nested));
    }
    if (nested) this.#space(true);
    this.#depth--;
    return parts.length === 1 ? parts[0]! : alt(...parts);
  }

  #sequence(nested: boolean): Part {
    const parts: Part[] = [];
    for (;;) {
      const part = this.#symbol();
      if (part === undefined) break;
      parts.push(this.#repeated(part));
      this.#space(nested);
    }
    return seq(...parts);
  }

  #symbol(): Part | undefined {
    const c = this.#text[this.#at];
    if (c === '"') return this.#literal();
    if (c === "[") return chars(this.#class());
    if (c === "(") {
      this.#at++;
      this.#space(true);
      const part = this.#alternatives(true);
      if (!this.#peek(")")) this.fail("expected )");
      this.#at++;
      return part;
    }
    if (c === ".") {
      this.#at++;
      return chars(ALL);
    }
    if (c === "<" || this.#peek("!<")) return this.#token();
    if (c !== undefined && /[A-Za-z0-9_-]/.test(c)) return call(this.#named(this.#name()));
    return undefined;
  }

  #repeated(part: Part): Part {
    for (;;) {
      this.#space(false);
      const c = this.#text[this.#at];
      if (c === "*" || c === "+" || c === "?") {
        this.#at++;
        part = c === "*" ? repeat(part, 0) : c === "+" ? repeat(part, 1) : repeat(part, 0, 1);
        continue;
      }
      if (c !== "{") return part;
      const match = /^\{\s*(\d{0,10})\s*(,?)\s*(\d{0,10})\s*\}/.exec(this.#text.slice(this.#at, this.#at + 64));
      if (!match || (match[1] === "" && match[2] === "")) this.fail("expected {n}, {n,} or {n,m}");
      if (match[1] === "") this.fail("expected a number");
      const least = Number(match[1]);
      const most = match[2] === "" ? least : match[3] === "" ? Number.POSITIVE_INFINITY : Number(match[3]);
      if (most < least) this.fail(`{${least},${most}}: its bounds are the wrong way round`, "swap them");
      this.#at += match[0].length;
      part = repeat(part, least, most);
    }
  }

  #character(): string {
    const code = this.#text.codePointAt(this.#at);
    if (code === undefined) this.fail("the grammar ends inside a text or class");
    const c = String.fromCodePoint(code);
    this.#at += c.length;
    if (c !== "\\") return c;
    const letter = this.#text[this.#at++];
    const digits = letter === "x" ? 2 : letter === "u" ? 4 : letter === "U" ? 8 : 0;
    if (digits > 0) {
      const hex = this.#text.slice(this.#at, this.#at + digits);
      if (!new RegExp(`^[0-9A-Fa-f]{${digits}}$`).test(hex) || Number.parseInt(hex, 16) > 0x10ffff)
        this.fail(`expected ${digits} hexadecimal digits of a character`);
      this.#at += digits;
      return String.fromCodePoint(Number.parseInt(hex, 16));
    }
    const plain: Readonly<Record<string, string>> = {
      t: "\t",
      r: "\r",
      n: "\n",
      "\\": "\\",
      '"': '"',
      "[": "[",
      "]": "]",
      "-": "-",
    };
    const meant = plain[letter ?? ""];
    if (meant === undefined) this.fail(`unknown escape \\${letter ?? ""}`);
    return meant;
  }

  #literal(): Part {
    this.#at++;
    let text = "";
    while (!this.#peek('"')) {
      if (this.#at >= this.#text.length) this.fail("a text that does not end");
      text += this.#character();
    }
    this.#at++;
    return literal(text);
  }

  #class(): readonly number[] {
    this.#at++;
    const negated = this.#peek("^");
    if (negated) this.#at++;
    const out: number[] = [];
    while (!this.#peek("]")) {
      if (this.#at >= this.#text.length) this.fail("a class that does not end");
      const low = this.#character().codePointAt(0)!;
      if (this.#peek("-") && this.#text[this.#at + 1] !== "]") {
        this.#at++;
        const high = this.#character().codePointAt(0)!;
        if (high < low) this.fail("a range whose ends are the wrong way round");
        out.push(low, high);
      } else out.push(low, low);
    }
    this.#at++;
    const set = normalised(out);
    return negated ? inverted(set) : set;
  }

  #token(): Part {
    const negated = this.#peek("!");
    if (negated) this.#at++;
    const match = /^<(?:\[(\d{1,9})\]|([^>\s[][^>\r\n]*))>/.exec(this.#text.slice(this.#at, this.#at + 256));
    if (!match) this.fail("expected a token as <[id]> or <name>");
    const name = match[0];
    const id = match[1] === undefined ? this.#options.tokenId?.(name) : Number(match[1]);
    if (id === undefined)
      this.fail(`${name} is no special token of this vocabulary`, "write it as a text, or give its id: <[id]>");
    this.#at += name.length;
    return negated ? anyTokenBut(id) : token(id);
  }
}

/** Rules that come back to themselves. */
function recursive(rules: ReadonlyMap<string, Rule>): Set<Rule> {
  const calls = new Map([...rules.values()].map((rule) => [rule, calledIn(rule.body!)]));
  const found = new Set<Rule>();
  // A rule that only calls rules which end is not recursive: take those away until none is left.
  const open = new Set(calls.keys());
  for (let again = true; again; ) {
    again = false;
    for (const rule of open)
      if (![...calls.get(rule)!].some((r) => open.has(r))) {
        open.delete(rule);
        again = true;
      }
  }
  for (const rule of open) found.add(rule);
  return found;
}

function calledIn(part: Part, into = new Set<Rule>()): Set<Rule> {
  if (part.kind === "call") into.add(part.rule);
  else if (part.kind === "repeat") calledIn(part.part, into);
  else if (part.kind === "seq" || part.kind === "alt") for (const one of part.parts) calledIn(one, into);
  return into;
}

/** The part with calls of small rules written out, so that fewer rules end inside tokens. */
function inlined(part: Part, keep: ReadonlySet<Rule>, sizes: Map<Rule, number>): Part {
  switch (part.kind) {
    case "call": {
      const { rule } = part;
      if (keep.has(rule)) return part;
      if (!sizes.has(rule)) {
        rule.body = inlined(rule.body!, keep, sizes);
        sizes.set(rule, size(rule.body));
      }
      return sizes.get(rule)! <= INLINED ? rule.body! : part;
    }
    case "repeat":
      return { ...part, part: inlined(part.part, keep, sizes) };
    case "seq":
    case "alt":
      return { kind: part.kind, parts: part.parts.map((one) => inlined(one, keep, sizes)) };
    default:
      return part;
  }
}

function size(part: Part): number {
  switch (part.kind) {
    case "bytes":
      return part.bytes.length;
    case "repeat":
      return (part.most === Number.POSITIVE_INFINITY ? Math.max(1, part.least) : part.most) * size(part.part);
    case "seq":
    case "alt":
      return part.parts.reduce((n, one) => n + size(one), 1);
    default:
      return 2;
  }
}

/**
 * Reads a grammar: rules `name ::= …` of texts, classes, groups, `|`, `* + ? {n,m}`, `.`, tokens `<[id]>`, `<name>` and `!<[id]>`.
 * The text begins with rule `root`.
 * @throws CpmError "bad-input" with line and column
 */
export function readGbnf(text: string, options: GbnfOptions = {}): Rule {
  if (text.length > MAX_SOURCE) throw badGrammar("grammar", `more than ${MAX_SOURCE} characters`, "make it smaller");
  const parser = new Parser(text, options);
  parser.parse();
  const keep = recursive(parser.rules);
  const sizes = new Map<Rule, number>();
  for (const rule of keep) rule.body = inlined(rule.body!, keep, sizes);
  const root = parser.rules.get("root")!;
  if (!keep.has(root)) root.body = inlined(root.body!, keep, sizes);
  return root;
}
