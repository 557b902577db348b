// Engines for tests: over the sources, in this thread, closed when the test ends.
import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { onTestFinished } from "vitest";
import { checkDraft } from "../../src/door/draft.ts";
import { Engine, type EngineHooks } from "../../src/engine/engine.ts";
import type { EngineOptions, GenerateRequest, Variant } from "../../src/engine/types.ts";
import type { ModelInput } from "../../src/file/kind.ts";
import { inputKind } from "../../src/file/kind.ts";
import { openInput } from "../../src/file/open.ts";
import type { ModelFiles } from "../../src/file/source.ts";
import { pathFiles } from "../../src/host/node.files.ts";
import { type LaneWorker, startLanes } from "../../src/port/lanes.ts";
import type { Artifact, EngineHost } from "../../src/wasm/host.ts";
import { wasmPath } from "./bench.ts";

/** The threads of the lanes started, for tests that end them. */
export const lanesStarted: Worker[] = [];

function lane(): LaneWorker {
  const worker = new Worker(new URL("./lane.mjs", import.meta.url), { execArgv: [] });
  lanesStarted.push(worker);
  return {
    start: (lane) => worker.postMessage(lane),
    ask: (request) => worker.postMessage(request),
    listen(onReady, onDeath, onStatus) {
      worker.on("message", (message: "ready" | number) => (message === "ready" ? onReady() : onStatus?.(message)));
      worker.once("error", onDeath);
      worker.once("exit", (code) => onDeath(new Error(`a lane exited with code ${code}`)));
    },
    async end() {
      await worker.terminate();
    },
  };
}

const modules = new Map<Artifact, Promise<WebAssembly.Module>>();

export const host: EngineHost = {
  name: "node",
  cores: 2,
  module(artifact) {
    let module = modules.get(artifact);
    if (!module) modules.set(artifact, (module = WebAssembly.compile(readFileSync(wasmPath(artifact)))));
    return module;
  },
  startLanes: startLanes(lane),
  breathe: () => new Promise((resolve) => setImmediate(resolve)),
  now: () => performance.now(),
};

/** Variants that this runtime computes. */
export const variants: readonly Variant[] = WebAssembly.validate(readFileSync(wasmPath("kernels.relaxed")))
  ? ["base", "relaxed"]
  : ["base"];
if (variants.length < 2)
  console.log(
    `engine: the relaxed build is not tested on Node ${process.versions.node}, which has no relaxed SIMD; .ci/run tests it on Node 26`,
  );

export const defaults: EngineOptions = {
  contextSize: undefined,
  kvType: "f16",
  threads: 1,
  variant: "base",
  turbo: false,
  batchSize: 256,
  maxMemoryBytes: undefined,
  draft: checkDraft(false),
};

export async function filesOf(input: ModelInput): Promise<ModelFiles> {
  return openInput(inputKind(input), pathFiles);
}

/** Loads with `defaults`, what drafts, and adapters; the engine is closed when the test ends. `leads`: a lane leads the others. */
export async function load(
  input: ModelInput,
  options: Partial<EngineOptions> = {},
  hooks: EngineHooks = {},
  draft?: ModelInput,
  leads = false,
  loras: readonly ModelInput[] = [],
  front?: ModelInput,
): Promise<Engine> {
  const files = draft === undefined ? undefined : await filesOf(draft);
  const fronts = front === undefined ? undefined : await filesOf(front);
  const adapters = await Promise.all(loras.map(filesOf));
  const own = { ...defaults, ...options };
  const engine = await Engine.load({ ...host, leads }, await filesOf(input), own, hooks, files, adapters, fronts);
  onTestFinished(() => engine.close());
  return engine;
}

/** Logits of every token, in a session of their own that is closed again. */
export async function logitsOf(engine: Engine, tokens: readonly number[]): Promise<Float32Array> {
  const session = await engine.open();
  const logits = await engine.forward(session, tokens, "all");
  await engine.closeSession(session);
  return logits;
}

/** A greedy request of `maxTokens`. */
export const greedy = (prompt: string | readonly number[], maxTokens: number): GenerateRequest => ({
  prompt,
  maxTokens,
  sampling: {
    temperature: 0,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    frequencyPenalty: 0,
    presencePenalty: 0,
    penaltyWindow: 0,
    logitBias: [],
    seed: 0,
    logprobs: -1,
  },
  stopTokens: [],
  stop: [],
  thinking: "none",
  special: false,
});

/** Index of the first value whose bits differ, -1 when none does: far quicker on large arrays than toEqual. */
export function firstDifference(a: Float32Array, b: Float32Array): number {
  const bits = (values: Float32Array) => new Int32Array(values.buffer, values.byteOffset, values.length);
  const [x, y] = [bits(a), bits(b)];
  return x.length === y.length ? x.findIndex((v, i) => v !== y[i]) : Math.min(x.length, y.length);
}
