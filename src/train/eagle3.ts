// EAGLE-3 heads of a frozen target (Li et al. 2025): row t eats the embedding of token t + 1 and what the target's stream is as it enters
// three layers, and must give the target's distribution after token t + 1. Trained as it will draft ("training-time test"): in step j a row
// stands j tokens further on and eats the head's own output of the step before in place of the target's stream; it sees the first step's
// keys up to its own row, which the target's stream made, and behind them its own keys of steps 1 to j. Loss = sum of 0.8^j cross-entropy.
import { CpmError } from "../errors.ts";
import type { Graph } from "./graph.ts";
import { layerBackward, layerForward, normBackward, normForward, type Setting, takeKept } from "./layer.ts";
import { type Program, rows, turned } from "./program.ts";
import { EAGLE3, EMBEDDING, type TrainShape } from "./shape.ts";

/** Steps of a training pass, and what each counts beside the one before. */
export const EAGLE3_STEPS = 3;
export const STEP_WEIGHT = 0.8;

/** The layers whose inputs it reads, as src/model/eagle.ts and published heads have them. */
export const tapsOf = ({ layers }: Pick<TrainShape, "layers">): readonly [number, number, number] => [2, layers >> 1, layers - 3];

/** @throws CpmError "unsupported" for a target of fewer than 4 layers, "bad-option" for a window that does not reach back over the steps */
export function checkEagle3(
  { layers }: TrainShape,
  { steps = EAGLE3_STEPS, window = 0 }: { readonly steps?: number | undefined; readonly window?: number | undefined },
): void {
  if (layers < 4)
    throw new CpmError("unsupported", `an EAGLE-3 head taps a target of 4 layers or more; this one has ${layers}`, {
      field: "objective.layout",
    });
  if (window > 0 && window < steps)
    throw new CpmError("bad-option", `window: expected at least as many tokens as steps (${steps}), found ${window}`, {
      field: "objective.window",
    });
}

/** The head's own rows begin as the target's, scaled as its logits are. After the target's values were set. */
export function beginWithTargetHead(g: Graph): void {
  const { objective } = g.options;
  const ids = objective.kind === "eagle" ? objective.vocabulary : undefined;
  const { hidden, logitScale } = g.shape;
  const [from, to] = [g.values(g.head), g.values(g.tensor(`${EAGLE3}lm_head.weight`))];
  for (let i = 0; i < to.length; i++) {
    const row = Math.floor(i / hidden);
    to[i] = from[(ids ? ids[row]! : row) * hidden + (i % hidden)]! * logitScale;
  }
}

/** What a resident target gave, (count, 4, hidden): three layers' inputs, then the final states. */
export function putTapped(g: Graph, states: Float32Array): void {
  const { machine, shape } = g;
  const { hidden, residualScale } = shape;
  const count = states.length / (4 * hidden);
  const [taps, finals] = [machine.reals(g.taps, 3 * count * hidden), machine.reals(g.hidden, count * hidden)];
  for (let row = 0; row < count; row++) {
    const at = 4 * hidden * row;
    finals.set(states.subarray(at + 3 * hidden, at + 4 * hidden), row * hidden);
    for (let i = 0; i < 3 * hidden; i++) taps[3 * hidden * row + i] = states[at + i]! * residualScale;
  }
}

