// The platform of Node and Bun: engines in worker threads, models on disk.
import process from "node:process";
import type { Platform } from "../door/door.ts";
import { pathFiles } from "./node.files.ts";
import { nodeHost } from "./node.host.ts";
import { engineWorker } from "./threads.ts";

export const nodePlatform = (name: "node" | "bun"): Platform => ({
  host: () => nodeHost(name),
  openPath: pathFiles,
  windows: process.platform === "win32",
  startWorker: async () => engineWorker(new URL("./node.worker.js", import.meta.url)),
});
