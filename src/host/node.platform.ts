// The platform of Node and Bun: engines in worker threads, models on disk.
import { Worker } from "node:worker_threads";
import type { Platform } from "../door/door.ts";
import type { EngineWorker } from "../port/client.ts";
import { pathFiles } from "./node.files.ts";
import { nodeHost } from "./node.host.ts";

function engineWorker(): EngineWorker {
  const worker = new Worker(new URL("./node.worker.js", import.meta.url), { execArgv: [], name: "cpm engine" });
  worker.unref();
  return {
    post: (message, transfer = []) => worker.postMessage(message, [...transfer]),
    listen: (handler) => worker.on("message", handler),
    onDeath(handler) {
      worker.once("error", handler);
      worker.once("exit", (code) => handler(new Error(`it exited with code ${code}`)));
    },
    async terminate() {
      await worker.terminate();
    },
    busy: (pending) => (pending ? worker.ref() : worker.unref()),
  };
}

export const nodePlatform = (name: "node" | "bun"): Platform => ({
  host: () => nodeHost(name),
  openPath: pathFiles,
  startWorker: async () => engineWorker(),
});
