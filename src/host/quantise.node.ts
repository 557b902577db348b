// The quantiser in Node, Deno and Bun: files in, files out, calibration on worker threads.
import { basename, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import multi from "../../wasm/quantise.mt.wasm.js";
import single from "../../wasm/quantise.wasm.js";
import type { ModelInput } from "../file/kind.ts";
import type { Destination } from "../quantise/destination.ts";
import { type Imatrix, legacyImatrix, writeImatrix } from "../quantise/imatrix.ts";
import type { QuantiseModules } from "../quantise/module.ts";
import { type ImatrixOptions, openQuantise, type QuantizeOptions } from "../quantise/quantize.ts";
import type { QuantizeReport } from "../quantise/report.ts";
import { bytesOf, inlined } from "../wasm/inline.ts";
import { diskDestination } from "./node.destination.ts";
import { pathFiles } from "./node.files.ts";
import { nodeHost, turboModule } from "./node.host.ts";
import { fileOutput } from "./node.output.ts";
import { moduleFromDisk } from "./node.package.ts";
import { startLane } from "./threads.files.ts";

export * from "../quantise/index.ts";

const modules = { single: inlined("quantise", single), multi: inlined("quantise.mt", multi) };
const turbo = new Map<string, Promise<WebAssembly.Module>>();

/** Compiled once, unless that fails. */
function turboOf(name: string, text: string): Promise<WebAssembly.Module> {
  let module = turbo.get(name);
  if (module) return module;
  module = turboModule(name, bytesOf(text));
  // What failed for lack of memory may be tried again.
  module.catch(() => turbo.delete(name));
  turbo.set(name, module);
  return module;
}

export const quantiseModules: QuantiseModules = {
  host: () => nodeHost("Bun" in globalThis ? "bun" : "node", moduleFromDisk, startLane),
  module(threads, wide) {
    if (wide) return threads ? turboOf("quantise.mt", multi) : turboOf("quantise", single);
    return threads ? modules.multi() : modules.single();
  },
};

const door = openQuantise({ ...quantiseModules, openPath: pathFiles });

/**
 * Quantises a model: a GGUF into a GGUF, a Hugging Face folder into a GGUF (with the keys and names that `convert` writes) or into a folder of
 * int4 safetensors (GPTQ).
 *
 * `output` is a path, or a destination of your own. Nothing has that name before all of it is written. A run that was killed or aborted
 * goes on when it is started again with the same model, calibration and options: the bytes are those of a run that never ended. It keeps
 * what it needs in the folder `.NAME.quantising` beside the output.
 * @throws CpmError "bad-option", "bad-input" (calibration too short, tokens of another model), "bad-model" (values that are no numbers),
 * "unsupported", "out-of-memory", "io" (output exists, disk full); an abort rejects with its reason.
 */
export async function quantize(
  model: ModelInput,
  output: string | Destination,
  options: QuantizeOptions & { readonly force?: boolean | undefined },
): Promise<QuantizeReport> {
  const { force = false, ...rest } = options;
  const kind = rest.type === "int4" ? "folder" : "file";
  const destination = typeof output === "string" ? await diskDestination(output, force, kind, pathOf(model)) : output;
  return await door.quantize(model, destination, rest, typeof model === "string" ? basename(resolve(model)) : undefined);
}

/** The file or folder that is meant, where it is one of this machine. */
function pathOf(model: ModelInput): string | undefined {
  const text = model instanceof URL ? model.href : model;
  if (typeof text !== "string") return undefined;
  return /^file:/i.test(text) ? fileURLToPath(text) : text;
}

/**
 * Collects an importance matrix (mean squared inputs of every linear) and writes it as llama.cpp does: GGUF, or the older format where the
 * name ends in ".dat". Throws as `quantize` does.
 */
export async function imatrix(
  model: ModelInput,
  output: string,
  options: ImatrixOptions & { readonly force?: boolean | undefined },
): Promise<Imatrix> {
  const { force = false, ...rest } = options;
  const found = await door.imatrix(model, await diskDestination(output, force, "file", pathOf(model)), rest);
  const file = await fileOutput(output, { force });
  try {
    if (/\.dat$/i.test(output)) {
      await file.write(0, legacyImatrix(found));
      await file.commit();
    } else await writeImatrix(file, found);
    return found;
  } catch (error) {
    await file.discard();
    throw error;
  }
}
