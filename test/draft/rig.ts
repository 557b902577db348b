// Engines to draft with: over the sources, in this thread; the lanes of two-thread runs come from dist/.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { draftOptions } from "../../src/door/draft.ts";
import { Engine, type EngineHooks } from "../../src/engine/engine.ts";
import type { EngineHost } from "../../src/engine/host.ts";
import type { EngineOptions, GenerateRequest, GenerateResult, SamplingOptions, Variant } from "../../src/engine/types.ts";
import { pathFiles } from "../../src/host/node.files.ts";
import { nodeHost } from "../../src/host/node.host.ts";
import { wasmPath } from "../support/bench.ts";

/** A path inside the repository. */
export const own = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** A file of ../shared (beside the repository), or undefined with a printed reason. */
export function shared(name: string): string | undefined {
  const path = own(`../shared/${name}`);
  if (existsSync(path)) return path;
  console.log(`not tested: ../shared/${name} is not there`);
  return undefined;
}

export const variants: readonly Variant[] = WebAssembly.validate(readFileSync(wasmPath("kernels.relaxed"))) ? ["base", "relaxed"] : ["base"];
if (variants.length < 2) console.log(`draft: the relaxed build is not tested on Node ${process.versions.node}, which has no relaxed SIMD; .ci/run tests it on Node 26`);

const defaults: EngineOptions = { contextSize: undefined, kvType: "f16", threads: 1, variant: "base", batchSize: 256, maxMemoryBytes: undefined, draft: draftOptions(false) };

/** The host of tests: lanes are what `npm run build` made of the sources. */
export async function host(): Promise<EngineHost> {
  const built = (await import(own("dist/host/node.host.js"))) as { nodeHost: typeof nodeHost };
  return { ...(await built.nodeHost("node")), cores: 2 };
}

/** Loads a model file, and a draft head; the engine is closed when the test ends. */
export async function load(path: string, options: Partial<EngineOptions> = {}, hooks: EngineHooks = {}, head?: string): Promise<Engine> {
  const engine = await Engine.load(await host(), await pathFiles(path), { ...defaults, ...options }, hooks, head === undefined ? undefined : await pathFiles(head));
  onTestFinished(() => engine.close());
  return engine;
}

export const greedy: SamplingOptions = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0, penaltyWindow: 64, logitBias: [], seed: 1, logprobs: -1 };

/** One generation in a session of its own, which is closed again. */
export async function say(engine: Engine, prompt: string | readonly number[], request: Partial<GenerateRequest> = {}): Promise<GenerateResult> {
  const session = await engine.open();
  try {
    return await say2(engine, session, prompt, request);
  } finally {
    await engine.closeSession(session);
  }
}

/** One generation in a session. */
export function say2(engine: Engine, session: number, prompt: string | readonly number[], request: Partial<GenerateRequest> = {}, signal?: AbortSignal): Promise<GenerateResult> {
  return engine.generate(session, { prompt, maxTokens: 64, sampling: greedy, stopTokens: [], stop: [], thinking: "none", special: false, draft: "text", ...request }, { signal, onPart() {} });
}
