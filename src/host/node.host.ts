// An engine's surroundings in Node and Bun: modules from disk, lanes as worker threads.
import { availableParallelism } from "node:os";
import process from "node:process";
import { setImmediate } from "node:timers";
import { setFlagsFromString } from "node:v8";
import { now } from "../clock.ts";
import { type LaneWorker, startLanes } from "../port/lanes.ts";
import type { Artifact, EngineHost } from "../wasm/host.ts";
import { compileModule } from "../wasm/inline.ts";
import { physicalCores } from "./cores.ts";
import { mayStartWorkers } from "./threads.ts";

/** Gives the bytes of a module. */
export type ReadModule = (artifact: Artifact) => Promise<Uint8Array<ArrayBuffer>>;

const modules = new Map<string, Promise<WebAssembly.Module>>();

/** With an empty custom section: V8 shares code among modules of equal bytes, also what it compiled under other flags. */
const marked = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => {
  const section = [0, 6, 5, ...new TextEncoder().encode("turbo")];
  const all = new Uint8Array(bytes.length + section.length);
  all.set(bytes);
  all.set(section, bytes.length);
  return all;
};

/** A module of a wing, compiled for 256-bit vectors where the runtime has them: see EngineHost.turbo. */
export function turboModule(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<WebAssembly.Module> {
  // For the whole process, and for good: functions are optimised long after this, when they have become hot.
  setFlagsFromString("--experimental-wasm-revectorize");
  return compileModule(name, marked(bytes));
}

function compiled(read: ReadModule, artifact: Artifact, turbo = false): Promise<WebAssembly.Module> {
  const key = `${artifact} ${turbo}`;
  let module = modules.get(key);
  if (!module) {
    module = read(artifact).then((bytes) => (turbo ? turboModule : compileModule)(artifact, bytes));
    module.catch(() => modules.delete(key));
    modules.set(key, module);
  }
  return module;
}

/** V8's own budget, in bytes of code run, before a function is optimised in the background; and a small one. */
const TIERING = { "in time": [13_000_000, "--no-wasm-sync-tier-up"], "at once": [1000, "--wasm-sync-tier-up"] } as const;

/** `read`: where modules come from; `lane`: starts a lane. */
export async function nodeHost(name: "node" | "bun", read: ReadModule, lane: () => LaneWorker): Promise<EngineHost> {
  const threads = mayStartWorkers();
  return {
    name,
    version: process.versions[name],
    module: (artifact, turbo) => compiled(read, artifact, turbo),
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
    cores: threads ? await physicalCores(availableParallelism()) : 1,
    ...(threads
      ? { startLanes: startLanes(lane), leads: true }
      : { threadsNote: "threads need --allow-worker beside --permission" }),
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    now,
  };
}
