// A sandbox's thread in Node, Deno and Bun.
import { parentPort, workerData } from "node:worker_threads";
import { runInside } from "../data/verify/inside.ts";
import type { WorkerSetup } from "../data/verify/sandbox.ts";
import { packagesOf } from "./sandbox.packages.ts";

const port = parentPort!;
const setup = workerData as WorkerSetup;
await runInside(
  setup,
  packagesOf(setup),
  (message) => port.postMessage(message),
  (handler) => void port.on("message", handler),
);
