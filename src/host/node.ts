// The package in Node.
import { openDoor } from "../door/door.ts";
import { nodePlatform } from "./node.platform.ts";

export * from "../index.ts";
export const { load, inspect, loadTokenizer } = openDoor(nodePlatform("node"));

/** The embedded story model (int4, 2.3 MB): see models/README.md. */
export const defaultModel = new URL("../../models/stories-q4_0.gguf", import.meta.url);
