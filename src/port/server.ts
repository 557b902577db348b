// The worker's side: one engine, called by messages.

import { after, now } from "../clock.ts";
import { Engine } from "../engine/engine.ts";
import type { EmbedOptions, GenerateRequest, LoadProgress } from "../engine/types.ts";
import type { ModelFiles, Source } from "../file/source.ts";
import { Flow } from "../flow.ts";
import type { EngineHost } from "../wasm/host.ts";
import type { Lane } from "../wasm/lane.ts";
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

/** Opens what the worker can reach by itself. */
export type OpenInput = (input: Exclude<WireInput, { kind: "served" }>) => ModelFiles | Promise<ModelFiles>;

/**
 * Serves one engine over `port`, from "load" to "close". The host may still be on its way: listening starts at once,
 * since some runtimes drop messages that nobody listens to. Unless the host notes why there are no threads, lanes are
 * started by the client.
 */
export function serveEngine(port: Port, host: EngineHost | Promise<EngineHost>, openInput: OpenInput): void {
  const aborts = new Map<number, AbortController>();
  /** Of calls that ended by themselves, for the next ones: a call that has settled listens no more, and making a signal takes microseconds. */
  const spare: AbortController[] = [];
  const flows = new Map<number, Flow>();
  const served = new ServedFiles(port);
  const lanes = new ClientLanes(port);
  let engine: Engine | undefined;
  const events = new Events(port);
  const send = (message: ToClient, transfer?: ArrayBuffer[]) => {
    events.flush();
    port.post(message, transfer);
  };

  async function answer(id: number, work: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
    const abort = spare.pop() ?? new AbortController();
    aborts.set(id, abort);
    try {
      // Results are never used again on this side: their buffers may move.
      const { value, transfer } = packValue(await work(abort.signal));
      send({ type: "result", id, value }, transfer);
    } catch (error) {
      send({ type: "error", id, error: packError(error) });
    } finally {
      aborts.delete(id);
      flows.delete(id);
      if (!abort.signal.aborted) spare.push(abort);
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
    if (method === "profile") {
      const [session, steps] = args as Parameters<Engine["profile"]>;
      return target.profile(session, steps, signal);
    }
    if (method === "generate") {
      const [session, request] = args as [number, GenerateRequest];
      const flow = new Flow();
      flows.set(id, flow);
      return target.generate(session, request, {
        signal,
        flow,
        onBegin: (value) => events.now({ id, event: "begin", value }),
        onPart: (value) => events.soon({ id, event: "part", value }),
        onPrefill: (done, total) => events.now({ id, event: "prefill", value: [done, total] }),
      });
    }
    if (method === "embed") {
      const [texts, options] = args as [Parameters<Engine["embed"]>[0], EmbedOptions];
      return target.embed(texts, options, { signal, onBegin: (value) => events.now({ id, event: "begin", value }) });
    }
    return (target[method] as (...values: unknown[]) => Promise<unknown>).apply(target, [...args]);
  }

  port.listen((raw) => {
    const message = raw as ToWorker;
    if (message.type === "abort") aborts.get(message.id)?.abort();
    else if (message.type === "hold") flows.get(message.id)?.set(message.held);
    else if (message.type === "served")
      served.answer(message.id, unpackValue(message.value), message.error && unpackError(message.error));
    else if (message.type === "lanes-started") lanes.started(message.error && unpackError(message.error));
    else if (message.type === "load") {
      const { id, input, options, draft, front, lora = [] } = message;
      const opened = (wire: WireInput, prefix: string) =>
        wire.kind === "served" ? served.files(wire.entry, prefix) : openInput(wire);
      void answer(id, async (signal) => {
        const files = await opened(input, "");
        const hooks = { signal, onProgress: (value: LoadProgress) => events.now({ id, event: "progress", value }) };
        const drafts = draft && (await opened(draft, DRAFT_PREFIX));
        const fronts = front && (await opened(front, FRONT_PREFIX));
        const loras: ModelFiles[] = [];
        for (const [i, wire] of lora.entries()) loras.push(await opened(wire, loraPrefix(i)));
        engine = await Engine.load(lanes.added(await host), files, options, hooks, drafts, loras, fronts);
        return engine.info;
      });
    } else {
      const { id, method, args } = message;
      void answer(id, (signal) => call(id, method, args.map(unpackValue), signal));
    }
  });
}

/** Parts that come within so many milliseconds go together: a message takes longer than a small model's token. */
const TOGETHER_MS = 4;

interface Clock {
  now(): number;
  after(ms: number, work: () => void): unknown;
}

/**
 * Events on their way, in order. A part that comes a while after the part before begins a burst, and those of one step come right behind
 * it: they go at once, too. Where parts go on coming, they wait until the last message of events is a while ago, for another message, or
 * for this thread's next look at its own, whichever comes first.
 */
export class Events {
  readonly #port: Pick<Port, "post">;
  readonly #clock: Clock;
  #waiting: WireEvent[] = [];
  #sent = Number.NEGATIVE_INFINITY;
  #burst = Number.NEGATIVE_INFINITY;
  #part = Number.NEGATIVE_INFINITY;
  #timed = false;

  constructor(port: Pick<Port, "post">, clock: Clock = { now, after }) {
    this.#port = port;
    this.#clock = clock;
  }

  now(event: WireEvent): void {
    this.#waiting.push(event);
    this.flush();
  }

  soon(event: WireEvent): void {
    this.#waiting.push(event);
    const at = this.#clock.now();
    if (at - this.#part >= TOGETHER_MS) this.#burst = at;
    this.#part = at;
    if (at - this.#burst < TOGETHER_MS || at - this.#sent >= TOGETHER_MS) this.flush();
    else if (!this.#timed) {
      this.#timed = true;
      this.#clock.after(0, () => {
        this.#timed = false;
        this.flush();
      });
    }
  }

  flush(): void {
    if (this.#waiting.length === 0) return;
    this.#sent = this.#clock.now();
    this.#port.post({ type: "events", events: this.#waiting.splice(0) } satisfies ToClient);
  }
}

/**
 * Lanes that the client starts and ends. The engine's thread could not hear that one died while it waits for it; a
 * worker's own workers are slow to start in Deno (two waits of 500 ms) and more than some bundlers follow.
 */
class ClientLanes {
  readonly #port: Port;
  #settle: { resolve(): void; reject(error: Error): void } | undefined;

  constructor(port: Port) {
    this.#port = port;
  }

  started(error: Error | undefined): void {
    if (error) this.#settle?.reject(error);
    else this.#settle?.resolve();
  }

  /** The host with lanes from the client, where threads are possible. */
  added(host: EngineHost): EngineHost {
    if (host.threadsNote !== undefined) return host;
    const startLanes = async (lanes: readonly Lane[]) => {
      await new Promise<void>((resolve, reject) => {
        this.#settle = { resolve, reject };
        this.#port.post({ type: "start-lanes", lanes } satisfies ToClient);
      });
      return { end: async () => {} };
    };
    return { ...host, startLanes, leads: false };
  }
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

  files(entry: string, prefix: string): ModelFiles {
    return {
      entry,
      open: async (file): Promise<Source | undefined> => {
        const name = prefix + file;
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
