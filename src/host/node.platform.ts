// The platform of Node and Bun: engines in worker threads, models on disk.
import process from "node:process";
import type { Platform } from "../door/door.ts";
import { forms } from "../door/forms.ts";
import * as here from "../door/here.ts";
import { pathFiles } from "./node.files.ts";
import { nodeHost } from "./node.host.ts";
import { byName } from "./node.names.ts";
import { moduleFromDisk, startEngine } from "./node.package.ts";
import { startLane } from "./threads.files.ts";

export const nodePlatform = (name: "node" | "bun"): Platform => ({
  here: () => here,
  forms,
  host: () => nodeHost(name, moduleFromDisk, startLane),
  openPath: pathFiles,
  byName,
  windows: process.platform === "win32",
  startWorker: startEngine,
});
