// An engine's surroundings in Node and Bun: modules from disk, lanes as worker threads.
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import type { Artifact, EngineHost } from "../engine/host.ts";
import { startLanes } from "../port/lanes.ts";
import { physicalCores } from "./cores.ts";
import { laneWorker } from "./threads.ts";

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

export async function nodeHost(name: "node" | "bun"): Promise<EngineHost> {
  return {
    name,
    module: compiled,
    cores: await physicalCores(availableParallelism()),
    startLanes: startLanes(laneWorker),
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    now: () => performance.now(),
  };
}
