// The package on a page without constraints and tools: smaller by a quarter.
import { openDoor } from "../door/door.ts";
import { packageFile } from "./browser.files.ts";
import { browserPlatform } from "./browser.platform.ts";

export * from "../index.ts";

const door = openDoor(browserPlatform);

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
