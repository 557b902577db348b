// What verifiers judge, and what they say.
import type { ToolDefinition } from "../../text/calls/tools.ts";

/** A call as OpenAI's interface writes it. `arguments`: JSON of an object; an object itself is taken as well. */
export interface WireCall {
  readonly id?: string | undefined;
  readonly type?: string | undefined;
  readonly function: { readonly name: string; readonly arguments: string | Readonly<Record<string, unknown>> };
}

/** A turn of a conversation as OpenAI's interface writes it, with the reasoning that servers give beside it. */
export interface ChatMessage {
  readonly role: string;
  readonly content?: string | null | undefined;
  readonly reasoning_content?: string | null | undefined;
  readonly tool_calls?: readonly WireCall[] | null | undefined;
  readonly tool_call_id?: string | undefined;
  readonly name?: string | undefined;
}

/** A call and its arguments as values. */
export interface PlainCall {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

/** What is judged. Every verifier reads the fields it names; a record of a JSONL file is one. */
export interface Sample {
  readonly id?: string | number | undefined;
  readonly prompt?: string | undefined;
  /** The text that is judged. Default: the content of the last message of the assistant. */
  readonly response?: string | undefined;
  readonly messages?: readonly ChatMessage[] | undefined;
  readonly tools?: readonly ToolDefinition[] | undefined;
  /** Tool calls: those that are right, in any order. Absent: any that the tools would take. */
  readonly expected_calls?: readonly PlainCall[] | undefined;
  /** IFEval: names of instructions, and arguments for each. */
  readonly instruction_id_list?: readonly string[] | undefined;
  readonly kwargs?: readonly (Readonly<Record<string, unknown>> | null)[] | undefined;
  /** Mathematics: the right answer; any one of a list. */
  readonly answer?: string | number | readonly (string | number)[] | undefined;
  /** Code: the program; default: the last fenced block of the response, or all of it. */
  readonly code?: string | undefined;
  /** Code: lines that run behind the program and fail by an exception. */
  readonly tests?: string | readonly string[] | undefined;
  readonly language?: "javascript" | "python" | undefined;
}

/** ok: nothing was found wrong. reasons: what was, each beginning with a short word that reports count by. */
export interface Verdict {
  readonly ok: boolean;
  readonly reasons: readonly string[];
}

export type Verifier = (sample: Sample) => Verdict | Promise<Verdict>;

export const verdict = (reasons: readonly string[]): Verdict => ({ ok: reasons.length === 0, reasons });

/** The message that is judged: the assistant's last. */
export const lastAnswer = ({ messages }: Sample): ChatMessage | undefined =>
  messages?.findLast(({ role }) => role === "assistant");

/**
 * The message whose calls are judged: the assistant's last one. Where that only answers behind the results of its own calls, the one that
 * made them.
 */
export function lastCaller({ messages = [] }: Sample): ChatMessage | undefined {
  const turn = messages.slice(messages.findLastIndex(({ role }) => role === "user") + 1);
  const last = turn.at(-1);
  const answers = last?.role === "assistant" && !last.tool_calls?.length && turn.at(-2)?.role === "tool";
  const caller = answers ? turn.findLast(({ role, tool_calls: calls }) => role === "assistant" && calls?.length) : undefined;
  return caller ?? messages.findLast(({ role }) => role === "assistant");
}

/** The text that is judged. */
export const responseOf = (sample: Sample): string => sample.response ?? lastAnswer(sample)?.content ?? "";
