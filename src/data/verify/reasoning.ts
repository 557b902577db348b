// Does the answer think before it calls? Fine-tuning data for tools puts reasoning before each call (MiniCPM4 report, 3.1).
import { dialectOf, parseCalls } from "../../text/calls/parse.ts";
import { Thoughts } from "../../text/calls/thoughts.ts";
import type { CallOptions } from "./calls.ts";
import { lastCaller, type Sample, type Verdict, verdict } from "./types.ts";

export interface ReasoningOptions extends Pick<CallOptions, "dialect"> {
  /** Characters of reasoning, at least, white space apart. Default 10. */
  readonly least?: number | undefined;
  /** Text beside the markers counts as reasoning where there is none between them. Default true. */
  readonly plain?: boolean | undefined;
}

/** What a text says before its first call: between the markers of thinking, and beside them. */
function before(text: string, { dialect: name = "hermes-json" }: ReasoningOptions) {
  const dialect = dialectOf(name);
  const marks: readonly (readonly [string, string])[] = [
    ["<think>", "</think>"],
    ...(dialect.thinking ? [dialect.thinking] : []),
  ];
  const opened = marks.find(([open]) => text.includes(open));
  const closed = opened && text.indexOf(opened[1], text.indexOf(opened[0]));
  const thoughts = new Thoughts(opened);
  const { thought, answer } = thoughts.push(text, true);
  const first = Math.min(...dialect.openers.map((opener) => answer.indexOf(opener)).filter((at) => at >= 0), answer.length);
  return { thought, unclosed: closed === -1, said: answer.slice(0, first), answer };
}

/**
 * Does reasoning stand before the answer's first call (`reasoning_content`, text between thinking markers, or plain text), and is it
 * whole and no call itself? An answer without a call is right.
 */
export function verifyReasoning(sample: Sample, options: ReasoningOptions = {}): Verdict {
  const { least = 10, plain = true } = options;
  const answer = lastCaller(sample);
  const text = sample.response ?? answer?.content ?? "";
  const { thought, unclosed, said, answer: rest } = before(text, options);
  const wire = sample.response === undefined ? (answer?.tool_calls?.length ?? 0) : 0;
  const dialect = options.dialect ?? "hermes-json";
  const calls = wire > 0 || parseCalls(rest, { dialect, tools: sample.tools ?? [] }).calls.length > 0;
  const reasons: string[] = [];
  if (unclosed) reasons.push("reasoning is not closed");
  const given = sample.response === undefined ? (answer?.reasoning_content ?? "") : "";
  const between = `${given}${thought}`;
  const reasoning = between.trim() === "" && plain ? (wire > 0 ? text : said) : between;
  if (!calls) return verdict(reasons);
  const length = reasoning.replace(/\s+/g, "").length;
  if (length === 0) reasons.push("reasoning is missing before the call");
  else if (length < least) reasons.push(`reasoning of ${length} characters before the call; at least ${least} are wanted`);
  const inside = parseCalls(between, { dialect, tools: sample.tools ?? [] });
  if (inside.calls.length > 0) reasons.push("call inside the reasoning");
  return verdict(reasons);
}
