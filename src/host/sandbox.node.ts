// Sandboxes in Node and Deno: worker threads; in Bun: processes.
import { fork } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { Sandbox } from "../data/verify/code.ts";
import {
  openSandbox,
  type SandboxOptions,
  type SandboxWorker,
  type WorkerAnswer,
  type WorkerSetup,
} from "../data/verify/sandbox.ts";

/** In a process of its own, for Bun: its terminate() does not end a thread whose WebAssembly does not come back (seen in 1.4). */
function spawnProcess(setup: WorkerSetup): SandboxWorker {
  const child = fork(fileURLToPath(new URL("./sandbox.node.process.js", import.meta.url)), [], {
    // A compiled program of Bun is the command itself with this.
    env: { BUN_BE_BUN: "1" },
    execArgv: [],
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  // Sandboxes keep no process alive, and do not outlive one that exits: an endless loop would not hear that it is gone.
  child.unref();
  const stop = () => void child.kill("SIGKILL");
  process.once("exit", stop);
  child.once("exit", () => process.off("exit", stop));
  child.send(setup);
  return {
    post: (job) => void child.send(job),
    onAnswer: (handler) => void child.on("message", (answer) => handler(answer as WorkerAnswer)),
    onDeath(handler) {
      let why = "its process ended";
      child.on("error", (error) => {
        why = error.message;
        handler(why);
      });
      child.on("exit", (code, signal) => handler(signal === null ? `${why} with status ${code}` : `${why} by ${signal}`));
    },
    kill: () => child.kill("SIGKILL"),
  };
}

function spawnThread(setup: WorkerSetup): SandboxWorker {
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
 * quickjs-emscripten pyodide`. Programs run in threads of their own, in Bun in processes, which are killed when their time is over.
 */
export const createSandbox = (options?: SandboxOptions): Sandbox =>
  openSandbox(process.versions["bun"] === undefined ? spawnThread : spawnProcess, options);
