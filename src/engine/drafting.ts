// From options to what drafts for an engine.
import { Budget } from "../decode/draft/budget.ts";
import type { Drafter } from "../decode/draft/drafter.ts";
import { LookupDrafter } from "../decode/draft/lookup.ts";
import type { Decide } from "../wasm/decide.ts";
import type { Arena } from "../wasm/memory.ts";
import type { Stepper } from "./forward.ts";
import { measureSteps } from "./measure.ts";
import type { Sequence, Sequences } from "./sequences.ts";
import type { Drafting } from "./speculate.ts";
import type { DraftOptions } from "./types.ts";

export interface DraftingParts {
  readonly decide: Decide;
  readonly arena: Arena;
  readonly stepper: Stepper;
  readonly sequences: Sequences;
  readonly layers: number;
  readonly contextSize: number;
  /** Memory of the first session's cache, free until it opens. */
  readonly firstKv: number;
  now(): number;
}

/** The drafter that was asked for; undefined for none. `own`: a drafter of the caller's, for tests and benchmarks. */
export function openDrafting(p: DraftingParts, options: DraftOptions, own?: Drafter<Sequence>): Drafting | undefined {
  const drafter = own ?? (options.lookup === "off" ? undefined : openLookup(p));
  if (!drafter) return undefined;
  const limit = Math.min(options.size, p.stepper.logitRows, p.stepper.capacity);
  const id = p.sequences.open(p.contextSize, p.firstKv);
  const costs = options.adaptive ? measureSteps(p.stepper, p.sequences.get(id), p.layers, limit) : [];
  p.sequences.close(id, p.firstKv);
  return { drafter, budget: new Budget(costs, options.adaptive), limit, chatsOnly: !own && options.lookup === "chat", now: p.now };
}

function openLookup({ decide, arena, contextSize }: DraftingParts): LookupDrafter {
  const capacity = contextSize + 1;
  return new LookupDrafter(decide, arena.memory, { state: arena.take(decide.lookup_bytes(capacity)), capacity });
}
