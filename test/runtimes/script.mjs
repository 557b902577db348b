// Runs the suite where programs are started from a command line: Node, Deno, Bun. Argument: the surroundings as JSON,
// with "defaultModel" true where files may be read.
import * as door from "cpm-wasm";
import { bytes, expected } from "./given.mjs";
import { runSuite } from "./suite.mjs";

const args = globalThis.Deno?.args ?? process.argv.slice(2);
const { defaultModel, url, ...surroundings } = JSON.parse(args[0]);
const inputs = {};
if (defaultModel) {
  inputs["the embedded model's URL"] = door.defaultModel;
  inputs["a path"] = decodeURIComponent(door.defaultModel.pathname);
}
if (url) inputs["a URL"] = url;
await runSuite(door, { ...surroundings, bytes, expected, inputs }, (result) => console.log(`@@ ${JSON.stringify(result)}`));
