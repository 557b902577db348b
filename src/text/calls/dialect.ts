// What every way of writing tool calls has in common. A dialect reads one block of calls, beginning at one of its openers.
import type { Cursor } from "./cursor.ts";
import type { ToolTable } from "./tools.ts";

export const dialectNames = [
  "minicpm4-python",
  "minicpm5-xml",
  "hermes-json",
  "granite-json",
  "llama3-json",
  "mistral",
  "qwen3-coder-xml",
  "pythonic-list",
  "olmo3-python",
  "json",
] as const;
/** How a model writes its calls; see docs/tools.md for an example of each. */
export type DialectName = (typeof dialectNames)[number];

/** Hears what a block holds, in order: a name, its arguments as they are completed, the call's end. Names and values are JSON. */
export interface Listener {
  begin(name: string): void;
  argument(name: string, value: string): void;
  end(): void;
  /** The call that was begun cannot be made; the block goes on. */
  drop(why: string): void;
}

export interface Dialect {
  readonly name: DialectName;
  /** Texts of which one begins every block. */
  readonly openers: readonly string[];
  /** The opener is a special token: text that follows it but is no call stands without it. */
  readonly openerIsToken?: boolean;
  /** Where text goes on after a block that cannot be read; absent: where reading failed. */
  readonly closer?: string;
  /** Text of only these characters between calls belongs to them. */
  readonly between?: RegExp;
  /** How thinking is marked beside `<think>`. */
  readonly thinking?: readonly [string, string];
  /** A call that its tool would not take is text, as the format's own parser has it. */
  readonly checked?: boolean;
  /**
   * Reads a block; the cursor stands at an opener and is left behind the block. `final`: the text will not grow.
   * @throws Incomplete, Wrong
   */
  read(cursor: Cursor, listener: Listener, tools: ToolTable, final: boolean): void;
}
