// The package on edge runtimes (workerd): modules compiled by the platform, one lane, in the request's own thread.
import decide from "../../wasm/decide.wasm";
import kernelsRelaxed from "../../wasm/kernels.relaxed.wasm";
import kernels from "../../wasm/kernels.wasm";
import { after, now } from "../clock.ts";
import { openDoor } from "../door/door.ts";
import type { Artifact, EngineHost } from "../engine/host.ts";
import { CpmError } from "../errors.ts";

export * from "../index.ts";

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

const door = openDoor({ host: () => host });

/** Loads a model from a path, URL, Blob, bytes or files of your own; {@link Door.load} says how and what it throws. */
export const load = door.load;
/** Metadata, tensors and memory plan of a model file; see {@link Door.inspect}. */
export const inspect = door.inspect;
/** The tokenizer of a file alone; see {@link Door.loadTokenizer}. */
export const loadTokenizer = door.loadTokenizer;
