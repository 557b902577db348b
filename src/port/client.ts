// The caller's side of an engine in a worker: the same interface, by messages.

import { copyOf } from "../brands.ts";
import { after, cancelTimer } from "../clock.ts";
import type { AdapterUse } from "../engine/adapters.ts";
import type { EngineHooks } from "../engine/engine.ts";
import type {
  BlockTrace,
  EmbedOptions,
  EngineApi,
  EngineInfo,
  EngineOptions,
  GeneratedPart,
  GenerateHooks,
  GenerateRequest,
  GenerateResult,
  LoadProgress,
  Profile,
  States,
  Usage,
} from "../engine/types.ts";
import { CpmError } from "../errors.ts";
import type { ModelFiles, Source } from "../file/source.ts";
import type { Flow } from "../flow.ts";
import { onAbort, untilAborted } from "../signals.ts";
import { failPool, type Lane } from "../wasm/lane.ts";
import { Lanes, type LaneWorker } from "./lanes.ts";
import {
  type CallName,
  DRAFT_PREFIX,
  type FileRequest,
  FRONT_PREFIX,
  loraPrefix,
  type Port,
  packError,
  packValue,
  type ToClient,
  type ToWorker,
  unpackError,
  unpackValue,
  type WireEvent,
  type WireInput,
} from "./messages.ts";

/** A worker that serves an engine. */
export interface EngineWorker extends Port {
  /** Calls back once when the worker died by itself. */
  onDeath(handler: (cause: Error) => void): void;
  /** A worker for one of its engine's lanes. */
  lane(): LaneWorker;
  /** Ends it at once. */
  terminate(): Promise<void> | void;
  /** Whether calls are pending: a worker that waits must not keep the process alive. */
  busy?(pending: boolean): void;
}

/** How long an engine may take to close by itself, and to say that a load has ended before its caller hears of it. */
const CLOSE_MS = 1000;
const ABORT_MS = 250;

/** Resolves with `work`, whatever comes of it, or after `ms`. */
function within(ms: number, work: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = after(ms, resolve);
    void work
      .catch(() => {})
      .then(() => {
        cancelTimer(timer);
        resolve();
      });
  });
}

interface Pending {
  resolve(value: never): void;
  reject(error: unknown): void;
  readonly onEvent: ((event: string, value: unknown) => void) | undefined;
  /** Lets go of the signal. */
  readonly stop: (() => void) | undefined;
}

/** Files as the worker is told of them; `files` when it is the client that reads them. */
export interface WireFiles {
  readonly input: WireInput;
  readonly files: ModelFiles | undefined;
}

/** What an engine reads beside the model. */
export interface WireBeside {
  readonly draft?: WireFiles | undefined;
  readonly front?: WireFiles | undefined;
  readonly lora?: readonly WireFiles[] | undefined;
}

/** Files under one roof: those beside the model's by the prefixes of their names. */
const withOthers = (files: ModelFiles | undefined, others: readonly (readonly [string, ModelFiles])[]): ModelFiles => ({
  entry: files?.entry ?? "",
  open: async (name, signal) => {
    const other = others.find(([prefix]) => name.startsWith(prefix));
    return other ? other[1].open(name.slice(other[0].length), signal) : files?.open(name, signal);
  },
  close: async () => {},
});

export class EngineClient implements EngineApi {
  readonly #worker: EngineWorker;
  readonly #pending = new Map<number, Pending>();
  readonly #files: ModelFiles | undefined;
  readonly #sources = new Map<string, Source>();
  readonly #lanes: Lanes;
  #info: EngineInfo | undefined;
  #dead: CpmError | undefined;
  #next = 1;
  #closing: Promise<void> | undefined;

  private constructor(worker: EngineWorker, files: ModelFiles | undefined) {
    this.#worker = worker;
    this.#files = files;
    this.#lanes = new Lanes(() => worker.lane());
    worker.listen((message) => this.#receive(message as ToClient));
    worker.onDeath((cause) => {
      this.#die(
        new CpmError("engine-failed", `the engine's worker ended: ${cause.message}; load the model again`, {}, { cause }),
      );
      void this.#end();
    });
  }

