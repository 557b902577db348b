// From a Request to a Response: OpenAI's routes over models of this package, on any runtime that has fetch's types.

import type { GenerateResult } from "../index.ts";
import { reasonOf } from "../shown.ts";
import { Admission, type Release } from "./admission.ts";
import { readBody } from "./body.ts";
import { chatCompletion } from "./chat.ts";
import { textCompletion } from "./completions.ts";
import { Gate, type GateOptions } from "./gate.ts";
import type { Job } from "./job.ts";
import { Metrics } from "./metrics.ts";
import { checkOptions } from "./options.ts";
import type { Params } from "./params.ts";
import { Problem, problemOf } from "./problem.ts";
import { response } from "./responses.ts";
import type { Limits } from "./sampling.ts";
import { type Loan, type ServedModels, Shelf } from "./shelf.ts";
import { detokenize, embeddings, modelObject, tokenize } from "./small.ts";
import { idOf } from "./wire.ts";

/** One line of the log, when a request has ended. */
export interface LogEntry {
  readonly time: string;
  /** The response's x-request-id. */
  readonly request: string;
  readonly method: string;
  readonly path: string;
  /** 499: the client went away before the end. */
  readonly status: number;
  readonly ms: number;
  readonly model?: string;
  readonly promptTokens?: number;
  readonly cachedTokens?: number;
  readonly completionTokens?: number;
  readonly error?: string;
}

export interface HandlerOptions extends GateOptions {
  /** Requests that generate at once; more wait. Default 4. */
  readonly parallel?: number | undefined;
  /** Requests that may wait; more are answered with 429 at once. Default 64. */
  readonly queue?: number | undefined;
  /** Largest body in bytes. Default 8 MiB. */
  readonly maxBodyBytes?: number | undefined;
  /** Longest time of a request, from its arrival to its end, in milliseconds. Default 10 minutes. */
  readonly requestTimeoutMs?: number | undefined;
  /** Silence after which a streamed answer gets a comment, in milliseconds. Default 10 seconds. */
  readonly keepAliveMs?: number | undefined;
  /** Most tokens of one answer, also where a request names no limit. Default: until the context is full. */
  readonly maxTokens?: number | undefined;
  /** Most answers of one request (`n`). Default 8. */
  readonly maxChoices?: number | undefined;
  /** Bytes that models from a {@link ModelSource} may take together. Default: no limit. */
  readonly maxMemoryBytes?: number | undefined;
  /** Answers GET requests of paths that no route has, without a key: a page, say. Undefined: there is nothing. */
  readonly page?: ((path: string) => Promise<Response | undefined>) | undefined;
  /** Called once a request. Default: nothing is logged. */
  readonly log?: ((entry: LogEntry) => void) | undefined;
  /** Milliseconds, monotonic. Default: performance.now. */
  readonly now?: (() => number) | undefined;
}

/** What edge platforms pass beside a request. */
export interface HandlerContext {
  waitUntil(work: Promise<unknown>): void;
}

export interface Handler {
  /** Answers a request. Never rejects: failures are responses. */
  (request: Request, context?: HandlerContext): Promise<Response>;
  /** Loads a model now, not when first asked for. Rejects as its load() does, and with an error for other names. */
  load(id: string): Promise<void>;
  /**
   * Ends serving: new requests get 503, those in progress may end within `graceMs` (default 30 seconds), then they are aborted;
   * models from a ModelSource are disposed.
   */
  close(options?: { readonly graceMs?: number | undefined }): Promise<void>;
}

type Answerer = (job: Job, params: Params, limits: Limits) => Promise<Response> | Response;

/** Routes that take a model; `weighs`: they wait for a place. */
const posts: Readonly<Record<string, { readonly answer: Answerer; readonly weighs: boolean }>> = {
  "/chat/completions": { answer: chatCompletion, weighs: true },
  "/completions": { answer: textCompletion, weighs: true },
  "/embeddings": { answer: embeddings, weighs: true },
  "/responses": { answer: response, weighs: true },
  "/tokenize": { answer: tokenize, weighs: false },
  "/detokenize": { answer: detokenize, weighs: false },
};

/** The path without a version, as the tables know it. */
const routeOf = (path: string): string => path.replace(/^\/v1(?=\/)/, "").replace(/(?<=.)\/$/, "");

class Server {
  readonly #options: HandlerOptions;
  readonly #shelf: Shelf;
  readonly #gate: Gate;
  readonly #admission: Admission;
  readonly #metrics = new Metrics();
  readonly #limits: Limits;
  readonly #now: () => number;
  readonly #running = new Map<AbortController, Promise<void>>();
  #closing = false;

