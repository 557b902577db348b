// What the server's tests share: the embedded model in this thread, scripted models, requests and how answers are read.
import { onTestFinished } from "vitest";
import { load } from "../../src/host/node.ts";
import { type GeneratedPart, type GenerateResult, Generation, type Model } from "../../src/index.ts";
import { createHandler, type Handler, type HandlerOptions, type LogEntry, type ServedModels } from "../../src/server/index.ts";
import { story } from "../cli/command.ts";

/** The embedded model, loaded once a test and disposed with it. */
export async function storyModel(): Promise<Model> {
  const model = await load(story, { worker: false, threads: 1 });
  onTestFinished(() => model.dispose());
  return model;
}

export interface Served {
  readonly handler: Handler;
  readonly log: LogEntry[];
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  get(path: string, init?: RequestInit): Promise<Response>;
}

export function served(models: ServedModels, options: HandlerOptions = {}): Served {
  const log: LogEntry[] = [];
  const handler = createHandler(models, { log: (entry) => log.push(entry), ...options });
  const ask = (path: string, init: RequestInit) => handler(new Request(`http://127.0.0.1${path}`, init));
  return {
    handler,
    log,
    post: (path, body, init = {}) =>
      ask(path, { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body), ...init }),
    get: (path, init = {}) => ask(path, init),
  };
}

/** The data of a stream's events, "[DONE]" and comments as they are. */
export async function eventsOf(response: Response): Promise<unknown[]> {
  const text = await response.text();
  return text
    .split("\n\n")
    .filter((block) => block !== "")
    .map((block) => {
      const data = /^data: (.*)$/m.exec(block)?.[1];
      return data === undefined ? block : data === "[DONE]" ? data : (JSON.parse(data) as unknown);
    });
}

const usage = { promptTokens: 3, cachedTokens: 1, completionTokens: 2 };
const timings = { prefillMs: 1, decodeMs: 1, prefillTokensPerSecond: 3, decodeTokensPerSecond: 2 };

export const resultOf = (text: string): GenerateResult => ({
  text,
  reasoning: "",
  tokens: [1, 2],
  finishReason: "stop",
  usage,
  timings,
});

/** How a scripted generation goes: gives parts when told to, ends, or waits for its signal. */
export interface Script {
  readonly signal: AbortSignal;
  part(text: string, type?: GeneratedPart["type"]): void;
  end(): void;
  fail(error: unknown): void;
}

/** A model whose generations do what the test says; `begun` is called with each. */
export function scripted(begun: (script: Script) => void): Model {
  const generate = (_prompt: unknown, options: { readonly signal?: AbortSignal } = {}) =>
    new Generation(
      (signal, { onPart }) =>
        new Promise<GenerateResult>((resolve, reject) => {
          let text = "";
          signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
          if (signal.aborted) return reject(signal.reason as Error);
          begun({
            signal,
            part(piece, type = "text") {
              if (type === "text") text += piece;
              onPart({ type, text: piece, tokens: [1] });
            },
            end: () => resolve(resultOf(text)),
            fail: reject,
          });
        }),
      options,
    );
  const info = { memory: { total: 1000 }, loadMs: 1, config: { hidden: 4 } };
  return { generate, chat: generate, info, dispose: async () => {} } as unknown as Model;
}

/** Resolves when the event loop has run a few times: everything that was ready has happened. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}
