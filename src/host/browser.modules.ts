// The built modules on a page: files of the package, fetched when they are asked for.

import { CpmError } from "../errors.ts";
import { reasonOf } from "../shown.ts";
import type { Artifact } from "../wasm/host.ts";
import { compileModule } from "../wasm/inline.ts";
import { packageFile } from "./browser.files.ts";

// Spelled out, so that bundlers see each file.
const urls: Readonly<Record<Artifact, () => URL>> = {
  kernels: () => new URL("../../wasm/kernels.wasm", import.meta.url),
  "kernels.relaxed": () => new URL("../../wasm/kernels.relaxed.wasm", import.meta.url),
  "kernels.mt": () => new URL("../../wasm/kernels.mt.wasm", import.meta.url),
  "kernels.relaxed.mt": () => new URL("../../wasm/kernels.relaxed.mt.wasm", import.meta.url),
  "kernels64.relaxed.mt": () => new URL("../../wasm/kernels64.relaxed.mt.wasm", import.meta.url),
  decide: () => new URL("../../wasm/decide.wasm", import.meta.url),
  "decide.mt": () => new URL("../../wasm/decide.mt.wasm", import.meta.url),
  constrain: () => new URL("../../wasm/constrain.wasm", import.meta.url),
};

const modules = new Map<Artifact, Promise<WebAssembly.Module>>();

const TODO =
  'the package\'s wasm/ folder must be served with it, or import from "cpm-wasm/embedded", which carries the modules in the script';

async function fetched(artifact: Artifact): Promise<WebAssembly.Module> {
  const url = packageFile(`wasm/${artifact}.wasm`, urls[artifact], import.meta.url);
  const response = await fetch(url).catch((cause: unknown) => {
    const why = reasonOf(cause);
    throw new CpmError("io", `${url}: ${why}; ${TODO}`, { file: url.href }, { cause });
  });
  if (!response.ok) throw new CpmError("io", `${url}: HTTP status ${response.status}; ${TODO}`, { file: url.href });
  return compileModule(artifact, await response.arrayBuffer());
}

/** EngineHost.module. */
export function fetchedModule(artifact: Artifact): Promise<WebAssembly.Module> {
  let module = modules.get(artifact);
  if (!module) {
    module = fetched(artifact);
    module.catch(() => modules.delete(artifact));
    modules.set(artifact, module);
  }
  return module;
}
