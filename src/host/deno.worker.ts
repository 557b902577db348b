// The entry of an engine's thread in Deno.
import { openInput } from "../file/open.ts";
import { serveEngine } from "../port/server.ts";
import { denoHost } from "./deno.host.ts";
import { pathFiles } from "./node.files.ts";
import { threadPort } from "./threads.ts";

serveEngine(threadPort(), denoHost(), (input) => openInput(input, pathFiles, input.kind === "url" ? input.headers : undefined));
