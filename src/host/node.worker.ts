// The entry of an engine's thread in Node and Bun.
import { parentPort } from "node:worker_threads";
import { openInput } from "../file/open.ts";
import { serveEngine } from "../port/server.ts";
import { pathFiles } from "./node.files.ts";
import { nodeHost } from "./node.host.ts";

const port = parentPort!;
const host = nodeHost("Bun" in globalThis ? "bun" : "node");
serveEngine(
  {
    post: (message, transfer = []) => port.postMessage(message, [...transfer]),
    listen: (handler) => port.on("message", handler),
  },
  host,
  (input) => openInput(input, pathFiles, input.kind === "url" ? input.headers : undefined),
);
