// Text of tools, servers and documents is data: in it nothing may stand that a vocabulary reads as a mark of its own (the end of a turn,
// the beginning of another, a call). Marks are written with a backslash behind their first character, so that they can be seen.
import type { ChatModel } from "../chat/model.ts";
import { isLocal } from "../chat/model.ts";

/** Marks that models of many families have for turns, thoughts and calls. */
const COMMON =
  /<\|[^<>|\n]{1,64}\|>|<｜[^<>｜\n]{1,64}｜>|<\/?(?:think|tool_call|tool_calls|tool_response|tool_result|tools|function|param|parameter|answer|s|bos|eos|pad|unk|start_of_turn|end_of_turn|start_header_id|end_header_id)(?:[ =][^<>\n]{0,64})?>|<<\/?SYS>>|\[\/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|CALL_ID|ARGS|THINK)\]/g;

/** What could be a special token of some vocabulary: no blanks, between brackets of its own. */
const CANDIDATE = /<[^<>\s]{1,80}>|\[[^[\]\s]{1,80}\]|<<[^<>\s]{1,80}>>/g;

const broken = (mark: string): string => `${mark[0]}\\${mark.slice(1)}`;

/** Takes the meaning from marks in a text. */
export type Disarm = (text: string) => string;

/**
 * Breaks the marks that many families know, and, for a model of this process, every special token of its vocabulary, whatever it is
 * called. What is left is read as plain text by the tokenizer.
 */
export function disarmer(model: ChatModel): Disarm {
  const common: Disarm = (text) => text.replace(COMMON, broken);
  if (!isLocal(model)) return common;
  const { tokenizer } = model;
  const ends = { bos: false, eos: false };
  const isPlain = (text: string) => {
    const [read, plain] = [tokenizer.encode(text, ends), tokenizer.encode(text, { ...ends, special: false })];
    return read.length === plain.length && read.every((id, i) => id === plain[i]);
  };
  const isMark = (text: string) => !isPlain(text);
  /** A token of its own, special or not: vocabularies add those for marks. */
  const isToken = (text: string) => tokenizer.id(text) !== undefined && tokenizer.encode(text, ends).length === 1;
  return (text) => {
    let safe = common(text).replace(CANDIDATE, (mark) => (isMark(mark) || isToken(mark) ? broken(mark) : mark));
    // Specials of another form: found where reading with and without them differs.
    for (let tries = 0; !isPlain(safe); tries++) {
      if (tries === 1000) return safe.replace(/[^\p{L}\p{N}\s.,;:!?()'"-]/gu, "?");
      safe = withoutFirst(safe, isMark);
    }
    return safe;
  };
}

/** Breaks the first mark of a text that has one: the shortest beginning that has it ends with it, and so on from its other end. */
function withoutFirst(text: string, isMark: (text: string) => boolean): string {
  let [low, high] = [1, text.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isMark(text.slice(0, middle))) high = middle;
    else low = middle + 1;
  }
  const end = low;
  let [first, last] = [0, end - 1];
  while (first < last) {
    const middle = (first + last + 1) >> 1;
    if (isMark(text.slice(middle, end))) first = middle;
    else last = middle - 1;
  }
  return text.slice(0, first) + broken(text.slice(first, end)) + text.slice(end);
}
