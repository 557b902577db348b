// An endpoint that speaks as OpenAI's chat completions do, as a model: cpm serve, llama.cpp, vLLM, hosted ones.
import { isRecord, kindOf } from "../brands.ts";
import { CpmError } from "../errors.ts";
import type { ChatOptions, ToolCall, Usage } from "../index.ts";
import { printable, reasonOf, shown } from "../shown.ts";
import { untilAborted, withSignals } from "../signals.ts";
import type { ChatMessage } from "../text/template.ts";
import { limitedFetch } from "./limited.ts";
import type { ChatAnswer, ChatModel, ChatPart, ChatReply } from "./model.ts";

export interface EndpointOptions {
  /** Up to and without "/chat/completions": "http://127.0.0.1:8080/v1". */
  readonly url: string;
  /** As the endpoint calls it. */
  readonly model: string;
  /** Sent as "Authorization: Bearer …". */
  readonly apiKey?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
  /** Milliseconds for a whole answer. Default 600,000. */
  readonly timeoutMs?: number | undefined;
}

/** A call whose pieces come one by one. */
interface Growing {
  id: string;
  name: string;
  text: string;
}

/** Options of chat() by the names of the API. What it has no name for is refused, not left out. */
function bodyOf(model: string, messages: readonly ChatMessage[], options: ChatOptions): Record<string, unknown> {
  const body: Record<string, unknown> = { model, messages, stream: true, stream_options: { include_usage: true } };
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null) continue;
    const same = SAME[name];
    if (same !== undefined) body[same] = value;
    else if (name === "toolChoice")
      body["tool_choice"] = isRecord(value) ? { type: "function", function: { name: value["name"] } } : (value as unknown);
    else if (name === "schema")
      body["response_format"] = { type: "json_schema", json_schema: { name: "answer", strict: true, schema: value as unknown } };
    else if (!LOCAL.has(name))
      throw new CpmError("unsupported", `${name}: an endpoint has no such option; leave it out or load the model here`, {
        field: name,
      });
  }
  if (Array.isArray(body["tools"]) && body["tools"].length === 0)
    for (const name of ["tools", "tool_choice", "parallel_tool_calls"]) delete body[name];
  return body;
}

const SAME: Readonly<Record<string, string>> = {
  tools: "tools",
  parallelToolCalls: "parallel_tool_calls",
  maxTokens: "max_tokens",
  temperature: "temperature",
  topP: "top_p",
  topK: "top_k",
  minP: "min_p",
  seed: "seed",
  stop: "stop",
  presencePenalty: "presence_penalty",
  frequencyPenalty: "frequency_penalty",
};
/** About the request itself, or about nothing that another machine does. */
const LOCAL = new Set(["signal", "onPrefill", "draft", "whitespace", "lenient", "toolFormat"]);

/**
 * The endpoint as a model. Answers reject with CpmError "io" (not reached, a status that is no success, an answer that is none), or the
 * signal's reason.
 * @throws CpmError "bad-option"
 */
export function endpointModel(options: EndpointOptions): ChatModel {
  const { url, model, apiKey, headers, timeoutMs = 600_000 } = options;
  if (typeof url !== "string" || !/^https?:\/\//i.test(url) || !URL.canParse(url))
    throw new CpmError(
      "bad-option",
      `url: expected an http or https address, found ${typeof url === "string" ? shown(url) : kindOf(url)}`,
      { field: "url" },
    );
  if (typeof model !== "string")
    throw new CpmError("bad-option", `model: expected a name, found ${kindOf(model)}`, { field: "model" });
  const address = `${url.replace(/\/+$/, "").replace(/\/chat\/completions$/, "")}/chat/completions`;
  const fetch = limitedFetch(options.fetch ?? ((input, init) => globalThis.fetch(input, init)));
  const secrets = [apiKey, ...Object.values(headers ?? {})].filter((secret) => secret !== undefined && secret.length > 5);
  const ask = async function* (...asked: Parameters<typeof exchange>): AsyncGenerator<ChatPart, ChatAnswer> {
    try {
      return yield* exchange(...asked);
    } catch (error) {
      // Some endpoints say which key was wrong.
      throw error instanceof EndpointError ? error.without(secrets as string[]) : error;
    }
  };
  const exchange = async function* (
    messages: readonly ChatMessage[],
    chat: ChatOptions,
    signal: AbortSignal,
  ): AsyncGenerator<ChatPart, ChatAnswer> {
    const response = await fetch(address, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
        ...headers,
      },
      body: JSON.stringify(bodyOf(model, messages, chat)),
      signal,
    });
    if (!response.ok) throw await refusal(address, response);
    const whole = new Collected();
    if (/event-stream/.test(response.headers.get("content-type") ?? ""))
      for await (const data of eventsOf(response)) {
        if (data === "[DONE]") break;
        yield* whole.push(objectOf(address, data), "delta");
      }
    else yield* whole.push(objectOf(address, await response.text()), "message");
    return whole.answer(address);
  };
  return {
    chat: (messages, chat = {}) => new EndpointReply((signal) => ask(messages, chat, signal), address, timeoutMs, chat.signal),
  };
}

