// The platform of Node and Bun: engines in worker threads, models on disk.
import type { Platform } from "../door/door.ts";
import { pathFiles } from "./node.files.ts";
import { nodeHost } from "./node.host.ts";
import { engineWorker } from "./threads.ts";

export const nodePlatform = (name: "node" | "bun"): Platform => ({
  host: () => nodeHost(name),
  openPath: pathFiles,
  startWorker: async () => engineWorker(new URL("./node.worker.js", import.meta.url)),
});
