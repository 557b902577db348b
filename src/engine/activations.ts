// Where a model's activations and its first session's cache lie.
import type { Plan } from "../model/plan.ts";
import { type Arena, align } from "../wasm/memory.ts";

/** What computing needs, in one piece: until the weights are in, it is where they are staged. `trim` frees the excess. */
export function takeActivations(
  arena: Arena,
  plan: Plan,
  vocab: number,
): { firstKv: number; scratch: number; logits: number; trim(): void } {
  const [kv, scratch, logits] = [align(plan.kvBytes), align(plan.scratchBytes), align(4 * plan.logitRows * vocab)];
  const needed = kv + scratch + logits;
  const taken = align(Math.max(needed, plan.stagingBytes));
  const at = arena.take(taken);
  return {
    firstKv: at,
    scratch: at + kv,
    logits: at + kv + scratch,
    trim: () => taken > needed && arena.free(at + needed, taken - needed),
  };
}
