// Work over many items: progress, results that are known already, time left.
import { now } from "../clock.ts";

export interface EvalProgress {
  /** Items done, and in all. */
  readonly done: number;
  readonly total: number;
  /** Mean score of those that are done. */
  readonly score: number;
  readonly secondsLeft: number;
}

/** What every measurement of many items takes. */
export interface ItemOptions<T> {
  /** Results of an earlier run with the same options, which are taken over. */
  readonly known?: readonly T[] | undefined;
  /** Is given every new result, and waited for: to write it down. */
  readonly onResult?: ((result: T) => unknown) | undefined;
  readonly onProgress?: ((progress: EvalProgress) => unknown) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Scored {
  readonly id: string;
  readonly score: number;
}

export const itemOptionNames = ["known", "onResult", "onProgress", "signal"] as const;

export const meanScore = (results: readonly { readonly score: number }[]): number =>
  results.reduce((sum, { score }) => sum + score, 0) / Math.max(1, results.length);

/** Runs `measure` for every id that has no result yet; results in the order of `ids`, which are done in the order of `order`. */
export async function overItems<T extends Scored>(
  ids: readonly string[],
  order: readonly number[],
  options: ItemOptions<T>,
  measure: (index: number) => Promise<T>,
): Promise<T[]> {
  const known = new Map((options.known ?? []).map((result) => [result.id, result]));
  const results = new Map(ids.flatMap((id) => (known.has(id) ? [[id, known.get(id)!] as const] : [])));
  const open = order.filter((index) => !results.has(ids[index]!));
  const started = now();
  const tell = (done: number) =>
    options.onProgress?.({
      done: results.size,
      total: ids.length,
      score: meanScore([...results.values()]),
      secondsLeft: done === 0 ? Number.NaN : (((now() - started) / done) * (open.length - done)) / 1000,
    });
  if (results.size > 0) tell(0);
  for (const [i, index] of open.entries()) {
    options.signal?.throwIfAborted();
    const result = await measure(index);
    results.set(result.id, result);
    await options.onResult?.(result);
    tell(i + 1);
  }
  return ids.map((id) => results.get(id)!);
}
