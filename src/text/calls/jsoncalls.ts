// Dialects that write a call as a JSON object with a name and its arguments.
import { type Cursor, Incomplete } from "./cursor.ts";
import type { Dialect, Listener } from "./dialect.ts";
import { jsonObject, jsonString, jsonValue } from "./json.ts";

const argumentKeys = ["arguments", "parameters"];
/** Members that some models write beside, and that say nothing of the call. */
const ignored = ["id", "type", "tool_call_id"];

/** Takes `{"name": …, "arguments": {…}}`, in either order. `whenMissing`: arguments that are absent are none. */
function jsonCall(cursor: Cursor, listener: Listener, whenMissing: "refuse" | "none"): void {
  const start = cursor.at;
  cursor.expect("{");
  let name: string | undefined;
  let given: ReadonlyMap<string, string> | undefined;
  let live = false;
  for (;;) {
    cursor.space();
    const key = JSON.parse(jsonString(cursor)) as string;
    cursor.space();
    cursor.expect(":");
    cursor.space();
    if (key === "name" && name === undefined) {
      name = JSON.parse(jsonString(cursor)) as string;
    } else if (argumentKeys.includes(key) && given === undefined) {
      if (name !== undefined && cursor.peek() === "{") {
        live = true;
        listener.begin(name);
        given = jsonObject(cursor, 1, (argument, value) => listener.argument(argument, value)).members;
      } else given = argumentsOf(cursor);
    } else if (ignored.includes(key)) jsonValue(cursor, 1);
    else throw cursor.wrong(`a call has no member ${JSON.stringify(key)}`);
    cursor.space();
    if (cursor.take("}")) break;
    cursor.expect(",");
  }
  if (name === undefined || (given === undefined && whenMissing === "refuse")) {
    cursor.at = Math.max(cursor.at, start + 1);
    throw cursor.wrong(name === undefined ? "a call without a name" : "a call without arguments");
  }
  if (!live) {
    listener.begin(name);
    for (const [argument, value] of given ?? []) listener.argument(JSON.stringify(argument), value);
  }
  listener.end();
}

/** An object, or a text that holds one. */
function argumentsOf(cursor: Cursor): ReadonlyMap<string, string> {
  const value = jsonValue(cursor, 1);
  const text = value.startsWith('"') ? (JSON.parse(value) as string) : value;
  try {
    const parsed: unknown = text === "" || text === "null" ? {} : JSON.parse(text);
    if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed))
      return new Map(Object.entries(parsed).map(([name, inner]) => [name, JSON.stringify(inner)]));
  } catch {}
  throw cursor.wrong("arguments that are no object");
}

/** `<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes, Qwen 2.5 and 3. */
export const hermes: Dialect = {
  name: "hermes-json",
  openers: ["<tool_call>"],
  closer: "</tool_call>",
  read(cursor, listener, _tools, final) {
    cursor.expect("<tool_call>");
    cursor.space();
    jsonCall(cursor, listener, "none");
    cursor.space();
    if (!(final && cursor.ended)) cursor.expect("</tool_call>");
  },
};

const graniteOpeners = ["<|tool_call|>", "<tool_call>"];

/** `<|tool_call|>[{"name": …, "arguments": {…}}]`: Granite 3 (some with `<tool_call>`), Phi-4-mini (with a closing mark). */
export const granite: Dialect = {
  name: "granite-json",
  openers: graniteOpeners,
  openerIsToken: true,
  read(cursor, listener, _tools, final) {
    const opener = graniteOpeners.find((text) => cursor.take(text));
    if (opener === undefined) throw cursor.wrong("expected a mark of calls");
    cursor.space();
    if (cursor.take("[")) {
      for (;;) {
        cursor.space();
        jsonCall(cursor, listener, "none");
        cursor.space();
        if (cursor.take("]")) break;
        cursor.expect(",");
      }
    } else jsonCall(cursor, listener, "none");
    const at = cursor.at;
    cursor.space();
    if (!(final && cursor.ended) && !cursor.take(opener.replace("tool_call", "/tool_call"))) cursor.at = at;
  },
};

function bare(name: "llama3-json" | "json", openers: readonly string[]): Dialect {
  return {
    name,
    openers,
    between: /^[\s;,]*$/,
    read(cursor, listener) {
      cursor.take("<|python_tag|>");
      cursor.space();
      if (cursor.peek() === "[") {
        cursor.at++;
        for (;;) {
          cursor.space();
          jsonCall(cursor, listener, "refuse");
          cursor.space();
          if (cursor.take("]")) return;
          cursor.expect(",");
        }
      }
      const start = cursor.at;
      try {
        jsonCall(cursor, listener, "refuse");
      } catch (error) {
        if (error instanceof Incomplete) throw error;
        // A whole value that is no call is passed over as one: a call inside it is data.
        const failed = cursor.at;
        cursor.at = start;
        try {
          jsonValue(cursor);
        } catch {
          cursor.at = failed;
        }
        throw cursor.wrong((error as Error).message);
      }
    },
  };
}

/** `{"name": …, "parameters": {…}}`, several with ";" between: Llama 3. */
export const llama3 = bare("llama3-json", ["<|python_tag|>", "{"]);

/** The same, or a list of such objects: models without a format of their own. */
export const plain = bare("json", ["{", "["]);

const toolName = /[\w.-]+/y;

/** `[TOOL_CALLS][{"name": …, "arguments": {…}}]`, and from tokenizer v11 on `[TOOL_CALLS]name[ARGS]{…}`: Mistral. */
export const mistral: Dialect = {
  name: "mistral",
  openers: ["[TOOL_CALLS]"],
  openerIsToken: true,
  closer: "</s>",
  read(cursor, listener, _tools, final) {
    cursor.expect("[TOOL_CALLS]");
    cursor.space();
    // A word between the marker and a list is no name.
    cursor.match(/[\w.-]+\s+(?=\[\s*\{)/y);
    if (cursor.take("[")) {
      for (;;) {
        cursor.space();
        jsonCall(cursor, listener, "none");
        cursor.space();
        if (cursor.take("]")) break;
        cursor.expect(",");
      }
      // All calls stand in one list; what a second one means nobody has said.
      cursor.space();
      if (!(final && cursor.ended) && cursor.take("[TOOL_CALLS]")) throw cursor.wrong("a second list of calls");
      return;
    }
    const name = cursor.match(toolName);
    if (name === "") throw cursor.wrong("expected a list of calls or a name");
    if (cursor.take("[CALL_ID]")) cursor.match(/[^[{]*/y);
    cursor.take("[ARGS]");
    cursor.space();
    if (cursor.peek() !== "{") throw cursor.wrong("expected arguments");
    listener.begin(name);
    jsonObject(cursor, 1, (argument, value) => listener.argument(argument, value));
    listener.end();
  },
};
