// Python literals and calls with keyword arguments, read as text: nothing is ever evaluated.
import { type Cursor, Incomplete, MAX_DEPTH } from "./cursor.ts";

const WORD = /[\p{L}_][\p{L}\p{N}_]*/uy;
const NUMBER =
  /(?:0[xX][\da-fA-F]+(?:_[\da-fA-F]+)*|0[oO][0-7]+|0[bB][01]+|(?:\d+(?:_\d+)*)?\.\d+(?:[eE][+-]?\d+)?|\d+(?:_\d+)*\.?(?:[eE][+-]?\d+)?)/y;
const escapes: Readonly<Record<string, string>> = {
  "\\": "\\",
  // JSON's, which models write and whose strings the grammars of calls have.
  "/": "/",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

function hex(cursor: Cursor, digits: number): number {
  const text = cursor.text.slice(cursor.at, cursor.at + digits);
  if (/^[\da-f]*$/i.test(text) && text.length < digits) throw new Incomplete("an escape");
  if (!/^[\da-f]+$/i.test(text)) throw cursor.wrong(`expected ${digits} hexadecimal digits`);
  cursor.at += digits;
  return Number.parseInt(text, 16);
}

function escaped(cursor: Cursor): string {
  const next = cursor.peek();
  cursor.at++;
  if (next === "\n") return "";
  if (next === "x") return String.fromCharCode(hex(cursor, 2));
  if (next === "u") return String.fromCharCode(hex(cursor, 4));
  if (next === "U") {
    const code = hex(cursor, 8);
    if (code > 0x10ffff) throw cursor.wrong("no such code point");
    return String.fromCodePoint(code);
  }
  if (/[0-7]/.test(next)) {
    cursor.at--;
    return String.fromCharCode(Number.parseInt(cursor.match(/[0-7]{1,3}/y), 8));
  }
  // Python keeps an unknown escape as it is.
  return escapes[next] ?? `\\${next}`;
}

/** One string literal, prefix r or u allowed; several in a row are one, as in Python. */
function pythonString(cursor: Cursor): string {
  const prefix = cursor.match(/[rRuUbB]?(?=['"])/y).toLowerCase();
  if (prefix === "b") cursor.spoilt = "bytes are no JSON value";
  const quote = cursor.peek();
  let end = quote;
  if (cursor.text.startsWith(quote.repeat(3), cursor.at)) end = quote.repeat(3);
  cursor.at += end.length;
  let out = "";
  for (;;) {
    if (cursor.text.startsWith(end, cursor.at)) break;
    const next = cursor.peek();
    cursor.at++;
    if (next === "\\" && prefix === "r") {
      out += next + cursor.peek();
      cursor.at++;
    } else if (next === "\\") out += escaped(cursor);
    else if (next === "\n" && end.length === 1) throw cursor.wrong("a line break in a string");
    else out += next;
  }
  // An empty string may yet become three quotes.
  if (end.length === 1 && out === "" && cursor.at + 1 >= cursor.text.length) throw new Incomplete("a string");
  cursor.at += end.length;
  return out;
}

function pythonNumber(cursor: Cursor, sign: string): string {
  const found = cursor.match(NUMBER);
  if (found === "") throw cursor.wrong(`expected a literal, found ${JSON.stringify(cursor.peek())}`);
  if (cursor.ended) throw new Incomplete("a number");
  if (/^[xobeE_][+-]?$/.test(cursor.text.slice(cursor.at, cursor.at + 3))) throw new Incomplete("a number");
  if (/[\p{L}_]/u.test(cursor.peek())) throw cursor.wrong("letters after a number");
  const plain = found.replaceAll("_", "");
  if (/^0\d/.test(plain) && !/[.eE]/.test(plain) && /[1-9]/.test(plain)) throw cursor.wrong("a number with leading zeros");
  // Whole numbers keep every digit.
  if (/^\d+$/.test(plain)) return `${sign}${plain.replace(/^0+(?=\d)/, "")}`.replace(/^-0$/, "0");
  if (/^0[xob]/i.test(plain)) return `${sign}${BigInt(plain)}`;
  const value = Number(plain);
  if (!Number.isFinite(value)) {
    cursor.spoilt = "a number beyond what JSON can hold";
    return "null";
  }
  const text = JSON.stringify(value);
  return sign + (/[.e]/.test(text) ? text : `${text}.0`);
}

const words: Readonly<Record<string, string>> = {
  True: "true",
  False: "false",
  None: "null",
  true: "true",
  false: "false",
  null: "null",
};

/** Takes a literal; gives it as JSON. Tuples become lists, and JSON's own words are taken as well. @throws Incomplete, Wrong */
export function pythonValue(cursor: Cursor, depth = 0): string {
  if (depth > MAX_DEPTH) throw cursor.wrong(`nested more than ${MAX_DEPTH} deep`);
  const next = cursor.peek();
  if (next === "[" || next === "(") return pythonList(cursor, next, depth);
  if (next === "{") return pythonDict(cursor, depth);
  if (/["'rRuUbB]/.test(next)) {
    if (cursor.at + 1 >= cursor.text.length) throw new Incomplete("a literal");
    if (/["']/.test(next) || /["']/.test(cursor.text[cursor.at + 1]!)) {
      let text = pythonString(cursor);
      for (;;) {
        const before = cursor.at;
        cursor.space();
        if (!/^[rRuUbB]?["']/.test(cursor.text.slice(cursor.at, cursor.at + 2))) {
          cursor.at = before;
          return JSON.stringify(text);
        }
        text += pythonString(cursor);
      }
    }
  }
  if (next === "-" || next === "+") {
    cursor.at++;
    cursor.space();
    return pythonNumber(cursor, next === "-" ? "-" : "");
  }
  const before = cursor.at;
  const word = cursor.match(WORD);
  if (word === "") return pythonNumber(cursor, "");
  if (cursor.ended) throw new Incomplete("a literal");
  if (Object.hasOwn(words, word)) return words[word]!;
  cursor.at = before;
  throw cursor.wrong(`${JSON.stringify(word)} is a name, not a literal`);
}

function pythonList(cursor: Cursor, open: "[" | "(", depth: number): string {
  cursor.at++;
  const close = open === "[" ? "]" : ")";
  const items: string[] = [];
  for (;;) {
    cursor.space();
    if (cursor.take(close)) return `[${items.join(",")}]`;
    items.push(pythonValue(cursor, depth + 1));
    cursor.space();
    if (cursor.take(",")) continue;
    cursor.expect(close);
    // Parentheses around one value are no tuple.
    return open === "(" && items.length === 1 ? items[0]! : `[${items.join(",")}]`;
  }
}

function pythonDict(cursor: Cursor, depth: number): string {
  cursor.at++;
  const members = new Map<string, string>();
  const done = () => `{${[...members].map(([name, value]) => `${name}:${value}`).join(",")}}`;
  for (;;) {
    cursor.space();
    if (cursor.take("}")) return done();
    const key = pythonValue(cursor, depth + 1);
    if (/^[[{]/.test(key)) throw cursor.wrong("a key that is no plain value");
    cursor.space();
    cursor.expect(":");
    cursor.space();
    // As in Python the last of equal keys holds.
    members.set(key.startsWith('"') ? key : JSON.stringify(key), pythonValue(cursor, depth + 1));
    cursor.space();
    if (cursor.take(",")) continue;
    cursor.expect("}");
    return done();
  }
}

/** A function's name: words with "-" and "." between them, as tools have them. */
const NAME = /[\p{L}_][\p{L}\p{N}_]*(?:[-.][\p{L}\p{N}_]+)*/uy;

/** Takes `name(key=value, …)`. `onName` and `onArgument` hear of each when it is complete. @throws Incomplete, Wrong */
export function pythonCall(
  cursor: Cursor,
  onName: (name: string) => void,
  onArgument: (name: string, value: string) => void,
): void {
  const name = cursor.match(NAME);
  if (name === "") throw cursor.wrong(`expected a function's name, found ${JSON.stringify(cursor.peek())}`);
  if (/^[-.]$/.test(cursor.text.slice(cursor.at))) throw new Incomplete("a name");
  cursor.match(/[ \t]*/y);
  cursor.expect("(");
  onName(name);
  const seen = new Set<string>();
  for (;;) {
    cursor.space();
    if (cursor.take(")")) return;
    const key = cursor.match(/[\p{L}_][\p{L}\p{N}_-]*/uy);
    cursor.space();
    if (key === "" || cursor.peek() !== "=") throw cursor.wrong("expected an argument with its name");
    cursor.at++;
    if (seen.has(key)) throw cursor.wrong(`argument ${JSON.stringify(key)} stands twice`);
    seen.add(key);
    cursor.space();
    const value = pythonValue(cursor);
    // Nothing that follows a literal makes it more than a literal.
    cursor.space();
    const next = cursor.peek();
    if (next !== "," && next !== ")") throw cursor.wrong(`expected "," or ")", found ${JSON.stringify(next)}`);
    onArgument(JSON.stringify(key), value);
    cursor.take(",");
  }
}
