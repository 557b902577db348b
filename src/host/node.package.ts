// The package's own files in Node and Bun: modules, the engine's script, the embedded model.

import { access, readFile } from "node:fs/promises";
import { CpmError } from "../errors.ts";
import type { EngineWorker } from "../port/client.ts";
import { reasonOf } from "../shown.ts";
import type { ReadModule } from "./node.host.ts";
import { startLane } from "./threads.files.ts";
import { engineWorker, mayStartWorkers } from "./threads.ts";

const TODO =
  'keep the package out of the bundle (esbuild: --external:cpm-wasm; webpack: externals; Next: serverExternalPackages: ["cpm-wasm"]), or import from "cpm-wasm/embedded", which needs no other file';

const unreadable = (what: string, file: string, cause: unknown): CpmError =>
  new CpmError(
    "io",
    `${file}: ${what} cannot be read (${reasonOf(cause)}); ${TODO}; under --permission, allow its folder with --allow-fs-read`,
    { file },
    { cause },
  );

/** What a worker died of; what to do where its script was taken along by a bundler, but not what it imports. */
const explained = (cause: Error): Error =>
  /outside a module|Cannot find (module|package)|ERR_MODULE_NOT_FOUND/.test(
    `${cause.message} ${(cause as { code?: string }).code}`,
  )
    ? new Error(`its script was bundled apart from what it imports (${cause.message}): ${TODO}`, { cause })
    : cause;

/** The address of a file of the package. A bundle in CommonJS knows no address: then it is a file that does not exist. */
function located(spelled: () => URL, path: string): URL {
  try {
    return spelled();
  } catch {
    return new URL(`file:///bundled-without/cpm-wasm/${path}`);
  }
}

export const moduleFromDisk: ReadModule = async (artifact) => {
  const file = located(() => new URL(`../../wasm/${artifact}.wasm`, import.meta.url), `wasm/${artifact}.wasm`);
  return readFile(file).catch((cause: unknown) => {
    throw unreadable("a module of the package", file.href, cause);
  });
};

/** Starts an engine's thread; undefined where threads are not allowed. Throws CpmError "io" when its script is not there. */
export async function startEngine(): Promise<EngineWorker | undefined> {
  if (!mayStartWorkers()) return undefined;
  const script = located(() => new URL("./node.worker.js", import.meta.url), "dist/host/node.worker.js");
  if (script.protocol === "file:")
    await access(script).catch((cause: unknown) => {
      throw unreadable("the engine's script", script.href, cause);
    });
  const worker = engineWorker(script, startLane);
  return { ...worker, onDeath: (handler) => worker.onDeath((cause) => handler(explained(cause))) };
}

export const embeddedModel: URL = /* @__PURE__ */ located(
  () => new URL("../../models/stories-q4_0.gguf", import.meta.url),
  "models/stories-q4_0.gguf",
);
