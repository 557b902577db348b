// The loss on next tokens, some rows at a time, so that (tokens, vocabulary) is never stored.
import type { Graph } from "./graph.ts";
import { type Program, rows, turned } from "./program.ts";
import type { PolicyBounds } from "./rollout/objective.ts";
import type { Teacher } from "./teacher.ts";

export interface CrossEntropy {
  /** Hidden states after the norm (tokens, hidden). */
  readonly z: number;
  /** Where their gradient goes; 0: only the loss. */
  readonly dz: number;
  readonly labels: number;
  readonly weights: number;
  readonly inverse: number;
  readonly losses: number;
  readonly zCoef: number;
  /** What this loss counts in the whole. */
  readonly factor: number;
  /** In place of -log p: the clipped objective of chosen tokens; `losses` and `kl` are its parts. */
  readonly policy?:
    | ({
        readonly behaviour: number;
        readonly reference: number;
        readonly advantage: number;
        readonly kl: number;
      } & PolicyBounds)
    | undefined;
  /** Whose distribution is learnt beside the labels; `losses`: where its part goes. */
  readonly teacher?: { readonly teacher: Teacher; readonly losses: number } | undefined;
}

export function crossEntropy(g: Graph, p: Program, c: CrossEntropy): void {
  const { shape, machine, head, setting } = g;
  const { hidden, vocab } = shape;
  const alpha = shape.logitScale;
  const logits = rows(g.logits, vocab);
  const real = machine.real;
  for (let row = 0; row < setting.count; row += g.chunk) {
    const count = Math.min(g.chunk, setting.count - row);
    const z = rows(c.z + row * hidden * real, hidden);
    const w = rows(head.use, hidden);
    p.matmul([count, vocab, hidden], z, turned(w), logits, { alpha });
    const given = [g.logits, c.labels + 4 * row, c.weights + row * real, c.inverse, g.nll + 8 * row, c.losses + 8 * row];
    const sizes = [count, vocab, c.dz ? 1 : 0];
    const soft = c.teacher;
    if (soft) {
      soft.teacher.headForward(p, row, count);
      p.add("combine", [count, vocab, vocab, vocab], [g.logits, soft.teacher.copy], [1, 0]);
    }
    if (c.policy) {
      const { kl, behaviour, reference, advantage, low, high, dual, beta } = c.policy;
      const more = [kl, behaviour, reference, advantage].map((at) => at + 8 * row);
      p.add("policy", sizes, [...given, ...more], [low, high, dual, beta]);
    } else p.add("crossEntropy", sizes, given, [c.zCoef, c.factor]);
    if (soft) {
      const { copy, logits: target, share } = soft.teacher;
      p.add("softCrossEntropy", sizes, [copy, target, c.weights + row * real, c.inverse, soft.losses + 8 * row], [share]);
      if (c.dz) p.add("combine", [count, vocab, vocab, vocab], [copy, g.logits], [1, 1]);
    }
    if (c.dz) {
      p.matmul([count, hidden, vocab], logits, w, rows(c.dz + row * hidden * real, hidden), { alpha });
      if (head.grad) {
        const dw = rows(head.grad, hidden);
        p.matmul([vocab, hidden, count], turned(logits), z, dw, { alpha, plus: dw });
      }
    }
    p.cut();
  }
}
