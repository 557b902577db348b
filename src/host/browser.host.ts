// An engine's surroundings on a page or in a page's worker.
import { now } from "../clock.ts";
import type { Artifact, EngineHost } from "../engine/host.ts";
import { CpmError } from "../errors.ts";
import { breathe } from "./web.ts";

// Spelled out, so that bundlers see each file.
const urls: Readonly<Record<Artifact, URL>> = {
  kernels: new URL("../../wasm/kernels.wasm", import.meta.url),
  "kernels.relaxed": new URL("../../wasm/kernels.relaxed.wasm", import.meta.url),
  "kernels.mt": new URL("../../wasm/kernels.mt.wasm", import.meta.url),
  "kernels.relaxed.mt": new URL("../../wasm/kernels.relaxed.mt.wasm", import.meta.url),
  "kernels64.relaxed.mt": new URL("../../wasm/kernels64.relaxed.mt.wasm", import.meta.url),
  decide: new URL("../../wasm/decide.wasm", import.meta.url),
  "decide.mt": new URL("../../wasm/decide.mt.wasm", import.meta.url),
  constrain: new URL("../../wasm/constrain.wasm", import.meta.url),
};

const modules = new Map<Artifact, Promise<WebAssembly.Module>>();

async function fetched(url: URL): Promise<WebAssembly.Module> {
  const response = await fetch(url).catch((cause: unknown) => {
    throw new CpmError(
      "io",
      `${url}: ${cause instanceof Error ? cause.message : String(cause)}; the package's wasm/ folder must be served with it`,
      { file: url.href },
      { cause },
    );
  });
  if (!response.ok)
    throw new CpmError("io", `${url}: HTTP status ${response.status}; the package's wasm/ folder must be served with it`, {
      file: url.href,
    });
  return WebAssembly.compile(await response.arrayBuffer());
}

function compiled(artifact: Artifact): Promise<WebAssembly.Module> {
  let module = modules.get(artifact);
  if (!module) {
    module = fetched(urls[artifact]);
    module.catch(() => modules.delete(artifact));
    modules.set(artifact, module);
  }
  return module;
}

/** Browsers tell logical cores only; from four up, half of them is right for hyperthreads and for phones' slow cores. */
function likelyCores(): number {
  const logical = navigator.hardwareConcurrency || 1;
  return logical >= 4 ? logical >> 1 : logical;
}

/** `threads`: false in a page's own thread, which may not wait for lanes; in a worker the client starts them. */
export function browserHost(threads: boolean): EngineHost {
  const isolated = threads && globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer === "function";
  const note = threads
    ? "this page is not cross-origin isolated; serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp"
    : "an engine in the page's own thread has one lane";
  return {
    name: "browser",
    version: /(?:Firefox|Edg|Chrome|Version)\/[\d.]+/.exec(globalThis.navigator?.userAgent ?? "")?.[0],
    module: compiled,
    cores: isolated ? likelyCores() : 1,
    ...(isolated ? {} : { threadsNote: note }),
    breathe,
    now,
  };
}
