// POST /v1/responses, without state: every request brings its whole conversation.
import type { ChatMessage, ChatOptions, ToolCall } from "../index.ts";
import { complete, follow, type Job, streamed } from "./job.ts";
import { textOf } from "./messages.ts";
import { invalid, Params, unsupported } from "./params.ts";
import { type Limits, optionsOf, readWish } from "./sampling.ts";
import { event } from "./sse.ts";
import { readForm, readTools } from "./tools.ts";
import { type Answer, finishOf, idOf, nowSeconds, usageOf } from "./wire.ts";

const stateless = "nothing is stored here; send the whole conversation as input";
const contentTypes = ["input_text", "output_text", "text", "refusal"];

function itemOf(raw: unknown, name: string): ChatMessage {
  const item = new Params(raw, name);
  const type = item.text("type") ?? "message";
  item.ignore("id", "status");
  if (type === "function_call") {
    const [id, called, given] = [item.text("call_id"), item.text("name"), item.text("arguments")];
    item.end();
    if (called === undefined) throw invalid(item.name("name"), "a function's name", null);
    const call = { ...(id === undefined ? {} : { id }), type: "function", function: { name: called, arguments: given ?? "{}" } };
    return { role: "assistant", content: null, tool_calls: [call] };
  }
  if (type === "function_call_output") {
    const [id, output] = [item.text("call_id"), item.raw("output")];
    item.end();
    return {
      role: "tool",
      content: textOf(output, item.name("output"), contentTypes),
      ...(id === undefined ? {} : { tool_call_id: id }),
    };
  }
  if (type === "reasoning") {
    const content = item.raw("content");
    item.ignore("summary", "encrypted_content");
    item.end();
    return {
      role: "assistant",
      content: "",
      reasoning_content: content === undefined ? "" : textOf(content, item.name("content"), ["reasoning_text"]),
    };
  }
  if (type !== "message")
    throw unsupported(item.name("type"), `${JSON.stringify(type)}: this server knows messages and function calls`);
  const role = item.oneOf("role", ["system", "developer", "user", "assistant"]);
  if (role === undefined) throw invalid(item.name("role"), '"system", "developer", "user" or "assistant"', null);
  const parts = item.raw("content");
  item.ignore("phase");
  item.end();
  const content = textOf(Array.isArray(parts) ? parts.map(bare) : parts, item.name("content"), contentTypes);
  return { role: role === "developer" ? "system" : role, content };
}

/** A content part without what the server itself once added to it. */
function bare(part: unknown): unknown {
  if (typeof part !== "object" || part === null) return part;
  const { annotations: _a, logprobs: _l, ...rest } = part as Readonly<Record<string, unknown>>;
  return rest;
}

/** Calls that follow each other, and reasoning before an answer, belong to one message of the assistant. */
function joined(messages: readonly ChatMessage[]): ChatMessage[] {
  const out: ChatMessage[] = [];
  for (const message of messages) {
    const last = out.at(-1);
    const open = last?.role === "assistant" && message.role === "assistant" && (last.tool_calls || last.content === "");
    if (!open) {
      out.push(message);
      continue;
    }
    const calls = [...(last.tool_calls ?? []), ...(message.tool_calls ?? [])];
    const content = message.content || last.content || (calls.length ? null : "");
    const thought = message.reasoning_content ?? last.reasoning_content;
    out[out.length - 1] = {
      role: "assistant",
      content,
      ...(thought ? { reasoning_content: thought } : {}),
      ...(calls.length ? { tool_calls: calls } : {}),
    };
  }
  return out;
}

function readInput(params: Params): ChatMessage[] {
  const instructions = params.text("instructions");
  const input = params.raw("input");
  const head: ChatMessage[] = instructions === undefined ? [] : [{ role: "system", content: instructions }];
  if (typeof input === "string") return [...head, { role: "user", content: input }];
  if (!Array.isArray(input) || input.length === 0) throw invalid("input", "a text or a list of items", input ?? null);
  return [...head, ...joined(input.map((raw, i) => itemOf(raw, `input[${i}]`)))];
}

