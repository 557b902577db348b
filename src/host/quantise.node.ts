// The quantiser in Node, Deno and Bun: files in, files out, calibration on worker threads.
import multi from "../../wasm/quantise.mt.wasm.js";
import single from "../../wasm/quantise.wasm.js";
import type { QuantiseModules } from "../quantise/module.ts";
import { inlined } from "../wasm/inline.ts";
import { nodeHost } from "./node.host.ts";
import { moduleFromDisk } from "./node.package.ts";
import { startLane } from "./threads.files.ts";

const modules = { single: inlined("quantise", single), multi: inlined("quantise.mt", multi) };

export const quantiseModules: QuantiseModules = {
  host: () => nodeHost("Bun" in globalThis ? "bun" : "node", moduleFromDisk, startLane),
  module: (threads) => (threads ? modules.multi() : modules.single()),
};
