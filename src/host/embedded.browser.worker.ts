// The entry of an engine's worker that was started from a text: the first message is the modules.
import { openInput } from "../file/open.ts";
import { serveEngine } from "../port/server.ts";
import { browserHost } from "./browser.host.ts";
import { type ModuleTexts, modulesOf } from "./embedded.modules.ts";
import { webPort } from "./web.ts";

webPort().listen((texts) => {
  serveEngine(webPort(), browserHost(modulesOf(texts as ModuleTexts), true), (input) =>
    openInput(input, undefined, input.kind === "url" ? input.headers : undefined),
  );
});
