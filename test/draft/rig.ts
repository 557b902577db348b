// What the tests of drafting share: the models they run, and one generation at a time.
import { fileURLToPath } from "node:url";
import type { Engine } from "../../src/engine/engine.ts";
import type { GenerateRequest, GenerateResult } from "../../src/engine/types.ts";
import { greedy as greedyRequest } from "../support/engine.ts";
import { present, shared } from "../support/golden.ts";

/** A path inside the repository. */
export const own = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

export const stories = own("models/stories-q4_0.gguf");
export const models: readonly string[] = present([
  stories,
  shared("models/stories-f16.gguf"),
  shared("models/stories-ternary-tq2_0.gguf"),
  shared("golden/target-f32.gguf"),
  shared("data/stories260k.gguf"),
]);

export const greedy = greedyRequest("", 1).sampling;

/** One generation in `session`, or in a session of its own, which is closed again. */
export async function say(
  engine: Engine,
  prompt: string | readonly number[],
  request: Partial<GenerateRequest> = {},
  session?: number,
  signal?: AbortSignal,
): Promise<GenerateResult> {
  const id = session ?? (await engine.open());
  try {
    return await engine.generate(id, { ...greedyRequest(prompt, 64), ...request }, { signal, onPart() {} });
  } finally {
    if (session === undefined) await engine.closeSession(id);
  }
}
