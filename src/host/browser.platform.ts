// What a page gives the package: workers, fetched modules, names of models.
import type { Platform } from "../door/door.ts";
import { servedApart } from "./browser.files.ts";
import { browserHost } from "./browser.host.ts";
import { fetchedModule } from "./browser.modules.ts";
import { byName } from "./browser.names.ts";
import { startWeb, webEngine, webLane } from "./web.ts";

const apart = servedApart(import.meta.url);
const scripts = apart && {
  engine: `${apart}dist/host/browser.worker.js`,
  lane: `${apart}dist/host/browser.lane.js`,
};

// Spelled out, so that bundlers see each file.
const engine = () =>
  scripts ? startWeb(scripts.engine) : new Worker(new URL("./browser.worker.js", import.meta.url), { type: "module" });
const lane = () =>
  scripts ? startWeb(scripts.lane) : new Worker(new URL("./browser.lane.js", import.meta.url), { type: "module" });

export const browserPlatform: Platform = {
  host: () => browserHost(fetchedModule, false),
  startWorker: async () => webEngine(engine, () => webLane(lane)),
  byName,
  base: () => globalThis.location?.href,
  here: () => import("../door/here.ts"),
};
