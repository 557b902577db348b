// What the agent's tests share: models whose answers are written beforehand, and servers that misbehave.
import { fileURLToPath } from "node:url";
import type { AgentEvent, AgentTool, ChatAnswer, ChatModel, ChatPart, ChatReply } from "../../src/agent/api.ts";
import type { ChatMessage, ChatOptions, ToolCall } from "../../src/index.ts";

const usage = { promptTokens: 10, cachedTokens: 0, completionTokens: 2 };

export const call = (id: string, name: string, input: Readonly<Record<string, unknown>> = {}): ToolCall => ({
  id,
  name,
  arguments: JSON.stringify(input),
  input,
});

export type Line =
  | string
  | readonly ToolCall[]
  | Partial<ChatAnswer>
  | ((messages: readonly ChatMessage[], options: ChatOptions) => Line);

export interface Script extends ChatModel {
  /** What it was asked, in order. */
  readonly asked: { readonly messages: readonly ChatMessage[]; readonly options: ChatOptions }[];
}

export function reply(answer: Promise<ChatAnswer>): ChatReply {
  return {
    // biome-ignore lint/suspicious/noThenProperty: a reply is awaited
    then: (onAnswer, onError) => answer.then(onAnswer, onError),
    async *[Symbol.asyncIterator](): AsyncGenerator<ChatPart> {
      const { text } = await answer;
      if (text !== "") yield { type: "text", text };
    },
  };
}

/** A model that says these lines, one an answer; the last again and again. Tools that it may not call it does not call. */
export function script(...lines: readonly Line[]): Script {
  const asked: Script["asked"] = [];
  return {
    asked,
    chat(messages, options = {}) {
      asked.push({ messages: structuredClone(messages) as ChatMessage[], options });
      let line = lines[Math.min(asked.length, lines.length) - 1]!;
      while (typeof line === "function") line = line(messages, options);
      const given: Partial<ChatAnswer> =
        typeof line === "string" ? { text: line } : Array.isArray(line) ? { toolCalls: line } : (line as Partial<ChatAnswer>);
      const { toolCalls, ...rest } = given;
      const allowed = options.toolChoice === "none" ? {} : toolCalls ? { toolCalls } : {};
      return reply(Promise.resolve({ text: "", reasoning: "", tokens: [], usage, finishReason: "stop", ...rest, ...allowed }));
    },
  };
}

export const user = (content: string): ChatMessage => ({ role: "user", content });

export function collect(): { readonly events: AgentEvent[]; onEvent(event: AgentEvent): void } {
  const events: AgentEvent[] = [];
  return { events, onEvent: (event) => void events.push(event) };
}

/** A tool that notes its calls. */
export function noted(
  name: string,
  give: (input: Readonly<Record<string, unknown>>) => unknown = () => "ok",
  more: Partial<AgentTool> = {},
) {
  const inputs: unknown[] = [];
  const tool: AgentTool = {
    name,
    readOnly: true,
    ...more,
    run(input, context) {
      inputs.push(input);
      return more.run ? more.run(input, context) : give(input);
    },
  };
  return { tool, inputs };
}

/** A server of test/agent/odd.mjs, as a configuration has it. */
export const odd = (how: string, ...args: readonly string[]) => ({
  command: process.execPath,
  args: [fileURLToPath(new URL("odd.mjs", import.meta.url)), how, ...args],
});
