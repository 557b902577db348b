// The entry of an engine's worker in Deno.
import { openInput } from "../file/open.ts";
import { serveEngine } from "../port/server.ts";
import { denoHost } from "./deno.host.ts";
import { pathFiles } from "./node.files.ts";
import { webPort } from "./web.ts";

serveEngine(webPort(), denoHost(), (input) => openInput(input, pathFiles, input.kind === "url" ? input.headers : undefined));
