// The entry of an engine's worker on a page.
import { openInput } from "../file/open.ts";
import { serveEngine } from "../port/server.ts";
import { browserHost } from "./browser.host.ts";
import { fetchedModule } from "./browser.modules.ts";
import { webPort } from "./web.ts";

serveEngine(webPort(), browserHost(fetchedModule, true), (input) =>
  openInput(input, undefined, input.kind === "url" ? input.headers : undefined),
);
