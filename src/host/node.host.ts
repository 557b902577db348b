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

/** With an empty custom section: V8 shares code among modules of equal bytes, also what it compiled under other flags. */
const marked = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => {
  const section = [0, 6, 5, ...new TextEncoder().encode("turbo")];
  const all = new Uint8Array(bytes.length + section.length);
  all.set(bytes);
  all.set(section, bytes.length);
  return all;
};

function compiled(artifact: Artifact, turbo = false): Promise<WebAssembly.Module> {
  const key = `${artifact} ${turbo}`;
  let module = modules.get(key);
  if (!module) {
    // For the whole process, and for good: functions are optimised long after this, when they have become hot.
    if (turbo) setFlagsFromString("--experimental-wasm-revectorize");
    module = readFile(new URL(`../../wasm/${artifact}.wasm`, import.meta.url)).then((bytes) =>
      WebAssembly.compile(turbo ? marked(bytes) : bytes),
    );
    module.catch(() => modules.delete(key));
    modules.set(key, module);
  }
  return module;
}

/** V8's own budget, in bytes of code run, before a function is optimised in the background; and a small one. */
const TIERING = { "in time": [13_000_000, "--no-wasm-sync-tier-up"], "at once": [1000, "--wasm-sync-tier-up"] } as const;

export async function nodeHost(name: "node" | "bun"): Promise<EngineHost> {
  return {
    name,
    version: process.versions[name],
    module: compiled,
    turbo: name === "node" && Number(process.versions.node.split(".")[0]) >= 24,
    ...(name === "node"
      ? {
          tierUp(when) {
            const [budget, sync] = TIERING[when];
            setFlagsFromString(`--wasm-tiering-budget=${budget}`);
            setFlagsFromString(sync);
          },
        }
      : {}),
    cores: await physicalCores(availableParallelism()),
    startLanes: startLanes(laneWorker),
    leads: true,
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    now,
  };
}