  /**
   * Loads a model in `worker`. `files`: what a "served" input reads from, here. A failed or aborted load ends the worker.
   * Rejects with what Engine.load throws, or the signal's reason.
   */
  static async load(
    worker: EngineWorker,
    input: WireInput,
    files: ModelFiles | undefined,
    options: EngineOptions,
    hooks: EngineHooks,
    { draft, front, lora = [] }: WireBeside = {},
  ): Promise<EngineClient> {
    const others = [
      [DRAFT_PREFIX, draft?.files] as const,
      [FRONT_PREFIX, front?.files] as const,
      ...lora.map((one, i) => [loraPrefix(i), one.files] as const),
    ];
    const served = others.filter((one): one is readonly [string, ModelFiles] => one[1] !== undefined);
    const client = new EngineClient(worker, served.length > 0 ? withOthers(files, served) : files);
    const { signal, onProgress } = hooks;
    const close = () => Promise.all([files?.close(), ...served.map(([, own]) => own.close())]);
    let info: Promise<EngineInfo> | undefined;
    try {
      signal?.throwIfAborted();
      info = client.#ask<EngineInfo>(
        (id) => ({
          type: "load",
          id,
          input,
          options,
          draft: draft?.input,
          front: front?.input,
          lora: lora.map((one) => one.input),
        }),
        signal,
        (_, value) => onProgress?.call(hooks, value as LoadProgress),
      );
      client.#info = signal ? await untilAborted(info, signal) : await info;
    } catch (error) {
      client.#dead = new CpmError("closed", "this model did not load");
      // The worker closes its files by itself: where it is ended first, Node 20 leaves them open.
      const ended = within(CLOSE_MS, info ?? Promise.resolve())
        .then(() => client.#end())
        .then(close);
      await within(ABORT_MS, ended);
      throw error;
    }
    await close();
    return client;
  }

  get info(): EngineInfo {
    return this.#info!;
  }