  constructor(models: ServedModels, options: HandlerOptions) {
    this.#options = options;
    this.#shelf = new Shelf(models, options.maxMemoryBytes ?? Infinity);
    this.#gate = new Gate(options);
    this.#admission = new Admission(options.parallel ?? 4, options.queue ?? 64);
    this.#limits = { maxChoices: options.maxChoices ?? 8, maxTokens: options.maxTokens ?? Number.MAX_SAFE_INTEGER };
    this.#now = options.now ?? (() => performance.now());
  }

  async answer(request: Request, context: HandlerContext | undefined): Promise<Response> {
    const work = new Work(request, this.#now, (entry) => this.#ended(entry));
    let given: Response;
    try {
      given = await this.#route(work, request, context);
    } catch (error) {
      const problem = problemOf(error);
      work.end(problem.status, error);
      given = problem.response();
    }
    const headers = new Headers(given.headers);
    headers.set("x-request-id", work.id);
    for (const [name, value] of Object.entries(this.#gate.headers(request))) headers.set(name, value);
    return new Response(given.body, { status: given.status, headers });
  }

  #ended({ route, ...entry }: LogEntry & { readonly route: string }): void {
    this.#metrics.request(route, entry.status, entry.ms / 1000);
    try {
      this.#options.log?.(entry);
    } catch {
      // A log that fails is no reason to fail.
    }
  }

  async #route(work: Work, request: Request, context: HandlerContext | undefined): Promise<Response> {
    this.#gate.origin(request);
    const route = routeOf(new URL(request.url).pathname);
    const { method } = request;
    const post = Object.hasOwn(posts, route) ? posts[route] : undefined;
    const model = /^\/models\/(.+)$/.exec(route)?.[1];
    work.route =
      post || ["/health", "/models", "/metrics"].includes(route) ? route : model === undefined ? "other" : "/models/{id}";
    if (work.route === "other" && this.#options.page && (method === "GET" || method === "HEAD")) {
      const found = await this.#options.page(new URL(request.url).pathname);
      if (found) return work.gives(found);
    }
    if (work.route === "other") throw new Problem(404, `there is no ${route.slice(0, 100)} here`, { code: "not_found" });
    if (method === "OPTIONS") return work.gives(this.#gate.preflight(request));
    const wanted = post ? "POST" : "GET";
    if (method !== wanted && !(wanted === "GET" && method === "HEAD"))
      throw new Problem(405, `${route}: expected ${wanted}, found ${method}`, {
        code: "method_not_allowed",
        headers: { allow: wanted },
      });
    if (route === "/health") return work.gives(this.#health());
    this.#gate.key(request);
    if (post) return this.#post(work, request, context, post);
    if (route === "/models")
      return work.gives(
        Response.json({ object: "list", data: this.#shelf.ids.map((id) => modelObject(id, this.#shelf.created)) }),
      );
    if (route === "/metrics") return work.gives(this.#metricsText());
    const id = decodeURIComponent(model!);
    if (!this.#shelf.has(id))
      throw new Problem(404, `model: there is no ${JSON.stringify(id.slice(0, 100))} here`, {
        code: "model_not_found",
        param: "model",
      });
    return work.gives(Response.json(modelObject(id, this.#shelf.created)));
  }

  #health(): Response {
    const state = {
      status: this.#closing ? "closing" : "ok",
      running: this.#admission.running,
      waiting: this.#admission.waiting,
    };
    return Response.json(state, { status: this.#closing ? 503 : 200 });
  }

  #metricsText(): Response {
    const { running, waiting } = this.#admission;
    const text = this.#metrics.text({ running, waiting, loaded: this.#shelf.loaded });
    return new Response(text, { headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" } });
  }

  async #post(
    work: Work,
    request: Request,
    context: HandlerContext | undefined,
    { answer, weighs }: (typeof posts)[string],
  ): Promise<Response> {
    if (this.#closing)
      throw new Problem(503, "this server is shutting down", { code: "closing", headers: { "retry-after": "5" } });
    const stop = new AbortController();
    const gone = () => stop.abort(new DOMException("the client went away", "AbortError"));
    if (request.signal.aborted) gone();
    request.signal.addEventListener("abort", gone, { once: true });
    const late = setTimeout(
      () => stop.abort(new DOMException("the request took too long", "TimeoutError")),
      this.#options.requestTimeoutMs ?? 600_000,
    );
    let loan: Loan | undefined;
    let leave: Release | undefined;
    let settle: () => void = () => {};
    const settled = new Promise<void>((resolve) => {
      settle = resolve;
    });
    this.#running.set(stop, settled);
    context?.waitUntil(settled);
    const done = (failure?: unknown) => {
      clearTimeout(late);
      request.signal.removeEventListener("abort", gone);
      leave?.();
      loan?.release();
      this.#running.delete(stop);
      // A stream's status was sent long ago: the log tells how it ended.
      work.end(failure === undefined ? (stop.signal.aborted ? 499 : 200) : problemOf(failure).status, failure);
      settle();
    };
    try {
      const params = await readBody(request, this.#options.maxBodyBytes ?? 8 * 2 ** 20, stop.signal);
      const id = params.text("model");
      if (weighs) leave = await this.#admission.enter(stop.signal, this.#now);
      loan = await this.#shelf.borrow(id);
      stop.signal.throwIfAborted();
      work.model = loan.id;
      const job: Job = {
        id: loan.id,
        model: loan.model,
        lora: loan.lora,
        signal: stop.signal,
        keepAliveMs: this.#options.keepAliveMs ?? 10_000,
        abandon: gone,
        done,
        first: () => work.first((seconds) => this.#metrics.firstToken(seconds)),
        count: (result) => {
          work.count(result);
          this.#metrics.generated(result.usage);
        },
        failed: (error) => {
          work.error = error;
        },
      };
      return await answer(job, params, this.#limits);
    } catch (error) {
      done(error);
      throw error;
    }
  }

  async load(id: string): Promise<void> {
    (await this.#shelf.borrow(id)).release();
  }

  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const grace = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([Promise.all(this.#running.values()), grace]);
    clearTimeout(timer);
    const rest = [...this.#running];
    for (const [stop] of rest) stop.abort(new DOMException("the server is shutting down", "AbortError"));
    await this.#shelf.close();
  }
}

/** One request, for the log. */
class Work {
  readonly id = idOf("req_");
  readonly #request: Request;
  readonly #began: number;
  readonly #now: () => number;
  readonly #report: (entry: LogEntry & { route: string }) => void;
  route = "other";
  model: string | undefined;
  error: unknown;
  #usage: { promptTokens: number; cachedTokens: number; completionTokens: number } | undefined;
  #first = false;
  #ended = false;

  constructor(request: Request, now: () => number, report: (entry: LogEntry & { route: string }) => void) {
    this.#request = request;
    this.#now = now;
    this.#began = now();
    this.#report = report;
  }

  first(tell: (seconds: number) => void): void {
    if (!this.#first) tell((this.#now() - this.#began) / 1000);
    this.#first = true;
  }

  count({ usage }: GenerateResult): void {
    const { promptTokens = 0, cachedTokens = 0, completionTokens = 0 } = this.#usage ?? {};
    this.#usage = {
      promptTokens: promptTokens + usage.promptTokens,
      cachedTokens: cachedTokens + usage.cachedTokens,
      completionTokens: completionTokens + usage.completionTokens,
    };
  }

  gives(response: Response): Response {
    this.end(response.status);
    return response;
  }

  end(status: number, error: unknown = this.error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#report({
      route: this.route,
      time: new Date().toISOString(),
      request: this.id,
      method: this.#request.method,
      path: new URL(this.#request.url).pathname.slice(0, 200),
      status,
      ms: Math.round(this.#now() - this.#began),
      ...(this.model === undefined ? {} : { model: this.model }),
      ...this.#usage,
      ...(error === undefined ? {} : { error: reasonOf(error) }),
    });
  }
}

/**
 * A fetch handler with OpenAI's routes: /v1/models, /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses (without
 * state), /tokenize, /detokenize, /health and /metrics. It uses nothing of a runtime: pass it to Deno.serve, Bun.serve, an edge
 * platform's `fetch`, or any server that speaks Request and Response. `models`: by the names that requests use, loaded or to be
 * loaded on first use. A parameter that this server does not know or cannot honour is refused with 400 and its name.
 * @throws CpmError "bad-option" for options out of range.
 * @example
 * ```ts
 * import { defaultModel, load } from "cpm-wasm";
 * import { createHandler } from "cpm-wasm/server";
 *
 * await using model = await load(defaultModel);
 * const handler = createHandler({ story: model });
 * const answer = await handler(
 *   new Request("http://localhost/v1/completions", {
 *     method: "POST",
 *     body: JSON.stringify({ model: "story", prompt: "The cat", max_tokens: 5, temperature: 0 }),
 *   }),
 * );
 * console.log(answer.status, ((await answer.json()) as { object: string }).object);
 * // => 200 text_completion
 * ```
 */
export function createHandler(models: ServedModels, options: HandlerOptions = {}): Handler {
  checkOptions(models, options);
  const server = new Server(models, options);
  return Object.assign((request: Request, context?: HandlerContext) => server.answer(request, context), {
    load: (id: string) => server.load(id),
    close: ({ graceMs = 30_000 }: { readonly graceMs?: number | undefined } = {}) => server.close(graceMs),
  });
}
