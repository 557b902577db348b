// The entry of an engine's thread in Node and Bun.
import { openInput } from "../file/open.ts";
import { serveEngine } from "../port/server.ts";
import { pathFiles } from "./node.files.ts";
import { nodeHost } from "./node.host.ts";
import { moduleFromDisk } from "./node.package.ts";
import { startLane } from "./threads.files.ts";
import { threadPort } from "./threads.ts";

serveEngine(threadPort(), nodeHost("Bun" in globalThis ? "bun" : "node", moduleFromDisk, startLane), (input) =>
  openInput(input, pathFiles, input.kind === "url" ? input.headers : undefined),
);
