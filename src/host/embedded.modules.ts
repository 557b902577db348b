// Modules from their texts, which the caller's thread has and an engine's worker is sent.

import { CpmError } from "../errors.ts";
import type { Artifact } from "../wasm/host.ts";
import { bytesOf, compileModule } from "../wasm/inline.ts";

/** Built modules in base64. */
export type ModuleTexts = Readonly<Partial<Record<Artifact, string>>>;

/** The bytes of a module. Throws CpmError "unsupported" for one that is not among the texts. */
export function moduleBytes(texts: ModuleTexts, artifact: Artifact): Uint8Array<ArrayBuffer> {
  const text = texts[artifact];
  if (text !== undefined) return bytesOf(text);
  throw new CpmError(
    "unsupported",
    `${artifact}: "cpm-wasm/embedded" has no modules for memories beyond 4 GiB; import from "cpm-wasm", or load a smaller model`,
    { field: "memory64" },
  );
}

/** EngineHost.module over texts: each is compiled once. */
export function modulesOf(texts: ModuleTexts): (artifact: Artifact) => Promise<WebAssembly.Module> {
  const modules = new Map<Artifact, Promise<WebAssembly.Module>>();
  return (artifact) => {
    const module = modules.get(artifact) ?? Promise.resolve().then(() => compileModule(artifact, moduleBytes(texts, artifact)));
    modules.set(artifact, module);
    return module;
  };
}
