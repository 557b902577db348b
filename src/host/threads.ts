// Engines and lanes as worker threads (node:worker_threads), in Node, Deno and Bun.
import { Buffer } from "node:buffer";
import process from "node:process";
import { parentPort, Worker } from "node:worker_threads";
import type { EngineWorker } from "../port/client.ts";
import type { LaneWorker } from "../port/lanes.ts";
import type { Port } from "../port/messages.ts";

/** The address of a script that is a text. */
export const scriptOf = (text: string): URL => new URL(`data:text/javascript;base64,${Buffer.from(text).toString("base64")}`);

/** Node's permission model (--permission) allows workers only with --allow-worker; asking does not warn. */
export const mayStartWorkers = (): boolean =>
  (process as { permission?: { has(scope: string): boolean } }).permission?.has("worker") !== false;

/** A worker whose script is a text, for what a wing's threads say; see TrainWorker of either wing. */
export function textWorker(script: string, name: string) {
  const worker = new Worker(scriptOf(script), { execArgv: [], name });
  return {
    post: (message: unknown) => worker.postMessage(message),
    onMessage: <T>(handler: (message: T) => void) => void worker.on("message", handler),
    onDeath(handler: (cause: Error) => void) {
      worker.once("error", handler);
      worker.once("exit", (code) => handler(new Error(`it exited with code ${code}`)));
    },
    keep: (busy: boolean) => (busy ? worker.ref() : worker.unref()),
    async end() {
      await worker.terminate();
    },
  };
}

/** A worker for a lane. Once ready it does not keep the process alive: it sleeps in wasm. */
export function laneWorker(script: URL): LaneWorker {
  const worker = new Worker(script, { execArgv: [], name: "cpm lane" });
  return {
    start: (lane) => worker.postMessage(lane),
    ask(request) {
      worker.ref();
      worker.postMessage(request);
    },
    listen(onReady, onDeath, onStatus) {
      worker.on("message", (message: "ready" | number) => {
        worker.unref();
        if (message === "ready") onReady();
        else onStatus?.(message);
      });
      worker.once("error", onDeath);
      worker.once("exit", (code) => onDeath(new Error(`a lane exited with code ${code}`)));
    },
    async end() {
      await worker.terminate();
    },
  };
}

/**
 * A worker for an engine, whose entry is `script` and whose lanes are what `lane` starts; `workerData` is what its script expects. It
 * keeps the process alive while calls are pending.
 */
export function engineWorker(script: URL, lane: () => LaneWorker, workerData?: unknown): EngineWorker {
  const worker = new Worker(script, { execArgv: [], name: "cpm engine", workerData });
  worker.unref();
  return {
    post: (message, transfer = []) => worker.postMessage(message, [...transfer]),
    listen: (handler) => worker.on("message", handler),
    onDeath(handler) {
      worker.once("error", handler);
      worker.once("exit", (code) => handler(new Error(`it exited with code ${code}`)));
    },
    lane,
    async terminate() {
      await worker.terminate();
    },
    busy: (pending) => (pending ? worker.ref() : worker.unref()),
  };
}

/** The port of this thread to the one that started it. */
export function threadPort(): Port {
  const port = parentPort!;
  return {
    post: (message, transfer = []) => port.postMessage(message, [...transfer]),
    listen: (handler) => port.on("message", handler),
  };
}
