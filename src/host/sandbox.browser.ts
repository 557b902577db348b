// Sandboxes in pages: module workers.
import type { Sandbox } from "../data/verify/code.ts";
import {
  openSandbox,
  type SandboxOptions,
  type SandboxWorker,
  type WorkerAnswer,
  type WorkerSetup,
} from "../data/verify/sandbox.ts";

function spawn(setup: WorkerSetup): SandboxWorker {
  const worker = new Worker(new URL("./sandbox.browser.worker.js", import.meta.url), { type: "module" });
  worker.postMessage(setup);
  return {
    post: (job) => worker.postMessage(job),
    onAnswer: (handler) => worker.addEventListener("message", (event: MessageEvent<WorkerAnswer>) => handler(event.data)),
    onDeath: (handler) => worker.addEventListener("error", (event) => handler(event.message || "its worker ended")),
    kill: () => worker.terminate(),
  };
}

/** Opens a sandbox for programs in JavaScript (quickjs-emscripten) and Python (pyodide): workers, killed when their time is over. */
export const createSandbox = (options?: SandboxOptions): Sandbox => openSandbox(spawn, options);
