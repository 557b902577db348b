// The entry of an engine's thread that was started from a text, with the modules as its data.
import { workerData } from "node:worker_threads";
import { openInput } from "../file/open.ts";
import { serveEngine } from "../port/server.ts";
import { type ModuleTexts, moduleBytes } from "./embedded.modules.ts";
import { pathFiles } from "./node.files.ts";
import { nodeHost } from "./node.host.ts";
import { threadPort } from "./threads.ts";

// The caller's thread starts lanes.
const noLanes = () => {
  throw new Error("lanes are started by the client");
};
const host = nodeHost(
  "Bun" in globalThis ? "bun" : "node",
  async (artifact) => moduleBytes(workerData as ModuleTexts, artifact),
  noLanes,
);

serveEngine(threadPort(), host, (input) => openInput(input, pathFiles, input.kind === "url" ? input.headers : undefined));
