// What an edge runtime (workerd) gives the package: modules compiled by the platform, one lane, in the request's own thread.

import decide from "../../wasm/decide.wasm";
import kernelsRelaxed from "../../wasm/kernels.relaxed.wasm";
import kernels from "../../wasm/kernels.wasm";
import { copyOf } from "../brands.ts";
import { after, now } from "../clock.ts";
import type { Platform } from "../door/door.ts";
import * as here from "../door/here.ts";
import { CpmError } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import type { Artifact, EngineHost } from "../wasm/host.ts";

const modules: Partial<Record<Artifact, WebAssembly.Module>> = { kernels, "kernels.relaxed": kernelsRelaxed, decide };

/** Modules that not every worker uses: taken up, and needed among its modules, only when they are asked for. */
const later: Partial<Record<Artifact, () => Promise<{ default: WebAssembly.Module }>>> = {
  constrain: () => import("../../wasm/constrain.wasm"),
};

async function takenUp(artifact: Artifact): Promise<WebAssembly.Module | undefined> {
  return later[artifact]?.().then(
    (found) => found.default,
    (cause: unknown) => {
      throw new CpmError(
        "unsupported",
        `${artifact}.wasm is not among this worker's modules; add it to them, as "${artifact}.wasm", beside the bundle`,
        { file: `${artifact}.wasm` },
        { cause },
      );
    },
  );
}

const host: EngineHost = {
  name: "edge",
  version: globalThis.navigator?.userAgent?.slice(0, 40),
  async module(artifact) {
    const module = modules[artifact] ?? (await takenUp(artifact));
    if (!module)
      throw new CpmError("unsupported", `${artifact}: not part of the edge build, which has no threads`, { field: "threads" });
    return module;
  },
  cores: 1,
  threadsNote: "edge runtimes have no threads",
  requestBound: true,
  breathe: () => new Promise((resolve) => void after(0, resolve)),
  now,
};

export const edgePlatform: Platform = { host: () => host, here: () => here };

/**
 * The embedded story model, where it is among the worker's modules as data under its file's name (workerd: `(name = "stories-q4_0.gguf",
 * data = embed …)`). Loading it is refused with "io" where it is not; what a bundler gives for an import of "cpm-wasm/models/stories-q4_0.gguf"
 * can be loaded as it is.
 */
export const defaultModel: ModelFiles = {
  entry: "stories-q4_0.gguf",
  async open(name) {
    if (name !== "stories-q4_0.gguf") return undefined;
    // Not spelled out: bundlers would want a rule for such files from everybody.
    const module = `./${name}`;
    const bytes = await import(/* @vite-ignore */ /* webpackIgnore: true */ module).then(
      (found: { default: ArrayBuffer }) => new Uint8Array(found.default),
      (cause: unknown) => {
        throw new CpmError(
          "io",
          `${name} is not among this worker's modules; add it to them as data (wrangler: rules = [{ type = "Data", globs = ["**/*.gguf"] }]), import it from "cpm-wasm/models/${name}" and load that`,
          { file: name },
          { cause },
        );
      },
    );
    return {
      name,
      size: bytes.length,
      read: async (offset, length) => copyOf(bytes.subarray(offset, offset + length)),
      async close() {},
    };
  },
  async close() {},
};
