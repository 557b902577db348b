// An engine's surroundings in Node and Bun: modules from disk, lanes as worker threads.
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import process from "node:process";
import { setImmediate } from "node:timers";
import { setFlagsFromString } from "node:v8";
import { now } from "../clock.ts";
import type { Artifact, EngineHost } from "../engine/host.ts";
import { startLanes } from "../port/lanes.ts";
import { physicalCores } from "./cores.ts";
import { laneWorker } from "./threads.ts";

const modules = new Map<string, Promise<WebAssembly.Module>>();

function compiled(artifact: Artifact, turbo = false): Promise<WebAssembly.Module> {
  const key = `${artifact} ${turbo}`;
  let module = modules.get(key);
  if (!module) {
    // For the whole process, and for good: functions are optimised long after this, when they have become hot.
    if (turbo) setFlagsFromString("--experimental-wasm-revectorize");
    module = readFile(new URL(`../../wasm/${artifact}.wasm`, import.meta.url)).then((bytes) => WebAssembly.compile(bytes));
    module.catch(() => modules.delete(key));
    modules.set(key, module);
  }
  return module;
}

export async function nodeHost(name: "node" | "bun"): Promise<EngineHost> {
  return {
    name,
    module: compiled,
    turbo: name === "node" && Number(process.versions.node.split(".")[0]) >= 24,
    cores: await physicalCores(availableParallelism()),
    startLanes: startLanes(laneWorker),
    leads: true,
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    now,
  };
}
