// A sandbox's thread in Node, Deno and Bun.
import { parentPort, workerData } from "node:worker_threads";
import { runInside } from "../data/verify/inside.ts";
import type { WorkerSetup } from "../data/verify/sandbox.ts";

const port = parentPort!;
await runInside(
  workerData as WorkerSetup,
  (message) => port.postMessage(message),
  (handler) => void port.on("message", handler),
);
