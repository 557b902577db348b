// The AI SDK's messages and settings -> the package's.
import { CpmError } from "../errors.ts";
import type { ChatMessage, ChatOptions } from "../index.ts";
import type { CallOptions, Message, Output, Part, Warning } from "./types.ts";

const refuse = (what: string): CpmError =>
  new CpmError("unsupported", `${what}: these models read and write text alone`, { field: what });

function textOf(parts: readonly Part[], type: "text" | "reasoning", where: string, others: readonly string[]): string {
  let text = "";
  for (const part of parts) {
    if (part.type === type) text += part.text ?? "";
    else if (!others.includes(part.type)) throw refuse(`${where}: a part of type ${JSON.stringify(part.type)}`);
  }
  return text;
}

function outputText(output: Output | undefined): string {
  switch (output?.type) {
    case undefined:
      return "";
    case "text":
    case "error-text":
      return output.value;
    case "json":
    case "error-json":
      return JSON.stringify(output.value);
    case "execution-denied":
      return output.reason ?? "The call was not allowed.";
    case "content":
      // Parts that are no text are named, so that the model knows of them.
      return output.value.map((part) => (part.type === "text" ? (part.text ?? "") : `[${part.type}]`)).join("\n");
  }
}

function messagesOf(message: Message, where: string): ChatMessage[] {
  if (message.role === "system") return [{ role: "system", content: message.content }];
  const { role, content } = message;
  if (role === "user") return [{ role, content: textOf(content, "text", where, []) }];
  if (role === "tool")
    return content
      .filter((part) => part.type === "tool-result")
      .map((part) => ({
        role: "tool",
        content: outputText(part.output),
        ...(part.toolCallId === undefined ? {} : { tool_call_id: part.toolCallId }),
        ...(part.toolName === undefined ? {} : { name: part.toolName }),
      }));
  const calls = content
    .filter((part) => part.type === "tool-call")
    .map((part) => ({
      id: part.toolCallId,
      type: "function",
      function: {
        name: part.toolName,
        arguments: typeof part.input === "string" ? part.input : JSON.stringify(part.input ?? {}),
      },
    }));
  const text = textOf(content, "text", where, ["reasoning", "tool-call", "tool-result"]);
  const thought = textOf(content, "reasoning", where, ["text", "tool-call", "tool-result"]);
  return [
    {
      role,
      content: text === "" && calls.length ? null : text,
      ...(thought === "" ? {} : { reasoning_content: thought }),
      ...(calls.length ? { tool_calls: calls } : {}),
    },
  ];
}

/** Options of the package that the AI SDK has no name for: `providerOptions: { cpm: { minP: 0.1 } }`. */
const own = [
  "minP",
  "repetitionPenalty",
  "penaltyWindow",
  "logitBias",
  "stopTokens",
  "whenFull",
  "enableThinking",
  "templateArguments",
  "draft",
];

function ownOptions(given: Readonly<Record<string, unknown>> = {}): ChatOptions {
  for (const name of Object.keys(given))
    if (!own.includes(name))
      throw new CpmError("bad-option", `providerOptions.cpm.${name}: expected one of ${own.join(", ")}`, { field: name });
  return given as ChatOptions;
}

export interface Call {
  readonly messages: ChatMessage[];
  readonly options: ChatOptions;
  readonly warnings: Warning[];
}

/** @throws CpmError "unsupported" for what would change the answer's meaning if it were left out: files, tools that run elsewhere. */
export function callOf(call: CallOptions): Call {
  const warnings: Warning[] = [];
  const { tools = [], toolChoice } = call;
  for (const tool of tools) if (tool.type !== "function") throw refuse(`tools: a tool of type ${JSON.stringify(tool.type)}`);
  const tooling = tools.length
    ? {
        tools: tools.map(({ name, description, inputSchema }) => ({
          type: "function",
          function: { name, ...(description === undefined ? {} : { description }), parameters: inputSchema ?? {} },
        })),
        toolChoice: toolChoice?.type === "tool" ? { name: toolChoice.toolName } : (toolChoice?.type ?? "auto"),
      }
    : {};
  const form = call.responseFormat?.type === "json" ? { schema: call.responseFormat.schema ?? true } : {};
  // The SDK itself always names its version there.
  const asked = Object.entries(call.headers ?? {}).filter(
    ([name, value]) => value !== undefined && name.toLowerCase() !== "user-agent",
  );
  if (asked.length) warnings.push({ type: "unsupported", feature: "headers", details: "the model runs in this process" });
  const thinking = call.reasoning === undefined || call.reasoning === "provider-default" ? undefined : call.reasoning !== "none";
  const options: Record<string, unknown> = {
    ...(thinking === undefined ? {} : { enableThinking: thinking }),
    ...tooling,
    ...form,
    maxTokens: call.maxOutputTokens,
    temperature: call.temperature,
    topP: call.topP,
    topK: call.topK,
    presencePenalty: call.presencePenalty,
    frequencyPenalty: call.frequencyPenalty,
    stop: call.stopSequences,
    seed: call.seed,
    signal: call.abortSignal,
    ...ownOptions(call.providerOptions?.["cpm"]),
  };
  for (const [name, value] of Object.entries(options)) if (value === undefined) delete options[name];
  return { messages: call.prompt.flatMap((message, i) => messagesOf(message, `prompt[${i}]`)), options, warnings };
}
