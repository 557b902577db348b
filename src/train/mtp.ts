// Multi-token prediction: one more layer on [norm_h(z_i); norm_e(E x_{i+1})] predicts token i + 2 with the model's own head.
// Loss = next token + lambda second next, each a mean over its own rows (MiniCPM4 report 2.3; DeepSeek-V3 for lambda).
import type { Graph } from "./graph.ts";
import { layerBackward, layerForward, normBackward, normForward, takeKept } from "./layer.ts";
import { crossEntropy } from "./loss.ts";
import { type Program, rows, turned } from "./program.ts";
import { EMBEDDING } from "./shape.ts";

export const DEFAULT_LAMBDA = 0.3;

export function mtpObjective(g: Graph, p: Program, gradient: boolean): void {
  const { objective } = g.options;
  const lambda = (objective.kind === "mtp" ? objective.lambda : undefined) ?? DEFAULT_LAMBDA;
  const { machine, shape, setting, batch } = g;
  const { hidden, residualScale } = shape;
  const { count } = setting;
  const take = (width = 1) => machine.takeReals(count * hidden * width);
  const plain = (at: number) => rows(at, hidden);
  const [both, embedded, input, output, z2] = [take(2), take(), take(), take(), take()];
  const [scaleH, scaleE, scale2] = [machine.takeReals(count), machine.takeReals(count), machine.takeReals(count)];
  const second = rows(both + hidden * machine.real, 2 * hidden);
  const proj = g.tensor("mtp.proj.weight");
  const [normH, normE, norm2] = [g.norm("mtp.norm_h"), g.norm("mtp.norm_e"), g.norm("mtp.norm")];
  const layer = g.layer("mtp.layers.0.");
  const kept = takeKept(machine, shape, count);
  g.trunkForward(p);
  const dz = gradient ? take() : 0;
  crossEntropy(g, p, {
    z: g.hidden,
    dz,
    labels: batch.labels,
    weights: batch.weights,
    inverse: batch.inverse,
    losses: g.losses[0],
    zCoef: 0,
    factor: 1,
  });
  const embedding = g.tensor(EMBEDDING);
  p.add("embedForward", [count, hidden, hidden], [embedding.at, batch.next, embedded], [shape.embeddingScale]);
  normForward(p, setting, normH, plain(g.hidden), rows(both, 2 * hidden), scaleH);
  normForward(p, setting, normE, plain(embedded), second, scaleE);
  p.matmul([count, hidden, 2 * hidden], rows(both, 2 * hidden), turned(rows(proj.at, 2 * hidden)), plain(input));
  layerForward(p, setting, layer, kept, input, output, residualScale);
  normForward(p, setting, norm2, plain(output), plain(z2), scale2);
  const dz2 = gradient ? take() : 0;
  crossEntropy(g, p, {
    z: z2,
    dz: dz2,
    labels: batch.secondLabels,
    weights: batch.secondWeights,
    inverse: batch.inverse + 8,
    losses: g.losses[1],
    zCoef: 0,
    factor: lambda,
  });
  if (!gradient) return;
  const [dx, dBoth, dEmbedded] = [take(), take(2), take()];
  p.add("zero", [count * hidden], [dx]);
  normBackward(p, setting, norm2, plain(output), scale2, plain(dz2), dx);
  layerBackward(p, setting, layer, kept, input, dx, residualScale);
  const dProj = rows(proj.grad, 2 * hidden);
  p.matmul([hidden, 2 * hidden, count], turned(plain(dx)), rows(both, 2 * hidden), dProj, { plus: dProj });
  p.matmul([count, 2 * hidden, hidden], plain(dx), rows(proj.at, 2 * hidden), rows(dBoth, 2 * hidden));
  normBackward(p, setting, normH, plain(g.hidden), scaleH, rows(dBoth, 2 * hidden), dz);
  p.add("zero", [count * hidden], [dEmbedded]);
  normBackward(p, setting, normE, plain(embedded), scaleE, rows(dBoth + hidden * machine.real, 2 * hidden), dEmbedded);
  p.add("embedBackward", [count, hidden, hidden], [embedding.grad, batch.next, dEmbedded], [shape.embeddingScale]);
  g.trunkBackward(p, dz, dx);
}
