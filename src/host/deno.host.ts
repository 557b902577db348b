// An engine's surroundings in Deno.
import type { EngineHost } from "../engine/host.ts";
import { modules } from "./deno.modules.js";
import { startLanes } from "./lanes.ts";
import { breathe, webLane } from "./web.ts";

interface DenoPermissions {
  readonly permissions: { query(what: { name: "read"; path: URL }): Promise<{ state: "granted" | "prompt" | "denied" }> };
}

/** Deno starts a worker from a local file only with permission to read it; asking does not prompt. */
export async function mayStart(script: URL): Promise<boolean> {
  if (script.protocol !== "file:") return true;
  const { permissions } = (globalThis as unknown as { Deno: DenoPermissions }).Deno;
  return (await permissions.query({ name: "read", path: script })).state === "granted";
}

export async function denoHost(): Promise<EngineHost> {
  const script = new URL("./deno.lane.js", import.meta.url);
  const threads = await mayStart(script);
  return {
    name: "deno",
    module: async (artifact) => modules[artifact],
    cores: threads ? navigator.hardwareConcurrency : 1,
    ...(threads
      ? { startLanes: (lanes, onDeath) => startLanes(() => webLane(new Worker(script, { type: "module" })), lanes, onDeath) }
      : { threadsNote: "threads need --allow-read for the package's folder" }),
    breathe,
    now: () => performance.now(),
  };
}