  #receive(message: ToClient): void {
    if (message.type === "serve") {
      void this.#serve(message.id, message.request);
      return;
    }
    if (message.type === "start-lanes") {
      void this.#startLanes(message.lanes);
      return;
    }
    if (message.type === "events") {
      this.#handle(message.events);
      return;
    }
    const pending = this.#pending.get(message.id);
    if (!pending) return;
    this.#settle(message.id);
    if (message.type === "result") pending.resolve(unpackValue(message.value) as never);
    else pending.reject(unpackError(message.error));
  }

  /** Events are each call's own: where handling one throws, the others of its message are handled all the same. */
  #handle(events: readonly WireEvent[]): void {
    const errors: unknown[] = [];
    for (const { id, event, value } of events)
      try {
        this.#pending.get(id)?.onEvent?.(event, value);
      } catch (error) {
        errors.push(error);
      }
    if (errors.length > 0) throw errors[0];
  }

  #settle(id: number): void {
    this.#pending.get(id)?.stop?.();
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#worker.busy?.(false);
  }

  #die(error: CpmError): void {
    this.#dead ??= error;
    for (const [id, pending] of [...this.#pending]) {
      this.#settle(id);
      pending.reject(error);
    }
  }

  async #startLanes(lanes: readonly Lane[]): Promise<void> {
    if (this.#dead) return;
    let error: unknown;
    try {
      await this.#lanes.start(lanes, (lane) => void failPool(lane));
    } catch (cause) {
      error = cause;
    }
    // A load that was aborted meanwhile has ended the worker.
    if (!this.#dead)
      this.#worker.post({ type: "lanes-started", ...(error ? { error: packError(error) } : {}) } satisfies ToWorker);
  }

  /** Ends the engine's worker and its lanes, whatever they are doing. */
  async #end(): Promise<void> {
    await Promise.all([this.#worker.terminate(), this.#lanes.end()]);
  }

  #ask<T>(
    message: (id: number) => ToWorker,
    signal?: AbortSignal,
    onEvent?: (event: string, value: unknown) => void,
    transfer?: ArrayBuffer[],
    flow?: Flow,
  ): Promise<T> {
    if (this.#dead) return Promise.reject(this.#dead);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.#next++;
    return new Promise<T>((resolve, reject) => {
      // The worker stops at its next look at the event loop and then answers; its state stays in step with ours.
      const stop = signal && onAbort(signal, () => this.#worker.post({ type: "abort", id } satisfies ToWorker));
      flow?.listen((held) => this.#worker.post({ type: "hold", id, held } satisfies ToWorker));
      const fail = (error: unknown) => reject(signal?.aborted && !(error instanceof CpmError) ? signal.reason : error);
      this.#pending.set(id, { resolve: resolve as (value: never) => void, reject: fail, onEvent, stop });
      this.#worker.busy?.(true);
      this.#worker.post(message(id), transfer);
    });
  }

  #call<T>(
    method: CallName,
    args: readonly unknown[],
    signal?: AbortSignal,
    onEvent?: (event: string, value: unknown) => void,
    flow?: Flow,
  ): Promise<T> {
    return this.#ask<T>((id) => ({ type: "call", id, method, args }), signal, onEvent, undefined, flow);
  }

  async #serve(id: number, request: FileRequest): Promise<void> {
    const reply = (result: unknown) => {
      const { value, transfer } = packValue(result);
      this.#worker.post({ type: "served", id, value } satisfies ToWorker, transfer);
    };
    try {
      if (request.what === "close") return reply(undefined);
      if (request.what === "open") {
        const source = await this.#files!.open(request.name);
        if (source) this.#sources.set(request.name, source);
        return reply(source && { name: source.name, size: source.size });
      }
      reply(await this.#sources.get(request.name)!.read(request.offset, request.length));
    } catch (error) {
      this.#worker.post({ type: "served", id, error: packError(error) } satisfies ToWorker);
    }
  }

  open(contextSize?: number, lora?: readonly AdapterUse[]): Promise<number> {
    return this.#call("open", [contextSize, lora]);
  }

  forward(
    session: number,
    tokens: readonly number[],
    logits: "none" | "last" | "all" | States,
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    return this.#call("forward", [session, tokens, logits], signal);
  }

  trace(session: number, tokens: readonly number[], every: number, signal?: AbortSignal): Promise<BlockTrace> {
    return this.#call("trace", [session, tokens, every], signal);
  }

  profile(session: number, steps: number, signal?: AbortSignal): Promise<Profile> {
    return this.#call("profile", [session, steps], signal);
  }

  generate(session: number, request: GenerateRequest, hooks: GenerateHooks): Promise<GenerateResult> {
    const onEvent = (event: string, value: unknown) => {
      if (event === "part") hooks.onPart(value as GeneratedPart);
      else if (event === "begin") hooks.onBegin?.(value as Omit<Usage, "completionTokens">);
      else hooks.onPrefill?.(...(value as [number, number]));
    };
    return this.#call("generate", [session, request], hooks.signal, onEvent, hooks.flow);
  }

  embed(
    texts: readonly (string | readonly number[])[],
    options: EmbedOptions,
    hooks: Pick<GenerateHooks, "signal" | "onBegin">,
  ): Promise<Float32Array> {
    return this.#call("embed", [texts, options], hooks.signal, (_, value) =>
      hooks.onBegin?.(value as Omit<Usage, "completionTokens">),
    );
  }

  tokens(session: number): Promise<Int32Array> {
    return this.#call("tokens", [session]);
  }

  truncate(session: number, length: number): Promise<void> {
    return this.#call("truncate", [session, length]);
  }

  copy(session: number): Promise<number> {
    return this.#call("copy", [session]);
  }

  save(session: number): Promise<Uint8Array> {
    return this.#call("save", [session]);
  }

  restore(bytes: Uint8Array): Promise<number> {
    // A copy moves: these bytes stay the caller's.
    const { value, transfer } = packValue(copyOf(bytes));
    return this.#ask((id) => ({ type: "call", id, method: "restore", args: [value] }), undefined, undefined, transfer);
  }

  closeSession(session: number): Promise<void> {
    return this.#call("closeSession", [session]);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#dead) return;
    // The engine ends its lanes and whatever it is computing; one that does not answer is ended anyway.
    const closed = this.#call<void>("close", []).catch(() => {});
    this.#dead = new CpmError("closed", "this model is closed; load it again");
    await within(CLOSE_MS, closed);
    this.#die(this.#dead);
    await this.#end();
  }
}
