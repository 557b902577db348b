// Texts and conversations -> documents of tokens, with what of them is trained.
import { CpmError } from "../errors.ts";
import { type ChatMessage, renderChat, type TemplateOptions } from "../text/template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { TokenDocument } from "./shards.ts";

/** A text with BOS and EOS, where the model has them. Names of special tokens in it are text like any other. */
export function textDocument(tokenizer: Tokenizer, text: string): TokenDocument {
  return { tokens: tokenizer.encode(text, { special: false, eos: true }) };
}

export interface ChatDocumentOptions {
  /**
   * "all" (default): a conversation is a document in which every answer is trained. "each": an answer with everything before it is a
   * document, for templates that leave out earlier reasoning. "last": only the last answer is trained.
   */
  readonly answers?: "all" | "each" | "last" | undefined;
  readonly template?: Omit<TemplateOptions, "addGenerationPrompt" | "tools"> | undefined;
}

/**
 * The documents of a conversation, rendered by the model's own template: trained is what an answer adds to the conversation before it with
 * the header of an answer, up to and with the token that ends it. Where a token reaches over the beginning of an answer, it is trained.
 * A conversation without an answer has none.
 * @throws CpmError "bad-input" for messages that the template refuses, and where it renders the beginning of a conversation otherwise than
 * the beginning of the whole, so that no place of the answer is certain.
 */
export function chatDocuments(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  tools: readonly unknown[] | undefined,
  { answers = "all", template }: ChatDocumentOptions = {},
): TokenDocument[] {
  const options = { ...template, ...(tools === undefined ? {} : { tools }) };
  const places = [...messages.keys()].filter((i) => messages[i]!.role === "assistant");
  if (places.length === 0) return [];
  const render = (count: number, addGenerationPrompt: boolean) =>
    renderChat(tokenizer.data, messages.slice(0, count), { ...options, addGenerationPrompt });
  const make = (count: number, trained: readonly number[]): TokenDocument => {
    const whole = render(count, false);
    const spans = trained.map((i) => spanOf(i, whole.text, i === 0 ? "" : render(i, true).text, render(i + 1, false).text));
    return masked(tokenizer, whole.text, whole.ends, spans);
  };
  if (answers === "each") return places.map((i) => make(i + 1, [i]));
  if (answers === "last") return [make(places.at(-1)! + 1, [places.at(-1)!])];
  return [make(messages.length, places)];
}

type Span = readonly [begin: number, end: number];

/** Characters of message `i` in `whole`. */
function spanOf(i: number, whole: string, before: string, after: string): Span {
  const differs = (part: string, what: string, hint: string): never => {
    let at = 0;
    while (at < part.length && part[at] === whole[at]) at++;
    const near = (text: string) => JSON.stringify(text.slice(Math.max(0, at - 20), at + 30));
    throw new CpmError(
      "bad-input",
      `messages[${i}]: the chat template writes ${what} otherwise than in the whole conversation (${near(part)} against ${near(whole)}); ${hint}`,
      { field: `messages[${i}]`, expected: near(part), found: near(whole) },
    );
  };
  const hint = 'set "answers" to "each", which makes a document of every answer';
  if (!whole.startsWith(after)) differs(after, "the conversation up to this answer", hint);
  if (!after.startsWith(before))
    differs(before, "the header of this answer", 'set "enableThinking" as these answers were given, or "answers" to "each"');
  return [before.length, after.length];
}

/** Tokens of `text`, those of the spans trained. */
function masked(tokenizer: Tokenizer, text: string, ends: "template" | "chat", spans: readonly Span[]): TokenDocument {
  const options = ends === "template" ? { bos: false, eos: false } : { eos: false };
  const tokens = tokenizer.encode(text, options);
  const mask = new Uint8Array(tokens.length);
  // Tokens that a beginning of the text and the whole have in common.
  const upTo = (characters: number): number => {
    const part = tokenizer.encode(text.slice(0, characters), options);
    let n = 0;
    while (n < part.length && part[n] === tokens[n]) n++;
    return n;
  };
  for (const [begin, end] of spans) {
    const [from, to] = [upTo(begin), end === text.length ? tokens.length : upTo(end)];
    // Nothing is said after the token that ends an answer: a newline there is the template's.
    let last = to - 1;
    while (last >= from && !tokenizer.stop.includes(tokens[last]!)) last--;
    mask.fill(1, from, last >= from ? last + 1 : to);
  }
  return { tokens, mask };
}
