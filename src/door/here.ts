// What works in the caller's own thread: an engine without a worker, and readers of model files. Doors load it when it is used.
export { Engine } from "../engine/engine.ts";
export { openInput } from "../file/open.ts";
export { readTokenizer } from "../model/read.ts";
export { inspectFiles } from "./inspect.ts";
