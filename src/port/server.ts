// The worker's side: one engine, called by messages.
import { Engine } from "../engine/engine.ts";
import type { EngineHost } from "../engine/host.ts";
import type { GenerateRequest } from "../engine/types.ts";
import type { ModelFiles, Source } from "../file/source.ts";
import { type CallName, type FileRequest, packError, type Port, type ToClient, type ToWorker, unpackError, type WireInput } from "./messages.ts";

/** Opens what the worker can reach by itself. */
export type OpenInput = (input: Exclude<WireInput, { kind: "served" }>) => ModelFiles | Promise<ModelFiles>;

/**
 * Serves one engine over `port`, from "load" to "close". The host may still be on its way: listening starts at once,
 * since some runtimes drop messages that nobody listens to.
 */
export function serveEngine(port: Port, host: EngineHost | Promise<EngineHost>, openInput: OpenInput): void {
  const aborts = new Map<number, AbortController>();
  const served = new ServedFiles(port);
  let engine: Engine | undefined;
  const send = (message: ToClient, transfer?: ArrayBuffer[]) => port.post(message, transfer);

  async function answer(id: number, work: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
    const abort = new AbortController();
    aborts.set(id, abort);
    try {
      const value = await work(abort.signal);
      send({ type: "result", id, value }, transferable(value));
    } catch (error) {
      send({ type: "error", id, error: packError(error) });
    } finally {
      aborts.delete(id);
    }
  }

  function call(id: number, method: CallName, args: readonly unknown[], signal: AbortSignal): Promise<unknown> {
    const target = engine!;
    if (method === "forward") {
      const [session, tokens, logits] = args as Parameters<Engine["forward"]>;
      return target.forward(session, tokens, logits, signal);
    }
    if (method === "trace") {
      const [session, tokens, every] = args as Parameters<Engine["trace"]>;
      return target.trace(session, tokens, every, signal);
    }
    if (method === "generate") {
      const [session, request] = args as [number, GenerateRequest];
      const event = (name: "part" | "prefill") => (value: unknown) => send({ type: "event", id, event: name, value });
      return target.generate(session, request, { signal, onPart: event("part"), onPrefill: (done, total) => event("prefill")([done, total]) });
    }
    return (target[method] as (...values: unknown[]) => Promise<unknown>).apply(target, [...args]);
  }

  port.listen((raw) => {
    const message = raw as ToWorker;
    if (message.type === "abort") aborts.get(message.id)?.abort();
    else if (message.type === "served") served.answer(message.id, message.value, message.error && unpackError(message.error));
    else if (message.type === "load") {
      const { id, input, options } = message;
      void answer(id, async (signal) => {
        const files = input.kind === "served" ? served.files(input.entry) : await openInput(input);
        engine = await Engine.load(await host, files, options, { signal, onProgress: (value) => send({ type: "event", id, event: "progress", value }) });
        return engine.info;
      });
    } else {
      const { id, method, args } = message;
      void answer(id, (signal) => call(id, method, args, signal));
    }
  });
}

/** Buffers that can move: results are never used again on this side. Shared memory cannot be transferred and never occurs here. */
function transferable(value: unknown): ArrayBuffer[] {
  return ArrayBuffer.isView(value) && value.buffer instanceof ArrayBuffer ? [value.buffer] : [];
}

/** Files whose bytes the client reads. */
class ServedFiles {
  readonly #port: Port;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>();
  #next = 1;

  constructor(port: Port) {
    this.#port = port;
  }

  answer(id: number, value: unknown, error: Error | undefined): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) waiting?.reject(error);
    else waiting?.resolve(value);
  }

  #ask(request: FileRequest): Promise<unknown> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#port.post({ type: "serve", id, request } satisfies ToClient);
    });
  }

  files(entry: string): ModelFiles {
    return {
      entry,
      open: async (name): Promise<Source | undefined> => {
        const opened = (await this.#ask({ what: "open", name })) as { name: string; size: number } | undefined;
        if (!opened) return undefined;
        const read = async (offset: number, length: number, signal?: AbortSignal) => {
          const bytes = (await this.#ask({ what: "read", name, offset, length })) as Uint8Array;
          signal?.throwIfAborted();
          return bytes;
        };
        return { ...opened, read, close: async () => {} };
      },
      close: async () => {
        await this.#ask({ what: "close" });
      },
    };
  }
}
