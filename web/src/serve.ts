// The home of `cpm serve`: the same origin's OpenAI routes.
import { type Backend, type Ended, type Info, type Sampling, Trouble, type Turn } from "./backend.ts";

const words: Readonly<Record<number, string>> = {
  401: "The server asks for an API key, or does not know this one.",
  403: "The server does not let this page in.",
  404: "The server does not have this model.",
  408: "The answer took longer than the server allows.",
  413: "This conversation is too large for the server.",
  429: "The server is busy. Try again in a moment.",
  503: "The server is shutting down or has no memory left.",
};

interface Failure {
  readonly error?: { readonly message?: string; readonly code?: string };
}

function trouble(status: number, { error }: Failure): Trouble {
  const message = error?.message ?? `status ${status}`;
  if (error?.code === "context_length_exceeded")
    return new Trouble("This conversation does not fit into the model's context.", message, "overflow");
  return new Trouble(
    words[status] ?? (status >= 500 ? "The server failed at this request." : "The server refused this request."),
    message,
  );
}

interface Chunk extends Failure {
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string; readonly reasoning_content?: string };
    readonly finish_reason?: string | null;
  }[];
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly prompt_tokens_details?: { readonly cached_tokens: number };
  } | null;
  readonly timings?: { readonly predicted_per_second: number };
}

export class ServeBackend implements Backend {
  readonly home = "serve";
  #model = "";
  /** Kept for this tab alone. */
  get key(): string {
    return sessionStorage.getItem("cpm-key") ?? "";
  }
  set key(value: string) {
    sessionStorage.setItem("cpm-key", value);
  }

  async #fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = { "content-type": "application/json", ...(this.key ? { authorization: `Bearer ${this.key}` } : {}) };
    let response: Response;
    try {
      response = await fetch(new URL(path, location.href), { ...init, headers });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new Trouble("The server does not answer. Is `cpm serve` still running?", (error as Error).message, "away");
    }
    if (!response.ok) throw trouble(response.status, (await response.json().catch(() => ({}))) as Failure);
    return response;
  }

  async models(): Promise<readonly string[]> {
    const { data } = (await (await this.#fetch("v1/models")).json()) as { data: { id: string }[] };
    return data.map(({ id }) => id);
  }

  async load(name: string): Promise<Info> {
    this.#model = name;
    return { model: name, contextSize: undefined, detail: location.host, note: undefined };
  }

  async chat(
    turns: readonly Turn[],
    sampling: Sampling,
    onPiece: Parameters<Backend["chat"]>[2],
    _onReading: Parameters<Backend["chat"]>[3],
    signal: AbortSignal,
  ): Promise<Ended> {
    const body = {
      model: this.#model,
      messages: turns,
      stream: true,
      stream_options: { include_usage: true },
      temperature: sampling.temperature,
      top_k: sampling.topK,
      top_p: sampling.topP,
      min_p: sampling.minP,
      repetition_penalty: sampling.repetitionPenalty,
      ...(sampling.seed === undefined ? {} : { seed: sampling.seed }),
      ...(sampling.maxTokens === undefined ? {} : { max_completion_tokens: sampling.maxTokens }),
      ...(sampling.thinking === "model" ? {} : { chat_template_kwargs: { enable_thinking: sampling.thinking === "on" } }),
    };
    const response = await this.#fetch("v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal });
    let finish = "stop";
    let usage: Chunk["usage"];
    let speed = 0;
    for await (const chunk of events(response)) {
      if (chunk.error) throw trouble(500, chunk);
      const choice = chunk.choices?.[0];
      if (choice?.delta?.reasoning_content) onPiece({ type: "reasoning", text: choice.delta.reasoning_content });
      if (choice?.delta?.content) onPiece({ type: "text", text: choice.delta.content });
      finish = choice?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
      speed = chunk.timings?.predicted_per_second ?? speed;
    }
    return {
      finishReason: finish === "length" ? "length" : "stop",
      promptTokens: usage?.prompt_tokens ?? 0,
      cachedTokens: usage?.prompt_tokens_details?.cached_tokens ?? 0,
      completionTokens: usage?.completion_tokens ?? 0,
      tokensPerSecond: speed,
    };
  }
}

async function* events(response: Response): AsyncGenerator<Chunk, void> {
  let rest = "";
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop()!;
      for (const block of blocks) if (block.startsWith("data: {")) yield JSON.parse(block.slice(6)) as Chunk;
    }
  } finally {
    void reader.cancel().catch(() => {});
  }
}
