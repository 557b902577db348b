// EAGLE-2 heads of a frozen target (Li et al. 2024): row t eats the embedding of token t + 1 and the target's hidden state z_t, and must
// give z_{t+1}, whose logits must give the target's distribution. Loss = v smooth-L1(y_t, z_{t+1}) + p cross-entropy.
import type { Graph } from "./graph.ts";
import { layerBackward, layerForward, normBackward, normForward, type Setting, takeKept } from "./layer.ts";
import { type Program, rows, turned } from "./program.ts";
import { EMBEDDING } from "./shape.ts";

export const EAGLE_WEIGHTS = { value: 1, probability: 0.1 } as const;

export function eagleObjective(g: Graph, p: Program, gradient: boolean): void {
  const { objective } = g.options;
  if (objective.kind !== "eagle") return;
  const { machine, shape, batch, head } = g;
  const { hidden, headResidualScale: residual, logitScale } = shape;
  const { count } = g.setting;
  // A head attends densely, within its window.
  const setting: Setting = { ...g.setting, shape: { ...shape, sparse: undefined }, window: objective.window ?? 0 };
  const take = (width = 1) => machine.takeReals(count * hidden * width);
  const plain = (at: number) => rows(at, hidden);
  const [both, embedded, noisy, input] = [take(2), take(), take(), take()];
  const [scaleE, scaleH] = [machine.takeReals(count), machine.takeReals(count)];
  const second = rows(both + hidden * machine.real, 2 * hidden);
  const [fc, bias] = [g.tensor("fc.weight"), g.tensor("fc.bias")];
  const [normE, normH] = [g.norm("input_norm1"), g.norm("input_norm2")];
  const layer = g.layer("layers.0.");
  const kept = takeKept(machine, setting.shape, count);
  if (!objective.features) g.trunkForward(p);
  p.add("embedForward", [count, hidden, hidden], [g.tensor(EMBEDDING).at, batch.next, embedded], [shape.embeddingScale]);
  p.add("combine", [count, hidden, hidden, hidden], [g.hidden, noisy], [1, 0]);
  p.add("combine", [count, hidden, hidden, hidden], [g.noise, noisy], [1, 1]);
  normForward(p, setting, normE, plain(embedded), rows(both, 2 * hidden), scaleE);
  normForward(p, setting, normH, plain(noisy), second, scaleH);
  p.add("broadcast", [count, hidden, hidden], [bias.at, input]);
  p.matmul([count, hidden, 2 * hidden], rows(both, 2 * hidden), turned(rows(fc.at, 2 * hidden)), plain(input), {
    plus: plain(input),
  });
  layerForward(p, setting, layer, kept, input, g.headOut, residual);
  const dy = take();
  const [value, probability] = [
    objective.valueWeight ?? EAGLE_WEIGHTS.value,
    objective.probabilityWeight ?? EAGLE_WEIGHTS.probability,
  ];
  const next = g.hidden + hidden * machine.real;
  p.add(
    "smoothL1",
    [count, hidden, hidden, hidden, hidden],
    [g.headOut, next, batch.weights, batch.inverse, g.losses[0], dy],
    [value],
  );
  const vocab = objective.vocabulary?.length ?? shape.vocab;
  const w = rows(objective.vocabulary ? g.draftHead : head.at, hidden);
  const [logits, target] = [rows(g.logits, vocab), rows(g.targetLogits, vocab)];
  for (let row = 0; row < count; row += g.chunk) {
    const some = Math.min(g.chunk, count - row);
    const offset = row * hidden * machine.real;
    p.matmul([some, vocab, hidden], plain(g.headOut + offset), turned(w), logits, { alpha: logitScale });
    p.matmul([some, vocab, hidden], plain(next + offset), turned(w), target, { alpha: logitScale });
    p.add(
      "softCrossEntropy",
      [some, vocab, gradient ? 1 : 0],
      [g.logits, g.targetLogits, batch.weights + row * machine.real, batch.inverse, g.losses[1] + 8 * row],
      [probability],
    );
    const to = plain(dy + offset);
    if (gradient) p.matmul([some, hidden, vocab], logits, w, to, { alpha: logitScale, plus: to });
    p.cut();
  }
  if (!gradient) return;
  const dBoth = take(2);
  layerBackward(p, setting, layer, kept, input, dy, residual);
  const dFc = rows(fc.grad, 2 * hidden);
  p.matmul([hidden, 2 * hidden, count], turned(plain(dy)), rows(both, 2 * hidden), dFc, { plus: dFc });
  p.add("columnSums", [count, hidden, hidden], [dy, bias.grad]);
  p.matmul([count, 2 * hidden, hidden], plain(dy), rows(fc.at, 2 * hidden), rows(dBoth, 2 * hidden));
  normBackward(p, setting, normE, plain(embedded), scaleE, rows(dBoth, 2 * hidden), 0);
  normBackward(p, setting, normH, plain(noisy), scaleH, rows(dBoth + hidden * machine.real, 2 * hidden), 0);
}
