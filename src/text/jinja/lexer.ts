// A template's source as tokens, by the rules of Jinja's own lexer with trim_blocks and lstrip_blocks, in one linear pass.
import { isSpace } from "./strings.ts";

export type TokenKind =
  | "data"
  | "block"
  | "blockEnd"
  | "variable"
  | "variableEnd"
  | "name"
  | "int"
  | "float"
  | "string"
  | "operator"
  | "end";
export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly line: number;
}

const operators = [
  "//",
  "**",
  "==",
  "!=",
  "<=",
  ">=",
  "+",
  "-",
  "/",
  "*",
  "%",
  "~",
  "[",
  "]",
  "(",
  ")",
  "{",
  "}",
  ">",
  "<",
  "=",
  ".",
  ":",
  "|",
  ",",
  ";",
];
const nameAt = /[\p{ID_Start}_][\p{ID_Continue}]*/uy;
const floatAt = /(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?[eE][+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/y;
const intAt = /0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\da-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*/y;
const open: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };

const failure = (line: number, what: string) => new Error(`line ${line}: ${what}`);

/** Throws Error for what is no template. */
export function tokenize(template: string): Token[] {
  let source = template.replace(/\r\n?/g, "\n");
  if (source.endsWith("\n")) source = source.slice(0, -1);
  return new Lexer(source).run();
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #line = 1;
  #counted = 0;
  /** Whether what was read last ended a line, or nothing was read. */
  #lineStarts = true;

  constructor(source: string) {
    this.#source = source;
  }

  run(): Token[] {
    const begins = /\{[%{#]/g;
    for (;;) {
      begins.lastIndex = this.#at;
      const match = begins.exec(this.#source);
      if (!match) break;
      this.#tag(match.index, match[0][1] as "%" | "{" | "#");
    }
    if (this.#at < this.#source.length) this.#push("data", this.#source.slice(this.#at));
    this.#at = this.#source.length;
    this.#push("end", "");
    return this.#tokens;
  }

  #push(kind: TokenKind, text: string): void {
    for (let i = this.#source.indexOf("\n", this.#counted); i >= 0 && i < this.#at; i = this.#source.indexOf("\n", i + 1)) {
      this.#line++;
      this.#counted = i + 1;
    }
    this.#tokens.push({ kind, text, line: this.#line });
  }

  /** Text before a tag at `end`, without the white space that the tag takes away. */
  #data(end: number, sign: string, strips: boolean): void {
    let text = this.#source.slice(this.#at, end);
    if (sign === "-") {
      let last = text.length;
      while (last > 0 && isSpace(text[last - 1]!)) last--;
      text = text.slice(0, last);
    } else if (sign !== "+" && strips) {
      const line = text.lastIndexOf("\n") + 1;
      let blank = line < text.length && (line > 0 || this.#lineStarts);
      for (let i = line; blank && i < text.length; i++) blank = isSpace(text[i]!);
      if (blank) text = text.slice(0, line);
    }
    if (text !== "") this.#push("data", text);
    this.#at = end;
  }

  #spaces(at: number): number {
    while (at < this.#source.length && isSpace(this.#source[at]!)) at++;
    return at;
  }

  /** Behind the end of a block or comment at `at` ("%}" or "#}"): with a sign, or with the line break that goes with it. */
  #behind(at: number, sign: string): void {
    const after = at + 2;
    this.#at = sign === "-" ? this.#spaces(after) : sign !== "+" && this.#source[after] === "\n" ? after + 1 : after;
    this.#lineStarts = this.#source[this.#at - 1] === "\n";
  }

  #tag(begin: number, kind: "%" | "{" | "#"): void {
    const source = this.#source;
    const sign = source[begin + 2] === "-" || source[begin + 2] === "+" ? source[begin + 2]! : "";
    this.#data(begin, sign, kind !== "{");
    const inside = begin + 2 + sign.length;
    if (kind === "#") {
      const end = source.indexOf("#}", inside);
      if (end < 0) throw failure(this.#line, "a comment without an end");
      const last = end > begin + 2 ? source[end - 1]! : "";
      this.#behind(end, last === "-" || last === "+" ? last : "");
    } else if (kind === "%" && this.#raw(inside)) return;
    else {
      this.#at = inside;
      this.#push(kind === "%" ? "block" : "variable", source.slice(begin, inside));
      this.#expression(kind === "%" ? "%}" : "}}");
    }
  }

  /** A raw block as data. False: there is none at `inside`. */
  #raw(inside: number): boolean {
    const source = this.#source;
    let at = this.#spaces(inside);
    if (!source.startsWith("raw", at)) return false;
    at = this.#spaces(at + 3);
    const trims = source.startsWith("-%}", at);
    if (!trims && !source.startsWith("%}", at)) return false;
    this.#at = trims ? this.#spaces(at + 3) : at + 2;
    this.#lineStarts = source[this.#at - 1] === "\n";
    const ends = /\{%([-+]?)/g;
    ends.lastIndex = this.#at;
    for (let match = ends.exec(source); match; match = ends.exec(source)) {
      const word = this.#spaces(ends.lastIndex);
      if (!source.startsWith("endraw", word)) continue;
      const close = this.#spaces(word + 6);
      const sign = source[close] === "-" || source[close] === "+" ? source[close]! : "";
      if (!source.startsWith("%}", close + sign.length)) continue;
      this.#data(match.index, match[1]!, true);
      this.#behind(close + sign.length, sign);
      return true;
    }
    throw failure(this.#line, "a raw block without an end");
  }

  #expression(end: "%}" | "}}"): void {
    const source = this.#source;
    const stack: string[] = [];
    for (;;) {
      this.#at = this.#spaces(this.#at);
      if (this.#at >= source.length) throw failure(this.#line, `"${end}" is missing`);
      const sign = source[this.#at] === "-" || (end === "%}" && source[this.#at] === "+") ? source[this.#at]! : "";
      if (stack.length === 0 && source.startsWith(end, this.#at + sign.length)) {
        const at = this.#at + sign.length;
        if (end === "%}") this.#behind(at, sign);
        else {
          this.#at = sign === "-" ? this.#spaces(at + 2) : at + 2;
          this.#lineStarts = source[this.#at - 1] === "\n";
        }
        this.#push(end === "%}" ? "blockEnd" : "variableEnd", end);
        return;
      }
      this.#token(stack);
    }
  }

  #token(stack: string[]): void {
    const source = this.#source;
    const c = source[this.#at]!;
    for (const [kind, pattern] of [
      ["float", floatAt],
      ["int", intAt],
      ["name", nameAt],
    ] as const) {
      if (kind === "float" && source[this.#at - 1] === ".") continue;
      pattern.lastIndex = this.#at;
      const found = pattern.exec(source)?.[0];
      if (found === undefined) continue;
      this.#at += found.length;
      this.#push(kind, found);
      return;
    }
    if (c === "'" || c === '"') {
      let end = this.#at + 1;
      while (end < source.length && source[end] !== c) end += source[end] === "\\" ? 2 : 1;
      if (end >= source.length) throw failure(this.#line, "a text without its closing quote");
      const body = source.slice(this.#at + 1, end);
      this.#at = end + 1;
      this.#push("string", unescaped(body));
      return;
    }
    const operator = operators.find((o) => source.startsWith(o, this.#at));
    if (operator === undefined) throw failure(this.#line, `unexpected character ${JSON.stringify(c)}`);
    if (operator in open) stack.push(open[operator]!);
    else if (")]}".includes(operator) && stack.pop() !== operator) throw failure(this.#line, `unexpected "${operator}"`);
    this.#at += operator.length;
    this.#push("operator", operator);
  }
}

const simple: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  a: "\x07",
  b: "\b",
  f: "\f",
  v: "\v",
  "\\": "\\",
  "'": "'",
  '"': '"',
  "\n": "",
};

/** Python's escapes in a literal; unknown ones stay as they are written. */
function unescaped(text: string): string {
  return text.replace(/\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{1,3})|([\s\S]))/g, (all, x, u, U, o, c) => {
    const hex: string | undefined = x ?? u ?? U;
    if (hex !== undefined) {
      const code = Number.parseInt(hex, 16);
      if (code > 0x10ffff) throw new Error("a \\U escape above U+10FFFF");
      return String.fromCodePoint(code);
    }
    if (o !== undefined) return String.fromCharCode(Number.parseInt(o as string, 8));
    return simple[c as string] ?? (all as string);
  });
}