function thinkingOf(params: Params): Pick<ChatOptions, "enableThinking"> {
  const reasoning = params.object("reasoning");
  if (!reasoning) return {};
  const effort = reasoning.oneOf("effort", ["none", "minimal", "low", "medium", "high", "xhigh"]);
  reasoning.only("summary", ["auto"], "reasoning is given whole, not summed up");
  reasoning.only("generate_summary", ["auto"], "reasoning is given whole, not summed up");
  reasoning.end();
  return effort === undefined ? {} : { enableThinking: effort !== "none" };
}

/** Answers one request. @throws Problem, CpmError */
export async function response(job: Job, params: Params, limits: Limits): Promise<Response> {
  const messages = readInput(params);
  for (const field of ["previous_response_id", "conversation", "prompt"]) params.only(field, [], stateless);
  params.only("background", [false], stateless);
  params.only("truncation", ["disabled"], "a conversation that does not fit is refused");
  params.only("include", [[]], "this server has nothing to include");
  params.only("max_tool_calls", [], "tools do not run here");
  const tooling = readTools(params, true);
  params.only("top_logprobs", [0], "use /v1/chat/completions for log-probabilities");
  const format = params.object("text");
  const form = format ? readForm(format, "format", true) : {};
  format?.only("verbosity", ["medium"], "models here have no such setting");
  format?.end();
  const thinking = thinkingOf(params);
  const most = params.integer("max_output_tokens", 1);
  const wish = readWish(params, { ...limits, maxChoices: 1 }, most, undefined);
  params.end();
  const generation = job.model.chat(messages, {
    ...optionsOf(wish, 0, job),
    ...thinking,
    ...tooling,
    ...form,
    signal: job.signal,
  });
  const shell = { ...emptyResponse(job.id, params, most ?? null), parallel_tool_calls: tooling.parallelToolCalls ?? true };
  if (wish.stream) return streamed(job, events(job, [generation], shell));
  const [answer] = await complete(job, [generation]);
  job.done();
  return Response.json({ ...shell, ...ending(answer!, idsOf()) });
}

interface Ids {
  readonly message: string;
  readonly reasoning: string;
}
const idsOf = (): Ids => ({ message: idOf("msg_"), reasoning: idOf("rs_") });

const emptyResponse = (model: string, params: Params, most: number | null) => ({
  id: idOf("resp_"),
  object: "response" as const,
  created_at: nowSeconds(),
  model,
  status: "in_progress" as string,
  background: false,
  error: null,
  incomplete_details: null as { readonly reason: "max_output_tokens" } | null,
  instructions: params.text("instructions") ?? null,
  max_output_tokens: most,
  metadata: params.raw("metadata") ?? {},
  output: [] as unknown[],
  previous_response_id: null,
  store: false,
  temperature: params.number("temperature") ?? null,
  top_p: params.number("top_p") ?? null,
  tool_choice: params.raw("tool_choice") ?? "auto",
  tools: params.raw("tools") ?? [],
  text: params.raw("text") ?? { format: { type: "text" } },
  truncation: "disabled" as const,
  usage: null as unknown,
});
type Shell = ReturnType<typeof emptyResponse> & { readonly parallel_tool_calls: boolean };

const textPart = (text: string) => ({ type: "output_text" as const, text, annotations: [], logprobs: [] });
const messageItem = (id: string, status: string, text: string | undefined) => ({
  id,
  type: "message" as const,
  status,
  role: "assistant" as const,
  content: text === undefined ? [] : [textPart(text)],
});
const reasoningItem = (id: string, status: string, text: string | undefined) => ({
  id,
  type: "reasoning" as const,
  status,
  summary: [],
  content: text === undefined ? [] : [{ type: "reasoning_text" as const, text }],
});

const callItem = ({ id, name, arguments: text }: ToolCall, status: string) => ({
  id: `fc_${id}`,
  type: "function_call" as const,
  status,
  call_id: id,
  name,
  arguments: text,
});

