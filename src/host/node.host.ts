// An engine's surroundings in Node and Bun: modules from disk, lanes as worker threads.
import { readFile, readdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Artifact, EngineHost, Lane } from "../engine/host.ts";
import { type LaneWorker, startLanes } from "./lanes.ts";

const modules = new Map<Artifact, Promise<WebAssembly.Module>>();

function compiled(artifact: Artifact): Promise<WebAssembly.Module> {
  let module = modules.get(artifact);
  if (!module) {
    module = readFile(new URL(`../../wasm/${artifact}.wasm`, import.meta.url)).then((bytes) => WebAssembly.compile(bytes));
    module.catch(() => modules.delete(artifact));
    modules.set(artifact, module);
  }
  return module;
}

/** Physical cores this process may use: of two hyperthreads only one helps, since both would wait for the same multiplier. */
async function physicalCores(): Promise<number> {
  const logical = availableParallelism();
  const base = "/sys/devices/system/cpu";
  try {
    const names = (await readdir(base)).filter((name) => /^cpu\d+$/.test(name));
    const siblings = await Promise.all(names.map((name) => readFile(`${base}/${name}/topology/thread_siblings_list`, "utf8")));
    const perCore = names.length / new Set(siblings).size;
    return Math.max(1, Math.round(logical / perCore));
  } catch {
    return process.arch === "x64" && process.platform !== "darwin" && logical >= 4 ? logical >> 1 : logical;
  }
}

function laneWorker(): LaneWorker {
  const worker = new Worker(new URL("./node.lane.js", import.meta.url), { execArgv: [], name: "cpm lane" });
  return {
    start: (lane: Lane) => worker.postMessage(lane),
    listen(onReady, onDeath) {
      worker.once("message", () => {
        // A lane that sleeps in wasm must not keep the process alive.
        worker.unref();
        onReady();
      });
      worker.once("error", onDeath);
      worker.once("exit", (code) => onDeath(new Error(`a lane exited with code ${code}`)));
    },
    async end() {
      await worker.terminate();
    },
  };
}

export async function nodeHost(name: "node" | "bun"): Promise<EngineHost> {
  return {
    name,
    module: compiled,
    cores: await physicalCores(),
    startLanes: (lanes, onDeath) => startLanes(laneWorker, lanes, onDeath),
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    now: () => performance.now(),
  };
}
