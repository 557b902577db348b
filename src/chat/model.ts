// What an agent needs of a model: a Model of this package, or an endpoint that speaks as OpenAI's does.
import type { ChatOptions, DialectName, GenerateResult, Model } from "../index.ts";
import { dialectOfTemplate } from "../text/calls/parse.ts";
import type { ChatMessage } from "../text/template.ts";

/** A whole answer. */
export type ChatAnswer = Pick<GenerateResult, "text" | "reasoning" | "usage" | "toolCalls" | "tokens"> & {
  /** "stop", "tool-calls", "length", "context" …: why it ended. */
  readonly finishReason: string;
};

/** A piece of an answer as it comes; calls come with the whole. */
export interface ChatPart {
  readonly type: "text" | "reasoning" | (string & {});
  readonly text: string;
}

/** Await it for the whole answer, or iterate over it first. */
export interface ChatReply extends PromiseLike<ChatAnswer>, AsyncIterable<ChatPart> {}

/** A Model of this package is one; endpointModel() gives another; a test's script is a third. */
export interface ChatModel {
  chat(messages: readonly ChatMessage[], options?: ChatOptions): ChatReply;
}

/** Whether a model runs in this process: then its template, vocabulary and context are known. */
export const isLocal = (model: ChatModel): model is ChatModel & Model => "info" in model && "tokenizer" in model;

/** The template that a chat with tools is written by. */
const templateOf = ({ info: { tokenizer } }: Model): string | undefined =>
  tokenizer.chatTemplates?.["tool_use"] ?? tokenizer.chatTemplate;

/** How a model writes calls; undefined where an endpoint sees to it. */
export const formatOf = (model: ChatModel, given: DialectName | undefined): DialectName | undefined =>
  given ?? (isLocal(model) ? dialectOfTemplate(templateOf(model)) : undefined);

/** Whether calls and results go into the conversation as they are; otherwise they are told in words. */
export const knowsTools = (model: ChatModel): boolean => !isLocal(model) || /\btools\b/.test(templateOf(model) ?? "");

/** How long a text is for this model, in tokens; at endpoints, whose vocabulary is not known, a third of its bytes. */
export function counterOf(model: ChatModel): (text: string) => number {
  if (!isLocal(model)) return (text) => Math.ceil(new TextEncoder().encode(text).length / 3);
  const plain = { bos: false, eos: false, special: false };
  return (text) => model.tokenizer.encode(text, plain).length;
}
