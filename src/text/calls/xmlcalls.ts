// Dialects that write calls in tags. No XML is parsed: no entities, no declarations; a value ends where its end tag is followed by what
// may follow it, so that the tag's text inside a value is text.
import { type Cursor, Incomplete } from "./cursor.ts";
import type { Dialect, Listener } from "./dialect.ts";
import type { ToolTable } from "./tools.ts";
import { typedValue } from "./value.ts";

/** Takes text up to `end`, where `after` matches behind it. @throws Incomplete when there is none yet */
function upTo(cursor: Cursor, end: string, after: RegExp): string {
  for (let at = cursor.text.indexOf(end, cursor.at); at >= 0; at = cursor.text.indexOf(end, at + 1)) {
    after.lastIndex = at + end.length;
    if (!after.test(cursor.text)) continue;
    const text = cursor.text.slice(cursor.at, at);
    cursor.at = at + end.length;
    return text;
  }
  throw new Incomplete(`expected ${end}`);
}

interface Argument {
  readonly name: string;
  readonly value: string;
}

function tell(cursor: Cursor, listener: Listener, name: string, given: readonly Argument[]): void {
  const seen = new Set<string>();
  listener.begin(name);
  for (const { name: argument, value } of given) {
    if (seen.has(argument)) throw cursor.wrong(`argument ${JSON.stringify(argument)} stands twice`);
    seen.add(argument);
    listener.argument(JSON.stringify(argument), value);
  }
  listener.end();
}

/** Tags of MiniCPM5; a lost space and byte-level spellings of it are mended. */
const FUNCTION = /<function[ \u0120]*name[ \u0120]*=[ \u0120]*(?:"([^"<>]*)"|'([^'<>]*)')[ \u0120]*(\/?)>/y;
const PARAM = /<param(?:[ \u0120]*name[ \u0120]*=[ \u0120]*(?:"([^"<>]*)"|'([^'<>]*)'))?[ \u0120]*>/y;
const afterParam = /[\s\u0120]*(?:<param|<\/arguments>|<\/function>)/y;

function tag(cursor: Cursor, pattern: RegExp, what: string): RegExpExecArray {
  pattern.lastIndex = cursor.at;
  const found = pattern.exec(cursor.text);
  if (!found) {
    if (cursor.text.indexOf(">", cursor.at) < 0) throw new Incomplete(what);
    throw cursor.wrong(`expected ${what}`);
  }
  cursor.at += found[0].length;
  return found;
}

function paramValue(cursor: Cursor, types: readonly string[]): string {
  const before = cursor.at;
  cursor.match(/[\s\u0120]*/y);
  if (cursor.take("<![CDATA[")) {
    const text = upTo(cursor, "]]>", /[\s\u0120]*<\/param>/y);
    cursor.match(/[\s\u0120]*/y);
    cursor.expect("</param>");
    return typedValue(text, types.length ? types : ["string"]);
  }
  cursor.at = before;
  return typedValue(upTo(cursor, "</param>", afterParam).replaceAll("\u0120", " ").trim(), types);
}

/** `<function name="f"><param name="a">1</param></function>`: MiniCPM5. Its own parser leaves a call that no tool takes as text. */
export const minicpm5: Dialect = {
  name: "minicpm5-xml",
  openers: ["<function name", "<functionname", "<function\u0120name"],
  closer: "</function>",
  checked: true,
  read(cursor, listener, tools) {
    const head = tag(cursor, FUNCTION, "a function's tag");
    const name = (head[1] ?? head[2] ?? "").trim();
    const given: Argument[] = [];
    if (head[3] !== "/") {
      cursor.match(/[\s\u0120]*/y);
      const wrapped = cursor.take("<arguments>");
      for (;;) {
        cursor.match(/[\s\u0120]*/y);
        if (cursor.take(wrapped ? "</arguments>" : "</function>")) break;
        const param = tag(cursor, PARAM, "a param's tag");
        const argument = (param[1] ?? param[2] ?? "").trim();
        if (argument === "") throw cursor.wrong("a param without a name");
        given.push({ name: argument, value: paramValue(cursor, tools.types(name, argument)) });
      }
      if (wrapped) {
        cursor.match(/[\s\u0120]*/y);
        cursor.expect("</function>");
      }
    }
    tell(cursor, listener, name, unwrapped(name, given, tools));
  },
};

/** Some models put all arguments into one named as the schema's or the call's own member. */
function unwrapped(name: string, given: readonly Argument[], tools: ToolTable): readonly Argument[] {
  const [only] = given;
  if (given.length !== 1 || !["properties", "arguments"].includes(only!.name)) return given;
  if (Object.hasOwn(tools.get(name)?.properties ?? {}, only!.name)) return given;
  const value: unknown = JSON.parse(only!.value);
  const object: unknown = typeof value === "string" ? JSON.parse(typedValue(value, [])) : value;
  if (typeof object !== "object" || object === null || Array.isArray(object)) return given;
  return Object.entries(object).map(([key, inner]) => ({ name: key, value: JSON.stringify(inner) }));
}

const qwenName = /[^<>\s]+/y;
const afterParameter = /\s*(?:<parameter=|<\/function>)/y;

/** `<tool_call><function=f><parameter=a>1</parameter></function></tool_call>`: Qwen3-Coder. The outer tags may be missing. */
export const qwen3Coder: Dialect = {
  name: "qwen3-coder-xml",
  openers: ["<tool_call>", "<function="],
  closer: "</function>",
  read(cursor, listener, tools, final) {
    cursor.take("<tool_call>");
    do {
      qwenFunction(cursor, listener, tools);
      cursor.space();
      if (final && cursor.ended) return;
    } while (!cursor.take("</tool_call>") && cursor.text.startsWith("<function=", cursor.at));
  },
};

function qwenFunction(cursor: Cursor, listener: Listener, tools: ToolTable): void {
  cursor.space();
  cursor.expect("<function=");
  const name = cursor.match(qwenName);
  cursor.expect(">");
  if (name === "") throw cursor.wrong("a function without a name");
  const given: Argument[] = [];
  for (;;) {
    cursor.space();
    if (cursor.take("</function>")) break;
    cursor.expect("<parameter=");
    const argument = cursor.match(qwenName);
    cursor.expect(">");
    if (argument === "") throw cursor.wrong("a parameter without a name");
    const text = upTo(cursor, "</parameter>", afterParameter)
      .replace(/^\r?\n/, "")
      .replace(/\r?\n$/, "");
    given.push({ name: argument, value: typedValue(text, tools.types(name, argument)) });
  }
  tell(cursor, listener, name, given);
}