/** What an endpoint did not do. `status`: of its answer, where that was no success; `retryAfterMs`: how long it asks to be left alone. */
export class EndpointError extends CpmError {
  readonly status: number | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(address: string, what: string, cause?: unknown, answer?: Response) {
    super("io", `${address}: ${what}`, { file: address }, cause === undefined ? undefined : { cause });
    this.status = answer?.status;
    this.retryAfterMs = answer && retryAfter(answer.headers.get("retry-after"));
  }

  /** This error with texts that nobody may read left out of its message. */
  without(secrets: readonly string[]): this {
    for (const secret of secrets) this.message = this.message.replaceAll(secret, "…");
    return this;
  }
}

/** Milliseconds that a Retry-After header asks for: seconds, or a date (RFC 9110, 10.2.3). */
function retryAfter(value: string | null): number | undefined {
  if (value === null || value.trim() === "") return undefined;
  const seconds = Number(value);
  const ms = Number.isFinite(seconds) ? 1000 * seconds : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

const fail = (address: string, what: string, cause?: unknown): CpmError => new EndpointError(address, what, cause);

function objectOf(address: string, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw fail(address, `it answered with what is no JSON: ${shown(text)}`, cause);
  }
  if (!isRecord(value)) throw fail(address, `it answered with ${kindOf(value)} where an object belongs`);
  const { error } = value;
  if (error !== undefined && error !== null)
    throw fail(address, `it failed: ${isRecord(error) ? shown(error["message"]) : shown(error)}`);
  return value;
}

async function refusal(address: string, response: Response): Promise<CpmError> {
  const text = await response.text().catch(() => "");
  const said = /"message"\s*:\s*("(?:[^"\\]|\\.)*")/.exec(text)?.[1] ?? text;
  const todo =
    response.status === 401 || response.status === 403
      ? "; check the API key"
      : response.status === 404
        ? "; check the address and the model's name"
        : "";
  return new EndpointError(address, `status ${response.status}${todo}: ${printable(said, 400)}`, undefined, response);
}

