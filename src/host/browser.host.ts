// An engine's surroundings on a page or in a page's worker.
import { now } from "../clock.ts";
import type { EngineHost } from "../wasm/host.ts";
import { breathe } from "./web.ts";

/** Browsers tell logical cores only; from four up, half of them is right for hyperthreads and for phones' slow cores. */
function likelyCores(): number {
  const logical = navigator.hardwareConcurrency || 1;
  return logical >= 4 ? logical >> 1 : logical;
}

/**
 * `module`: where modules come from. `threads`: false in a page's own thread, which may not wait for lanes; in a worker the client
 * starts them.
 */
export function browserHost(module: EngineHost["module"], threads: boolean): EngineHost {
  const isolated = threads && globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer === "function";
  const note = threads
    ? "this page is not cross-origin isolated; serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp"
    : "an engine in the page's own thread has one lane";
  return {
    name: "browser",
    version: /(?:Firefox|Edg|Chrome|Version)\/[\d.]+/.exec(globalThis.navigator?.userAgent ?? "")?.[0],
    module,
    cores: isolated ? likelyCores() : 1,
    ...(isolated ? {} : { threadsNote: note }),
    breathe,
    now,
  };
}
