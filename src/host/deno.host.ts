// An engine's surroundings in Deno.
import process from "node:process";
import { setImmediate } from "node:timers";
import { now } from "../clock.ts";
import { startLanes } from "../port/lanes.ts";
import type { EngineHost } from "../wasm/host.ts";
import { likelyCores, physicalCores, topology } from "./cores.ts";
import { modules } from "./deno.modules.js";
import { laneScript, startLane } from "./threads.files.ts";

interface DenoPermissions {
  readonly permissions: { query(what: { name: "read"; path: URL }): Promise<{ state: "granted" | "prompt" | "denied" }> };
}

/** Whether a file may be read; asking does not prompt. Deno starts a worker from a local file only with this permission. */
export async function mayRead(file: URL): Promise<boolean> {
  if (file.protocol !== "file:") return true;
  const { permissions } = (globalThis as unknown as { Deno: DenoPermissions }).Deno;
  return (await permissions.query({ name: "read", path: file })).state === "granted";
}

export async function denoHost(): Promise<EngineHost> {
  const threads = await mayRead(laneScript());
  const logical = navigator.hardwareConcurrency;
  return {
    name: "deno",
    version: process.versions["deno"],
    module: async (artifact) =>
      artifact === "kernels64.relaxed.mt" ? (await import("./deno.modules64.js")).kernels64 : modules[artifact],
    cores: !threads ? 1 : (await mayRead(topology)) ? await physicalCores(logical) : likelyCores(logical),
    ...(threads
      ? { startLanes: startLanes(startLane), leads: true }
      : { threadsNote: "threads need --allow-read for the package's folder" }),
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    now,
  };
}
