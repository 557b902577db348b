// Sandboxes in Node, Deno and Bun: worker threads.
import process from "node:process";
import { Worker } from "node:worker_threads";
import type { Sandbox } from "../data/verify/code.ts";
import {
  openSandbox,
  type SandboxOptions,
  type SandboxWorker,
  type WorkerAnswer,
  type WorkerSetup,
} from "../data/verify/sandbox.ts";
import { CpmError } from "../errors.ts";

function spawn(setup: WorkerSetup): SandboxWorker {
  // Seen in Bun 1.4: terminate() does not end a worker whose WebAssembly does not come back, so a program could not be stopped in time.
  if (setup.language === "python" && process.versions["bun"] !== undefined)
    throw new CpmError("unsupported", "Bun cannot stop a Python program that does not end; run Python in Node or Deno", {
      field: "language",
    });
  const worker = new Worker(new URL("./sandbox.node.worker.js", import.meta.url), {
    workerData: setup,
    env: {},
    argv: [],
    execArgv: [],
    stdin: false,
    stdout: true,
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: 512, maxYoungGenerationSizeMb: 64, stackSizeMb: 4 },
  });
  // Sandboxes keep no process alive.
  worker.unref();
  return {
    post: (job) => {
      worker.ref();
      worker.postMessage(job);
    },
    onAnswer: (handler) =>
      void worker.on("message", (answer: WorkerAnswer) => {
        worker.unref();
        handler(answer);
      }),
    onDeath(handler) {
      let why = "its worker ended";
      worker.on("error", (error) => {
        why = error.message;
      });
      worker.on("exit", () => handler(why));
    },
    kill: () => worker.terminate(),
  };
}

/**
 * Opens a sandbox for programs in JavaScript (QuickJS) and Python (Pyodide), which are optional packages: `npm install
 * quickjs-emscripten pyodide`. Programs run in threads of their own, which are killed when their time is over.
 */
export const createSandbox = (options?: SandboxOptions): Sandbox => openSandbox(spawn, options);
