// The package on a page, or in a worker of one.
import { openDoor } from "../door/door.ts";
import { packageFile, servedApart } from "./browser.files.ts";
import { browserHost } from "./browser.host.ts";
import { fetchedModule } from "./browser.modules.ts";
import { byName } from "./browser.names.ts";
import { startWeb, webEngine, webLane } from "./web.ts";

export * from "../index.ts";

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

const door = openDoor({
  host: () => browserHost(fetchedModule, false),
  startWorker: async () => webEngine(engine, () => webLane(lane)),
  byName,
  base: () => globalThis.location?.href,
});

/** Loads a model from a path, URL, Blob, bytes or files of your own; {@link Door.load} says how and what it throws. */
export const load = door.load;
/** Metadata, tensors and memory plan of a model file; see {@link Door.inspect}. */
export const inspect = door.inspect;
/** The tokenizer of a file alone; see {@link Door.loadTokenizer}. */
export const loadTokenizer = door.loadTokenizer;

/** The embedded story model (int4, 2.3 MB): see models/README.md. */
export const defaultModel: URL = /* @__PURE__ */ packageFile(
  "models/stories-q4_0.gguf",
  () => new URL("../../models/stories-q4_0.gguf", import.meta.url),
  import.meta.url,
);
