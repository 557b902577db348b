// JSON inside a text: where a value ends, and the members of an object as they are completed.
import { type Cursor, Incomplete, MAX_DEPTH } from "./cursor.ts";

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;

/** Takes a string; gives it as written, quotes included. Line breaks and tabs that models leave bare are written as JSON has them. */
export function jsonString(cursor: Cursor): string {
  cursor.expect('"');
  let out = '"';
  for (;;) {
    out += cursor.match(PLAIN);
    const next = cursor.peek();
    cursor.at++;
    if (next === '"') return `${out}"`;
    if (next !== "\\") {
      out += JSON.stringify(next).slice(1, -1);
      continue;
    }
    const letter = cursor.peek();
    if (letter === "u") {
      const hex = cursor.text.slice(cursor.at + 1, cursor.at + 5);
      if (/^[0-9a-f]{0,3}$/i.test(hex) && cursor.at + 5 > cursor.text.length) throw new Incomplete("an escape");
      if (!/^[0-9a-f]{4}$/i.test(hex)) throw cursor.wrong("expected four hexadecimal digits");
      out += `\\u${hex}`;
      cursor.at += 5;
    } else {
      if (!'"\\/bfnrt'.includes(letter)) throw cursor.wrong(`there is no escape \\${letter}`);
      out += `\\${letter}`;
      cursor.at++;
    }
  }
}

/** Takes any value; gives its JSON. @throws Incomplete, Wrong */
export function jsonValue(cursor: Cursor, depth = 0): string {
  if (depth > MAX_DEPTH) throw cursor.wrong(`nested more than ${MAX_DEPTH} deep`);
  const next = cursor.peek();
  if (next === "{") return jsonObject(cursor, depth).text;
  if (next === "[") {
    cursor.at++;
    const items: string[] = [];
    cursor.space();
    if (cursor.take("]")) return "[]";
    for (;;) {
      cursor.space();
      items.push(jsonValue(cursor, depth + 1));
      cursor.space();
      if (cursor.take("]")) return `[${items.join(",")}]`;
      cursor.expect(",");
    }
  }
  if (next === '"') return jsonString(cursor);
  for (const word of ["true", "false", "null"])
    if (next === word[0]) {
      cursor.expect(word);
      return word;
    }
  const number = cursor.match(NUMBER);
  if (number === "") {
    if (next === "-" && cursor.at + 1 >= cursor.text.length) throw new Incomplete("a number");
    throw cursor.wrong(`expected a JSON value, found ${JSON.stringify(next)}`);
  }
  // More digits may follow.
  if (cursor.ended || /^(?:\.|\.?[eE][+-]?)$/.test(cursor.text.slice(cursor.at, cursor.at + 3))) throw new Incomplete("a number");
  return number;
}

export interface JsonObject {
  readonly text: string;
  /** Member values by name, as JSON. */
  readonly members: ReadonlyMap<string, string>;
}

/** Takes an object. `onMember` hears of each member when it is complete: name and value, as JSON. */
export function jsonObject(cursor: Cursor, depth = 0, onMember?: (name: string, value: string) => void): JsonObject {
  cursor.expect("{");
  const members = new Map<string, string>();
  const written: string[] = [];
  cursor.space();
  if (!cursor.take("}"))
    for (;;) {
      cursor.space();
      const name = jsonString(cursor);
      cursor.space();
      cursor.expect(":");
      cursor.space();
      const value = jsonValue(cursor, depth + 1);
      const key = JSON.parse(name) as string;
      if (members.has(key)) throw cursor.wrong(`${name} stands twice`);
      members.set(key, value);
      written.push(`${name}:${value}`);
      onMember?.(name, value);
      cursor.space();
      if (cursor.take("}")) break;
      cursor.expect(",");
    }
  return { text: `{${written.join(",")}}`, members };
}
