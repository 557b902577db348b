// Expected values, where they lie, and how far logits are from them.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Where the project's own copies of what ../shared has lie: `golden/…` and `models/…`. */
const ownPlaces = (name: string): string[] => [
  ...(name.startsWith("golden/") ? [folder(`../${name}`)] : []),
  ...(name.startsWith("models/") ? [folder(`../../${name}`), folder(`../golden/${name}`)] : []),
];

/** A file of the project's own, else of ../shared (beside the repository), or undefined with a printed reason. */
export function shared(name: string): string | undefined {
  const path = [...ownPlaces(name), folder(`../../../shared/${name}`)].find((place) => existsSync(place));
  if (path !== undefined) return path;
  console.log(`not tested: ../shared/${name} is not there`);
  return undefined;
}

/** The training side's expected values: all of them, or the project's own part of them. */
export const trainGolden = [folder("../../../shared/golden/train"), folder("../golden/train")].find((path) => existsSync(path))!;

export interface Golden {
  readonly name: string;
  /** Path of the model. */
  readonly model: string;
  readonly tokens: readonly number[];
  readonly logits_last: readonly number[];
  readonly logits_first?: readonly number[];
  readonly argmax?: readonly number[];
  readonly next_token?: number;
  readonly logits_next?: readonly number[];
}

/** A golden case from test/golden/, else from ../shared/golden/; undefined with a printed reason when it is in neither. */
export function golden(name: string): Golden | undefined {
  const own = folder(`../golden/${name}.gguf`);
  const model = existsSync(own) ? own : shared(`golden/${name}.gguf`);
  if (model === undefined) return undefined;
  return { name, model, ...(JSON.parse(readFileSync(model.replace(/gguf$/, "json"), "utf8")) as Omit<Golden, "name" | "model">) };
}

export function present<T>(values: readonly (T | undefined)[]): T[] {
  return values.filter((value) => value !== undefined);
}

/** ln sum e^x. */
function logSum(x: ArrayLike<number>): number {
  const most = Array.from(x).reduce((a, b) => Math.max(a, b), -Infinity);
  return most + Math.log(Array.from(x).reduce((sum, v) => sum + Math.exp(v - most), 0));
}

/** KL(reference ‖ ours) of two rows of logits, in nats. */
export function divergence(reference: ArrayLike<number>, ours: ArrayLike<number>): number {
  const [a, b] = [logSum(reference), logSum(ours)];
  let sum = 0;
  for (let i = 0; i < reference.length; i++) sum += Math.exp(reference[i]! - a) * (reference[i]! - a - (ours[i]! - b));
  return sum;
}

export const argmax = (x: ArrayLike<number>): number => Array.from(x).reduce((best, v, i) => (v > x[best]! ? i : best), 0);

export const row = (logits: Float32Array, vocab: number, at: number): Float32Array =>
  logits.subarray(at * vocab, (at + 1) * vocab);

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let most = a.length === b.length ? 0 : Infinity;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!));
  return most;
}
