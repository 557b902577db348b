// EAGLE-3 heads of a frozen target (Li et al. 2025): row t eats the embedding of token t + 1 and what the target's stream is as it enters
// three layers, and must give the target's distribution after token t + 1. Trained as it will draft: in later steps a row eats the head's own
// output of the row before in place of the target's stream. Keys of a later step are all of that step (the paper keeps the first step's, but
// for those that were drafted). Loss = sum of 0.8^step cross-entropy; nothing else is asked of the output.
import { CpmError } from "../errors.ts";
import type { Graph } from "./graph.ts";
import { layerBackward, layerForward, normBackward, normForward, type Setting, takeKept } from "./layer.ts";
import { type Program, rows, turned } from "./program.ts";
import { EAGLE3, EMBEDDING, type TrainShape } from "./shape.ts";

/** Steps of a training pass, and what each counts beside the one before. */
export const EAGLE3_STEPS = 3;
export const STEP_WEIGHT = 0.8;

/** The layers whose inputs it reads, as src/model/eagle.ts and published heads have them. */
export const tapsOf = ({ layers }: TrainShape): readonly [number, number, number] => [2, layers >> 1, layers - 3];

/** @throws CpmError "unsupported" for a target of fewer than 4 layers */
export function checkEagle3({ layers }: TrainShape): void {
  if (layers < 4)
    throw new CpmError("unsupported", `an EAGLE-3 head taps a target of 4 layers or more; this one has ${layers}`, {
      field: "objective.layout",
    });
}

/** The head's own rows begin as the target's, scaled as its logits are. After the target's values were set. */
export function beginWithTargetHead(g: Graph): void {
  const [from, to] = [g.values(g.head), g.values(g.tensor(`${EAGLE3}lm_head.weight`))];
  for (let i = 0; i < to.length; i++) to[i] = from[i]! * g.shape.logitScale;
}

export function eagle3Objective(g: Graph, p: Program, gradient: boolean): void {
  const { objective } = g.options;
  if (objective.kind !== "eagle") return;
  const { machine, shape, batch } = g;
  const { hidden, vocab, headResidualScale: residual } = shape;
  const { count } = g.setting;
  const real = machine.real;
  const setting: Setting = { ...g.setting, shape: { ...shape, sparse: undefined }, window: objective.window ?? 0 };
  const take = (width = 1) => machine.takeReals(count * hidden * width);
  const plain = (at: number) => rows(at, hidden);
  const pairOf = (at: number) => rows(at, 2 * hidden);
  const half = hidden * real;
  const layer = g.layer(`${EAGLE3}midlayer.`);
  const [normE, normH, normO] = [layer.attnNorm, g.norm(`${EAGLE3}midlayer.hidden_norm`), g.norm(`${EAGLE3}norm`)];
  const [fc, own] = [g.tensor(`${EAGLE3}fc.weight`), g.tensor(`${EAGLE3}lm_head.weight`)];
  const w = rows(own.at, hidden);
  // x of a step, and behind it what the layer makes of it: the next step gathers its x from both.
  const steps = [{ losses: g.losses[0], weight: 1 }, ...g.later].map(({ losses, weight }) => {
    const x = take(2);
    return {
      losses,
      weight,
      x,
      y: x + count * half,
      both: take(2),
      out: take(),
      dOut: gradient ? take() : 0,
      dx: gradient ? take(2) : 0,
      scaleH: machine.takeReals(count),
      scaleO: machine.takeReals(count),
      kept: takeKept(machine, setting.shape, count),
    };
  });
  const [taps, embedded, scaleE] = [take(3), take(), machine.takeReals(count)];
  g.trunkForward(p);
  for (const [i, l] of tapsOf(shape).entries())
    p.add("combine", [count, hidden, hidden, 3 * hidden], [g.streams[l]!, taps + i * half], [shape.residualScale, 0]);
  p.add("embedForward", [count, hidden, hidden], [g.tensor(EMBEDDING).at, batch.next, embedded], [shape.embeddingScale]);
  const next = g.hidden + half;
  const [logits, target] = [rows(g.logits, vocab), rows(g.targetLogits, vocab)];
  for (const [j, s] of steps.entries()) {
    if (j === 0) p.matmul([count, hidden, 3 * hidden], rows(taps, 3 * hidden), turned(rows(fc.at, 3 * hidden)), plain(s.x));
    else p.add("embedForward", [count, hidden, hidden], [steps[j - 1]!.x, batch.before, s.x], [1]);
    normForward(p, setting, normE, plain(embedded), pairOf(s.both), scaleE);
    normForward(p, setting, normH, plain(s.x), pairOf(s.both + half), s.scaleH);
    layerForward(p, setting, layer, s.kept, s.x, s.y, residual, pairOf(s.both));
    normForward(p, setting, normO, plain(s.y), plain(s.out), s.scaleO);
    for (let row = 0; row < count; row += g.chunk) {
      const some = Math.min(g.chunk, count - row);
      const at = row * half;
      p.matmul([some, vocab, hidden], plain(s.out + at), turned(w), logits);
      p.matmul([some, vocab, hidden], plain(next + at), turned(rows(g.head.at, hidden)), target, { alpha: shape.logitScale });
      p.add(
        "softCrossEntropy",
        [some, vocab, gradient ? 1 : 0],
        [g.logits, g.targetLogits, batch.weights + row * real, batch.inverse, s.losses + 8 * row],
        [s.weight],
      );
      if (gradient) {
        p.matmul([some, hidden, vocab], logits, w, plain(s.dOut + at));
        const dw = rows(own.grad, hidden);
        p.matmul([vocab, hidden, some], turned(logits), plain(s.out + at), dw, { plus: dw });
      }
      p.cut();
    }
  }
  if (!gradient) return;
  const dBoth = take(2);
  for (const s of steps) p.add("zero", [2 * count * hidden], [s.dx]);
  for (const [j, s] of [...steps.entries()].reverse()) {
    const dy = s.dx + count * half;
    normBackward(p, setting, normO, plain(s.y), s.scaleO, plain(s.dOut), dy);
    layerBackward(p, setting, layer, s.kept, s.x, dy, residual, { at: pairOf(s.both), grad: pairOf(dBoth) });
    normBackward(p, setting, normE, plain(embedded), scaleE, pairOf(dBoth), 0);
    normBackward(p, setting, normH, plain(s.x), s.scaleH, pairOf(dBoth + half), dy);
    p.add("combine", [count, hidden, hidden, hidden], [s.dx, dy], [1, 1]);
    if (j > 0) p.add("embedBackward", [count, hidden, hidden], [steps[j - 1]!.dx, batch.before, dy], [1]);
    else {
      const dFc = rows(fc.grad, 3 * hidden);
      p.matmul([hidden, 3 * hidden, count], turned(plain(dy)), rows(taps, 3 * hidden), dFc, { plus: dFc });
    }
  }
}
