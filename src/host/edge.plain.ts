// The package on edge runtimes without constraints and tools: smaller by a fifth.
import { openDoor } from "../door/door.ts";
import { edgePlatform } from "./edge.platform.ts";

export * from "../index.ts";
export { defaultModel } from "./edge.platform.ts";

const door = openDoor(edgePlatform);

/** Loads a model from a path, URL, Blob, bytes or files of your own; {@link Door.load} says how and what it throws. */
export const load = door.load;
/** Metadata, tensors and memory plan of a model file; see {@link Door.inspect}. */
export const inspect = door.inspect;
/** The tokenizer of a file alone; see {@link Door.loadTokenizer}. */
export const loadTokenizer = door.loadTokenizer;
