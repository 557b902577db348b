// Engines and lanes as web workers, on pages.

import { CpmError } from "../errors.ts";
import type { EngineWorker } from "../port/client.ts";
import type { LaneWorker } from "../port/lanes.ts";
import type { Port } from "../port/messages.ts";
import { reasonOf } from "../shown.ts";
import { type Lane, runLane } from "../wasm/lane.ts";

/** The global scope of a dedicated worker. */
interface WorkerScope {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown, transfer?: Transferable[]): void;
}

const scope = () => globalThis as unknown as WorkerScope;

const TODO = [
  "the package's files must be served beside each other and allowed by worker-src of the page's Content-Security-Policy",
  'with esbuild, Rollup, bun build and whatever else leaves new URL("./file", import.meta.url) alone, import from "cpm-wasm/embedded", which carries the script (worker-src blob:)',
  'with Vite\'s dev server in an unusual folder, set optimizeDeps: { exclude: ["cpm-wasm"] }',
].join("; ");

const failure = (event: ErrorEvent): Error => new Error(event.message || `its script could not be loaded: ${TODO}`);

/** A module worker; apart, since bundlers look for such calls and would take this address for a file of theirs. */
export function startWeb(address: string): Worker {
  const Started = Worker;
  return new Started(address, { type: "module" });
}

/** Starts a worker. Browsers refuse in two ways: by an exception (old ones, and addresses of other origins) or later, by an error event. */
function started(create: () => Worker): Worker {
  try {
    return create();
  } catch (cause) {
    const why = reasonOf(cause);
    throw new CpmError(
      "unsupported",
      `this page may not start a worker (${why}): ${TODO}; or load with worker: false`,
      {},
      { cause },
    );
  }
}

/** An engine in the worker that `create` starts. Throws CpmError "unsupported" where the page may not start it. */
export function webEngine(create: () => Worker, lane: () => LaneWorker): EngineWorker {
  const worker = started(create);
  return {
    lane,
    post: (message, transfer = []) => worker.postMessage(message, [...transfer]),
    listen(handler) {
      worker.onmessage = ({ data }) => handler(data);
    },
    onDeath(handler) {
      worker.onerror = (event) => {
        event.preventDefault();
        handler(failure(event));
      };
    },
    terminate: () => worker.terminate(),
  };
}

export function webLane(create: () => Worker): LaneWorker {
  const worker = started(create);
  return {
    start: (lane) => worker.postMessage(lane),
    listen(onReady, onDeath) {
      worker.onmessage = () => onReady();
      worker.onerror = (event) => {
        event.preventDefault();
        onDeath(failure(event));
      };
    },
    end: () => worker.terminate(),
  };
}

/** The port of this worker to whoever started it. */
export function webPort(): Port {
  return {
    post: (message, transfer = []) => scope().postMessage(message, [...transfer]),
    listen(handler) {
      scope().onmessage = ({ data }) => handler(data);
    },
  };
}

/** Makes this worker a lane: the first message is its Lane. */
export function serveLane(): void {
  scope().onmessage = ({ data }) => void runLane(data as Lane, () => scope().postMessage("ready"));
}

// As it was when the package was imported: see clock.ts.
const { MessageChannel } = globalThis;

/** One turn of the event loop, without the 4 ms that nested timers cost. */
export function breathe(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}
