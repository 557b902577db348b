// The package in Node and Bun as one script that needs no other file: workers start from texts, and modules are texts.
import process from "node:process";
import { openDoor } from "../door/door.ts";
import { forms } from "../door/forms.ts";
import * as here from "../door/here.ts";
import { moduleBytes } from "./embedded.modules.ts";
import engineScript from "./embedded.node.worker.text.js";
import { texts } from "./embedded.texts.ts";
import { pathFiles } from "./node.files.ts";
import { nodeHost } from "./node.host.ts";
import laneScript from "./threads.lane.text.js";
import { engineWorker, laneWorker, mayStartWorkers, scriptOf } from "./threads.ts";

export * from "../index.ts";

const name = "Bun" in globalThis ? "bun" : "node";
const lane = () => laneWorker(scriptOf(laneScript));

const door = openDoor({
  here: () => here,
  forms,
  openPath: pathFiles,
  windows: process.platform === "win32",
  host: () => nodeHost(name, async (artifact) => moduleBytes(texts, artifact), lane),
  startWorker: async () => (mayStartWorkers() ? engineWorker(scriptOf(engineScript), lane, texts) : undefined),
});

/** Loads a model from a path, URL, Blob, bytes or files of your own; {@link Door.load} says how and what it throws. */
export const load = door.load;
/** Metadata, tensors and memory plan of a model file; see {@link Door.inspect}. */
export const inspect = door.inspect;
/** The tokenizer of a file alone; see {@link Door.loadTokenizer}. */
export const loadTokenizer = door.loadTokenizer;
