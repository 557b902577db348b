// The loss on next tokens, some rows at a time, so that (tokens, vocabulary) is never stored.
import type { Graph } from "./graph.ts";
import { type Program, rows, turned } from "./program.ts";

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
    p.add(
      "crossEntropy",
      [count, vocab, c.dz ? 1 : 0],
      [g.logits, c.labels + 4 * row, c.weights + row * real, c.inverse, g.nll + 8 * row, c.losses + 8 * row],
      [c.zCoef, c.factor],
    );
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
