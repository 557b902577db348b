// Dialects that write calls as Python does.
import { type Cursor, Wrong } from "./cursor.ts";
import type { Dialect, Listener } from "./dialect.ts";
import { pythonCall } from "./python.ts";

function callOf(cursor: Cursor, listener: Listener): void {
  cursor.spoilt = undefined;
  pythonCall(cursor, listener.begin, listener.argument);
  if (cursor.spoilt === undefined) listener.end();
  else listener.drop(cursor.spoilt);
}

/** A block of lines between plain-text markers: MiniCPM4-MCP and the MiniCPM3 family. */
export const minicpm4: Dialect = {
  name: "minicpm4-python",
  openers: ["<|tool_call_start|>"],
  closer: "<|tool_call_end|>",
  thinking: ["<|thought_start|>", "<|thought_end|>"],
  read(cursor, listener, _tools, final) {
    cursor.expect("<|tool_call_start|>");
    cursor.space();
    const fenced = cursor.take("```");
    if (fenced) {
      cursor.match(/[a-z]*/y);
      cursor.peek();
    }
    for (;;) {
      cursor.match(/(?:\s|;|#[^\n]*\n)*/y);
      if (final && cursor.ended) return;
      if (cursor.peek() === "`" || cursor.peek() === "<") break;
      callOf(cursor, listener);
      cursor.match(/[ \t]*(?:#[^\n]*)?/y);
      if (final && cursor.ended) return;
      if (!/[\n\r;`<]/.test(cursor.peek())) throw cursor.wrong("more than a call on a line");
    }
    if (fenced) cursor.expect("```");
    cursor.space();
    if (!(final && cursor.ended)) cursor.expect("<|tool_call_end|>");
  },
};

/** `[f(a=1), g()]`, bare or between markers: Llama 4, LFM2. */
export const pythonicList: Dialect = {
  name: "pythonic-list",
  openers: ["<|tool_call_start|>", "["],
  read(cursor, listener, _tools, final) {
    const marked = cursor.take("<|tool_call_start|>");
    cursor.space();
    cursor.expect("[");
    cursor.space();
    if (!marked && cursor.peek() === "]") throw cursor.wrong("an empty list is text");
    for (let read = 0; !cursor.take("]"); read++) {
      try {
        callOf(cursor, listener);
      } catch (error) {
        // What was read before stays; nothing behind the fault is trusted to be a call.
        if (!(error instanceof Wrong) || read === 0) throw error;
        listener.drop(error.message);
        cursor.at = cursor.text.length;
        return;
      }
      cursor.space();
      if (cursor.take(",")) cursor.space();
      else if (cursor.peek() !== "]") throw cursor.wrong('expected "," or "]"');
    }
    cursor.space();
    if (marked && !(final && cursor.ended)) cursor.expect("<|tool_call_end|>");
  },
};

/** A call a line between markers, values as JSON has them: OLMo 3. */
export const olmo3: Dialect = {
  name: "olmo3-python",
  openers: ["<function_calls>"],
  closer: "</function_calls>",
  read(cursor, listener, _tools, final) {
    cursor.expect("<function_calls>");
    for (;;) {
      cursor.space();
      if (final && cursor.ended) return;
      if (cursor.take("</function_calls>")) return;
      callOf(cursor, listener);
      cursor.match(/[ \t]*/y);
      if (final && cursor.ended) return;
      if (!/[\n\r<]/.test(cursor.peek())) throw cursor.wrong("more than a call on a line");
    }
  },
};
