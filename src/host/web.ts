// Engines and lanes as web workers, on pages.
import type { EngineWorker } from "../port/client.ts";
import type { LaneWorker } from "../port/lanes.ts";
import type { Port } from "../port/messages.ts";
import { type Lane, runLane } from "../wasm/lane.ts";

/** The global scope of a dedicated worker. */
interface WorkerScope {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown, transfer?: Transferable[]): void;
}

const scope = () => globalThis as unknown as WorkerScope;

const failure = (event: ErrorEvent): Error =>
  new Error(
    event.message ||
      'its script could not be loaded (the package\'s files must be served beside each other; vite dev needs optimizeDeps.exclude: ["cpm-wasm"])',
  );

export function webEngine(worker: Worker, lane: () => LaneWorker): EngineWorker {
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

export function webLane(worker: Worker): LaneWorker {
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