/** The data of a stream's events. */
async function* eventsOf(response: Response): AsyncGenerator<string> {
  let held = "";
  let data: string[] = [];
  const decoder = new TextDecoder();
  const reader = response.body!.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      held += done ? `${decoder.decode()}\n\n` : decoder.decode(value, { stream: true });
      const lines = held.split(/\r\n|\n|\r(?!$)/);
      held = lines.pop()!;
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
        else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** An answer as its pieces come. */
class Collected {
  #text = "";
  #reasoning = "";
  #ended: string | undefined;
  #any = false;
  #usage: Usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };
  readonly #calls: Growing[] = [];

  *push(event: Record<string, unknown>, key: "delta" | "message"): Generator<ChatPart> {
    const { choices, usage } = event;
    if (isRecord(usage)) {
      const number = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : 0);
      const details = usage["prompt_tokens_details"];
      this.#usage = {
        promptTokens: number(usage["prompt_tokens"]),
        cachedTokens: isRecord(details) ? number(details["cached_tokens"]) : 0,
        completionTokens: number(usage["completion_tokens"]),
      };
    }
    const choice: unknown = Array.isArray(choices) ? choices[0] : undefined;
    if (!isRecord(choice)) return;
    this.#any = true;
    if (typeof choice["finish_reason"] === "string") this.#ended = choice["finish_reason"];
    const piece = choice[key];
    if (!isRecord(piece)) return;
    const reasoning = piece["reasoning_content"] ?? piece["reasoning"];
    if (typeof reasoning === "string" && reasoning !== "") {
      this.#reasoning += reasoning;
      yield { type: "reasoning", text: reasoning };
    }
    if (typeof piece["content"] === "string" && piece["content"] !== "") {
      this.#text += piece["content"];
      yield { type: "text", text: piece["content"] };
    }
    const calls = piece["tool_calls"];
    if (Array.isArray(calls)) for (const [i, call] of calls.entries()) this.#call(call, i);
  }

  #call(call: unknown, place: number): void {
    if (!isRecord(call)) return;
    const index = typeof call["index"] === "number" ? call["index"] : place;
    if (!Number.isInteger(index) || index < 0 || index > 255) return;
    while (this.#calls.length <= index) this.#calls.push({ id: "", name: "", text: "" });
    const growing = this.#calls[index]!;
    const { id, function: inner } = call;
    if (typeof id === "string" && id !== "") growing.id = id;
    if (!isRecord(inner)) return;
    if (typeof inner["name"] === "string") growing.name += inner["name"];
    const given = inner["arguments"];
    growing.text += typeof given === "string" ? given : isRecord(given) ? JSON.stringify(given) : "";
  }

  answer(address: string): ChatAnswer {
    if (!this.#any) throw fail(address, "it gave no answer");
    const toolCalls = this.#calls
      .filter(({ name }) => name !== "")
      .map(({ id, name, text }, i): ToolCall => {
        let input: unknown;
        try {
          input = text.trim() === "" ? {} : JSON.parse(text);
        } catch {}
        // Arguments that are none keep their text; whoever runs the call sees that there is no input.
        return {
          id: id === "" ? `call_${i}` : id,
          name,
          arguments: text,
          input: (isRecord(input) ? input : undefined) as Record<string, unknown>,
        };
      });
    const reason = this.#ended ?? "stop";
    return {
      text: this.#text,
      reasoning: this.#reasoning,
      tokens: [],
      usage: this.#usage,
      finishReason: reason === "tool_calls" ? "tool-calls" : reason,
      ...(toolCalls.length ? { toolCalls } : {}),
    };
  }
}

class EndpointReply implements ChatReply {
  readonly #ask: (signal: AbortSignal) => AsyncGenerator<ChatPart, ChatAnswer>;
  readonly #address: string;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal | undefined;
  readonly #parts: ChatPart[] = [];
  #answer: Promise<ChatAnswer> | undefined;
  #wake: () => void = () => {};

  constructor(
    ask: (signal: AbortSignal) => AsyncGenerator<ChatPart, ChatAnswer>,
    address: string,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ) {
    this.#ask = ask;
    this.#address = address;
    this.#timeoutMs = timeoutMs;
    this.#signal = signal;
  }

  #run(): Promise<ChatAnswer> {
    this.#answer ??= this.#work().finally(() => this.#wake());
    return this.#answer;
  }

  async #work(): Promise<ChatAnswer> {
    const limit = AbortSignal.timeout(this.#timeoutMs);
    try {
      return await withSignals([this.#signal, limit], async (signal) => {
        const parts = this.#ask(signal);
        for (;;) {
          const next = await untilAborted(parts.next(), signal);
          if (next.done) return next.value;
          this.#parts.push(next.value);
          this.#wake();
        }
      });
    } catch (error) {
      if (this.#signal?.aborted) throw this.#signal.reason;
      if (error instanceof CpmError) throw error;
      if (limit.aborted) throw fail(this.#address, `no answer within ${this.#timeoutMs} ms`, error);
      const cause = (error as { cause?: unknown }).cause;
      throw fail(this.#address, `not reached: ${reasonOf(cause ?? error)}`, error);
    }
  }

  // biome-ignore lint/suspicious/noThenProperty: awaiting a reply gives its answer, as for a model's own
  then<A = ChatAnswer, B = never>(
    onAnswer?: ((answer: ChatAnswer) => A | PromiseLike<A>) | null,
    onError?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#run().then(onAnswer, onError);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ChatPart, void> {
    let ended = false;
    const answer = this.#run();
    answer.then(
      () => (ended = true),
      () => (ended = true),
    );
    for (let at = 0; ; ) {
      if (at < this.#parts.length) yield this.#parts[at++]!;
      else if (ended) break;
      else
        await Promise.race([
          answer.catch(() => {}),
          new Promise<void>((resolve) => {
            this.#wake = resolve;
          }),
        ]);
    }
    await answer;
  }
}