/** What a finished answer adds to the shell. */
function ending(answer: Answer, ids: Ids) {
  const result = answer.result!;
  const cut = finishOf(result.finishReason) === "length";
  const status = cut ? "incomplete" : "completed";
  const usage = usageOf([{ usage: result.usage, reasoningTokens: answer.reasoningTokens }]);
  return {
    status,
    incomplete_details: cut ? { reason: "max_output_tokens" as const } : null,
    output: [
      ...(answer.reasoning === "" ? [] : [reasoningItem(ids.reasoning, status, answer.reasoning)]),
      ...(result.toolCalls && result.text === "" ? [] : [messageItem(ids.message, status, result.text)]),
      ...(result.toolCalls ?? []).map((call) => callItem(call, "completed")),
    ],
    usage: {
      input_tokens: usage.prompt_tokens,
      input_tokens_details: usage.prompt_tokens_details,
      output_tokens: usage.completion_tokens,
      output_tokens_details: usage.completion_tokens_details,
      total_tokens: usage.total_tokens,
    },
  };
}

type Open = { readonly kind: "text" | "reasoning"; readonly index: number; text: string };

async function* events(job: Job, generations: Parameters<typeof follow>[1], shell: Shell): AsyncGenerator<string, void> {
  let count = 0;
  const send = (type: string, fields: object) => event({ type, sequence_number: count++, ...fields }, type);
  const ids = idsOf();
  const item = (open: Open, status: string, text?: string) =>
    open.kind === "text" ? messageItem(ids.message, status, text) : reasoningItem(ids.reasoning, status, text);
  const place = (open: Open) => ({
    item_id: open.kind === "text" ? ids.message : ids.reasoning,
    output_index: open.index,
    content_index: 0,
  });
  const begin = (open: Open) => [
    send("response.output_item.added", { output_index: open.index, item: item(open, "in_progress") }),
    send("response.content_part.added", {
      ...place(open),
      part: open.kind === "text" ? textPart("") : { type: "reasoning_text", text: "" },
    }),
  ];
  const finish = (open: Open, status: string) => [
    open.kind === "text"
      ? send("response.output_text.done", { ...place(open), text: open.text, logprobs: [] })
      : send("response.reasoning_text.done", { ...place(open), text: open.text }),
    send("response.content_part.done", {
      ...place(open),
      part: open.kind === "text" ? textPart(open.text) : { type: "reasoning_text", text: open.text },
    }),
    send("response.output_item.done", { output_index: open.index, item: item(open, status, open.text) }),
  ];
  let open: Open | undefined;
  let index = 0;
  let begun = false;
  let calling: { readonly id: string; readonly name: string; readonly index: number; text: string } | undefined;
  for await (const { part, answer } of follow(job, generations)) {
    if (!begun) {
      begun = true;
      yield send("response.created", { response: shell });
      yield send("response.in_progress", { response: shell });
    }
    if (part?.call) {
      if (open) yield* finish(open, "completed");
      open = undefined;
      const { id, name, delta, whole } = part.call;
      if (calling?.id !== id) {
        calling = { id, name, index: index++, text: "" };
        const item = callItem({ id, name, arguments: "", input: {} }, "in_progress");
        yield send("response.output_item.added", { output_index: calling.index, item });
      }
      const at = { item_id: `fc_${id}`, output_index: calling.index };
      if (delta !== "") yield send("response.function_call_arguments.delta", { ...at, delta });
      if (!whole) continue;
      yield send("response.function_call_arguments.done", { ...at, name, arguments: whole.arguments });
      yield send("response.output_item.done", { output_index: calling.index, item: callItem(whole, "completed") });
      continue;
    }
    if (part) {
      const kind = part.type === "reasoning" ? "reasoning" : "text";
      if (part.text === "") continue;
      if (open?.kind !== kind) {
        if (open) yield* finish(open, "completed");
        open = { kind, index: index++, text: "" };
        yield* begin(open);
      }
      open.text += part.text;
      yield kind === "text"
        ? send("response.output_text.delta", { ...place(open), delta: part.text, logprobs: [] })
        : send("response.reasoning_text.delta", { ...place(open), delta: part.text });
      continue;
    }
    const end = ending(answer, ids);
    // An answer without text is still a message.
    if (open?.kind !== "text" && !answer.result!.toolCalls) {
      if (open) yield* finish(open, end.status);
      open = { kind: "text", index: index++, text: "" };
      yield* begin(open);
    }
    if (open) yield* finish(open, end.status);
    yield send(end.status === "completed" ? "response.completed" : "response.incomplete", { response: { ...shell, ...end } });
  }
}
