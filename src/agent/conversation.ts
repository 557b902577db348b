// The conversation of a run as the model gets it: in the shape of APIs where its template knows tools, else told in words.

import { type ChatAnswer, type ChatModel, isLocal, knowsTools } from "../chat/model.ts";
import { CpmError } from "../errors.ts";
import type { ChatOptions, ToolCall } from "../index.ts";
import type { ChatMessage } from "../text/template.ts";

type TextPart = { readonly type: "text"; readonly text: string } | { readonly type: "reasoning"; readonly text: string };

interface Result {
  readonly id: string;
  readonly name: string;
  readonly text: string;
}

export class Conversation {
  readonly #model: ChatModel;
  readonly #given: readonly ChatMessage[];
  readonly #added: ChatMessage[] = [];
  readonly #shorten: (text: string) => string;
  /** An answer's text as the model wrote it, calls and all. */
  readonly #written = new Map<ChatMessage, string>();
  readonly #words: boolean;
  /** Results from this place on belong to the last answer, and stay whole. */
  #latest = 0;

  constructor(model: ChatModel, given: readonly ChatMessage[], shorten: (text: string) => string) {
    this.#model = model;
    this.#given = given;
    this.#shorten = shorten;
    this.#words = !knowsTools(model);
  }

  /** Messages behind those that were given. */
  get added(): readonly ChatMessage[] {
    return [...this.#added];
  }

  /** The next answer. Where the conversation has become longer than the context, results of earlier steps are shortened, the oldest first. */
  async answer(options: ChatOptions, onPart: (part: TextPart) => void): Promise<ChatAnswer> {
    for (;;) {
      let begun = false;
      try {
        const reply = this.#model.chat(this.#messages(), options);
        for await (const { type, text } of reply) {
          begun = true;
          if (text === "") continue;
          if (type === "text") onPart({ type: "text", text });
          else if (type === "reasoning") onPart({ type: "reasoning", text });
        }
        return await reply;
      } catch (error) {
        const full = error instanceof CpmError && error.code === "context-overflow";
        if (begun || !full || !this.#shortenOne()) throw error;
      }
    }
  }

  #shortenOne(): boolean {
    for (let i = 0; i < this.#latest; i++) {
      const message = this.#added[i]!;
      if (message.role !== "tool" || typeof message.content !== "string") continue;
      const content = this.#shorten(message.content);
      if (content.length >= message.content.length) continue;
      this.#added[i] = { ...message, content };
      return true;
    }
    return false;
  }

  said(answer: ChatAnswer, calls: readonly ToolCall[]): void {
    const message: ChatMessage = {
      role: "assistant",
      content: answer.text,
      ...(answer.reasoning === "" ? {} : { reasoning_content: answer.reasoning }),
      ...(calls.length
        ? {
            tool_calls: calls.map(({ id, name, arguments: text }) => ({
              id,
              type: "function",
              function: { name, arguments: text },
            })),
          }
        : {}),
    };
    if (this.#words && calls.length && isLocal(this.#model) && answer.reasoning === "")
      this.#written.set(message, this.#model.tokenizer.decode(answer.tokens, { special: false }));
    this.#added.push(message);
  }

  results(results: readonly Result[]): void {
    this.#latest = this.#added.length;
    for (const { id, name, text } of results) this.#added.push({ role: "tool", tool_call_id: id, name, content: text });
  }

  #messages(): readonly ChatMessage[] {
    const all = [...this.#given, ...this.#added];
    if (!this.#words) return all;
    const told: ChatMessage[] = [];
    for (const message of all) {
      const last = told.at(-1);
      if (message.role === "tool") {
        const text = `Result of ${message.name ?? message.tool_call_id ?? "the call"}:\n${message.content ?? ""}`;
        if (last?.role === "user" && last.name === RESULTS)
          told[told.length - 1] = { ...last, content: `${last.content}\n\n${text}` };
        else told.push({ role: "user", name: RESULTS, content: text });
      } else if (message.tool_calls?.length)
        told.push({ role: "assistant", content: this.#written.get(message) ?? inWords(message) });
      else told.push(message);
    }
    return told.map((message) => (message.name === RESULTS ? { role: message.role, content: message.content } : message));
  }
}

/** Marks messages made of results until they are sent. */
const RESULTS = "\u0000results";

function inWords({ content, tool_calls = [] }: ChatMessage): string {
  const calls = tool_calls.map((call) => {
    const { name, arguments: text } = (call as { readonly function: { readonly name: string; readonly arguments: unknown } })
      .function;
    return `{"name": ${JSON.stringify(name)}, "arguments": ${typeof text === "string" ? text : JSON.stringify(text)}}`;
  });
  return [content ?? "", calls.length === 1 ? calls[0]! : `[${calls.join(", ")}]`].filter((text) => text !== "").join("\n");
}
