// Trajectories as batches of the trainer: whole sequences side by side in rows, each a document of its own.
import { CpmError } from "../../errors.ts";
import type { Batch } from "../batch.ts";
import { lengthOf, responseLogp, responseTokens, type Trajectory } from "./trajectory.ts";

/** A trajectory that is learnt from. */
export interface Lesson {
  readonly trajectory: Trajectory;
  readonly advantage: number;
  /** 1: its tokens count; 0: they do not (cut, garbled). */
  readonly mask: 0 | 1;
}

/** Where tokens of lessons went. */
export interface Packed {
  readonly batches: readonly (Batch & { readonly policy: NonNullable<Batch["policy"]> })[];
  /** Tokens that count. */
  readonly counted: number;
}

/**
 * Batches of `rows` x `length`: lessons in their order, each in the first row with room. Row i of a document predicts its token i + 1; the
 * predictions of an answer's tokens count.
 * @throws CpmError "bad-input" for a lesson longer than a row
 */
export function packLessons(lessons: readonly Lesson[], rows: number, length: number): Packed {
  const placed: { row: number; at: number; lesson: Lesson; document: number }[] = [];
  const used: { taken: number; documents: number }[] = [];
  for (const lesson of lessons) {
    const { trajectory: t } = lesson;
    const size = t.prompt.length + lengthOf(t);
    if (size > length)
      throw new CpmError("bad-input", `${t.id}: ${size} tokens do not fit into a row of ${length}`, {
        field: "length",
        found: String(size),
      });
    let row = used.findIndex(({ taken }) => taken + size <= length);
    if (row < 0) row = used.push({ taken: 0, documents: 0 }) - 1;
    const found = used[row]!;
    placed.push({ row, at: found.taken, lesson, document: found.documents });
    used[row] = { taken: found.taken + size, documents: found.documents + 1 };
  }
  const count = rows * length;
  const batches = Array.from({ length: Math.ceil(used.length / rows) }, () => ({
    rows,
    length,
    tokens: new Int32Array(count),
    segments: new Int32Array(count).fill(-1),
    labels: new Int32Array(count).fill(-1),
    weights: new Float32Array(count),
    policy: { behaviour: new Float64Array(count), reference: new Float64Array(count), advantage: new Float64Array(count) },
  }));
  let counted = 0;
  for (const { row, at, lesson, document } of placed) {
    const { trajectory: t, advantage, mask } = lesson;
    const batch = batches[Math.floor(row / rows)]!;
    const begin = (row % rows) * length + at;
    const tokens = [...t.prompt, ...responseTokens(t)];
    batch.tokens.set(tokens, begin);
    batch.segments.fill(document, begin, begin + tokens.length);
    batch.labels.set(tokens.slice(1), begin);
    const logp = responseLogp(t);
    for (let i = 0; i < logp.length; i++) {
      const place = begin + t.prompt.length - 1 + i;
      batch.weights[place] = mask;
      batch.policy.behaviour[place] = logp[i]!;
      batch.policy.reference[place] = logp[i]!;
      batch.policy.advantage[place] = advantage;
      counted += mask;
    }
  }
  return { batches, counted };
}
