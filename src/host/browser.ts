// The package on a page, or in a worker of one.
import { openDoor } from "../door/door.ts";
import { browserHost } from "./browser.host.ts";
import { webEngine, webLane } from "./web.ts";

export * from "../index.ts";

// Spelled out, so that bundlers see each file.
const engine = () => new Worker(new URL("./browser.worker.js", import.meta.url), { type: "module" });
const lane = () => new Worker(new URL("./browser.lane.js", import.meta.url), { type: "module" });

export const { load, inspect, loadTokenizer } = openDoor({
  host: () => browserHost(false),
  startWorker: async () => webEngine(engine(), () => webLane(lane())),
  base: () => globalThis.location?.href,
});

/** The embedded story model (int4, 2.3 MB): see models/README.md. */
export const defaultModel = new URL("../../models/stories-q4_0.gguf", import.meta.url);
