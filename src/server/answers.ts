// Several answers generated side by side, as one stream of what happens to them.
import type { GeneratedPart, GenerateResult, Generation } from "../index.ts";

export type Happening =
  | { readonly choice: number; readonly part: GeneratedPart }
  | { readonly choice: number; readonly result: GenerateResult };

async function* ofOne(choice: number, generation: Generation): AsyncGenerator<Happening, void> {
  for await (const part of generation) yield { choice, part };
  yield { choice, result: await generation };
}

/**
 * What happens to each of these generations, in the order in which it happens; each ends with its result. The first failure ends
 * all. Returning early leaves every generation, and waits until it has stopped.
 */
export async function* happenings(generations: readonly Generation[]): AsyncGenerator<Happening, void> {
  const sources = generations.map((generation, i) => ofOne(i, generation));
  const step = (i: number) => sources[i]!.next().then((next) => ({ i, next }));
  const pending = new Map(sources.map((_, i) => [i, step(i)]));
  try {
    while (pending.size > 0) {
      const { i, next } = await Promise.race(pending.values());
      if (next.done) pending.delete(i);
      else {
        pending.set(i, step(i));
        yield next.value;
      }
    }
  } finally {
    for (const waiting of pending.values()) waiting.catch(() => {});
    await Promise.allSettled([...pending.keys()].map((i) => sources[i]!.return()));
    // Leaving a generation asks it to end; where work belongs to requests, a request must last until it has.
    await Promise.allSettled(generations.map((generation) => generation.catch(() => {})));
  }
}
