// The package in Deno. The kernels need no permission; a model file needs --allow-read, which also allows threads.
import process from "node:process";
import { openDoor } from "../door/door.ts";
import { forms } from "../door/forms.ts";
import * as here from "../door/here.ts";
import { denoHost, mayRead } from "./deno.host.ts";
import { pathFiles } from "./node.files.ts";
import { byName } from "./node.names.ts";
import { startLane } from "./threads.files.ts";
import { engineWorker } from "./threads.ts";

export * from "../index.ts";

const door = openDoor({
  here: () => here,
  forms,
  host: denoHost,
  openPath: pathFiles,
  byName,
  windows: process.platform === "win32",
  startWorker: async () => {
    const script = new URL("./deno.worker.js", import.meta.url);
    return (await mayRead(script)) ? engineWorker(script, startLane) : undefined;
  },
});

/** Loads a model from a path, URL, Blob, bytes or files of your own; {@link Door.load} says how and what it throws. */
export const load = door.load;
/** Metadata, tensors and memory plan of a model file; see {@link Door.inspect}. */
export const inspect = door.inspect;
/** The tokenizer of a file alone; see {@link Door.loadTokenizer}. */
export const loadTokenizer = door.loadTokenizer;

/** The embedded story model (int4, 2.3 MB): see models/README.md. */
export const defaultModel = new URL("../../models/stories-q4_0.gguf", import.meta.url);