export function eagle3Objective(g: Graph, p: Program, gradient: boolean): void {
  const { objective } = g.options;
  if (objective.kind !== "eagle") return;
  const { machine, shape, batch, taps } = g;
  const { hidden, headResidualScale: residual } = shape;
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
  const kvWidth = shape.kvHeads * shape.headDim;
  const keyGrads = (gradient ? [0, ...g.later] : []).map(() => ({
    k: machine.takeReals(count * kvWidth),
    v: machine.takeReals(count * kvWidth),
  }));
  const kept = [0, ...g.later].map(() => takeKept(machine, setting.shape, count));
  const first = take();
  const steps = [{ losses: g.losses[0], weight: 1 }, ...g.later].map(({ losses, weight }, j) => {
    const ahead = batch.ahead[j - 1];
    return {
      losses,
      weight,
      next: ahead?.next ?? batch.next,
      positions: ahead?.positions ?? batch.positions,
      weights: ahead?.weights ?? batch.weights,
      before: kept.slice(0, j),
      kept: kept[j]!,
      y: take(),
      both: take(2),
      embedded: take(),
      out: take(),
      dOut: gradient ? take() : 0,
      scaleE: machine.takeReals(count),
      scaleH: machine.takeReals(count),
      scaleO: machine.takeReals(count),
    };
  });
  const inputOf = (j: number) => (j === 0 ? first : steps[j - 1]!.y);
  if (!objective.features) {
    g.trunkForward(p);
    for (const [i, l] of tapsOf(shape).entries())
      p.add("combine", [count, hidden, hidden, 3 * hidden], [g.streams[l]!, taps + i * half], [shape.residualScale, 0]);
  }
  p.matmul([count, hidden, 3 * hidden], rows(taps, 3 * hidden), turned(rows(fc.at, 3 * hidden)), plain(first));
  const vocab = objective.vocabulary?.length ?? shape.vocab;
  const targetHead = rows(objective.vocabulary ? g.draftHead : g.head.at, hidden);
  const [logits, target] = [rows(g.logits, vocab), rows(g.targetLogits, vocab)];
  for (const [j, s] of steps.entries()) {
    p.add("embedForward", [count, hidden, hidden], [g.tensor(EMBEDDING).at, s.next, s.embedded], [shape.embeddingScale]);
    normForward(p, setting, normE, plain(s.embedded), pairOf(s.both), s.scaleE);
    normForward(p, setting, normH, plain(inputOf(j)), pairOf(s.both + half), s.scaleH);
    const step = { input: pairOf(s.both), positions: s.positions, before: s.before };
    layerForward(p, setting, layer, s.kept, inputOf(j), s.y, residual, step);
    normForward(p, setting, normO, plain(s.y), plain(s.out), s.scaleO);
    const next = g.hidden + (j + 1) * half;
    for (let row = 0; row < count; row += g.chunk) {
      const some = Math.min(g.chunk, count - row);
      const at = row * half;
      p.matmul([some, vocab, hidden], plain(s.out + at), turned(w), logits);
      p.matmul([some, vocab, hidden], plain(next + at), turned(targetHead), target, { alpha: shape.logitScale });
      p.add(
        "softCrossEntropy",
        [some, vocab, gradient ? 1 : 0],
        [g.logits, g.targetLogits, s.weights + row * real, batch.inverse, s.losses + 8 * row],
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
  // dx: of a step's output, then of its input, which is the output of the step before.
  const [dBoth, dx] = [take(2), take()];
  for (const at of keyGrads.flatMap(({ k, v }) => [k, v])) p.add("zero", [count * kvWidth], [at]);
  p.add("zero", [count * hidden], [dx]);
  for (const [j, s] of [...steps.entries()].reverse()) {
    normBackward(p, setting, normO, plain(s.y), s.scaleO, plain(s.dOut), dx);
    layerBackward(p, setting, layer, s.kept, inputOf(j), dx, residual, {
      input: pairOf(s.both),
      positions: s.positions,
      before: s.before,
      grads: { input: pairOf(dBoth), keys: keyGrads },
    });
    normBackward(p, setting, normE, plain(s.embedded), s.scaleE, pairOf(dBoth), 0);
    normBackward(p, setting, normH, plain(inputOf(j)), s.scaleH, pairOf(dBoth + half), dx);
  }
  const dFc = rows(fc.grad, 3 * hidden);
  p.matmul([hidden, 3 * hidden, count], turned(plain(dx)), rows(taps, 3 * hidden), dFc, { plus: dFc });
}
