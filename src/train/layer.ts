// One decoder layer of MiniCPM: forward, and its backward beside it.
import type { BatchSpace } from "./batch.ts";
import type { Machine } from "./machine.ts";
import { type Matrix, type Program, rows, turned } from "./program.ts";
import type { TrainShape } from "./shape.ts";

/** A linear layer in use: W, where its gradient goes (0: frozen), and a low-rank part beside it. */
export interface Linear {
  readonly at: number;
  readonly grad: number;
  readonly out: number;
  readonly of: number;
  readonly lora?: { readonly a: number; readonly aGrad: number; readonly b: number; readonly bGrad: number } | undefined;
}

export interface Norm {
  readonly at: number;
  readonly grad: number;
}

export interface Layer {
  readonly attnNorm: Norm;
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly o: Linear;
  readonly ffnNorm: Norm;
  readonly gate: Linear;
  readonly up: Linear;
  readonly down: Linear;
}

/** What backward needs of a layer's forward; q and k are rotated. */
export interface Kept {
  readonly attnScale: number;
  readonly q: number;
  readonly k: number;
  readonly v: number;
  readonly o: number;
  readonly lse: number;
  readonly mask: number;
  readonly middle: number;
  readonly ffnScale: number;
  readonly gate: number;
  readonly up: number;
}

/** What all layers share: numbers that live while one layer is computed. */
export interface Shared {
  readonly normed: number;
  readonly inner: number;
  readonly innerGrad: number;
  readonly hiddenGrad: number;
  readonly attentionGrad: number;
  readonly qGrad: number;
  readonly kGrad: number;
  readonly vGrad: number;
  readonly delta: number;
  readonly low: number;
  readonly lowGrad: number;
  readonly fine: number;
  readonly coarse: number;
}

/** Everything a layer's programs are written with. */
export interface Setting {
  readonly machine: Machine;
  readonly shape: TrainShape;
  /** Tokens of a batch. */
  readonly count: number;
  readonly batch: BatchSpace;
  readonly rope: number;
  readonly attention: number;
  readonly choice: { readonly at: number; readonly doubles: number };
  readonly shared: Shared;
  readonly loraRank: number;
  readonly loraScale: number;
  /** Tokens that keys stay visible for, 0: all (draft heads). */
  readonly window: number;
}

/**
 * What an EAGLE-3 head's layer reads in place of the normed x. In a later step a row is that many tokens further on: it sees the first
 * step's keys up to its own row, and of every later step the key of its own row, as it does when it drafts.
 */
export interface DraftStep {
  readonly input: Matrix;
  readonly positions: number;
  /** What the steps before kept, the first one first. */
  readonly before: readonly Kept[];
}

/** Where the gradient of its input goes, and of its keys and values: of all steps up to this one, in which later steps have put their share. */
export interface DraftGrads {
  readonly input: Matrix;
  readonly keys: readonly { readonly k: number; readonly v: number }[];
}

/** 32-bit words of a query's chosen blocks. */
export const maskWords = (shape: TrainShape, count: number): number =>
  shape.sparse ? Math.ceil(Math.ceil(count / shape.sparse.blockSize) / 32) : 0;

export function takeKept(machine: Machine, s: TrainShape, count: number): Kept {
  const [q, kv] = [s.heads * s.headDim, s.kvHeads * s.headDim];
  const reals = (width: number) => machine.takeReals(count * width);
  return {
    attnScale: reals(1),
    q: reals(q),
    k: reals(kv),
    v: reals(kv),
    o: reals(q),
    lse: reals(s.heads),
    mask: machine.take(4 * count * s.kvHeads * maskWords(s, count)),
    middle: reals(s.hidden),
    ffnScale: reals(1),
    gate: reals(s.intermediate),
    up: reals(s.intermediate),
  };
}

/** Numbers of one activation within an MLP that stay in a core's cache beside two others: with DEPTH rows, MLPs of up to 384 wide. */
const NEAR = 3 << 15;
/** Rows that a product sums in one go, as kDepth of cpp/grad/matmul.h: pieces of so many leave every sum as it is. */
const DEPTH = 256;

/** Rows of which the MLP and the projections are computed at once, so that activations are read from the cache; all where an MLP is wider than that. */
const rowsNear = (s: TrainShape, count: number): number =>
  Math.min(count, DEPTH * Math.floor(NEAR / (DEPTH * s.intermediate)) || count);

interface Piece {
  /** The setting for its rows. */
  readonly part: Setting;
  /** A matrix from its first row on. */
  readonly below: (m: Matrix) => Matrix;
}

/** The batch in pieces of those rows. */
function piecesOf(g: Setting): Piece[] {
  const most = rowsNear(g.shape, g.count);
  return Array.from({ length: Math.ceil(g.count / most) }, (_, i) => {
    const first = i * most;
    const below = (m: Matrix): Matrix => ({ ...m, at: m.at + first * m.row * g.machine.real });
    return { part: { ...g, count: Math.min(most, g.count - first) }, below };
  });
}

export function takeShared(machine: Machine, s: TrainShape, count: number, loraRank: number): Shared {
  const [q, kv] = [s.heads * s.headDim, s.kvHeads * s.headDim];
  const reals = (width: number) => machine.takeReals(count * width);
  const windows = (stride: number) => (s.sparse ? Math.floor(count / stride) + 1 : 0);
  return {
    normed: reals(s.hidden),
    inner: machine.takeReals(rowsNear(s, count) * s.intermediate),
    innerGrad: machine.takeReals(rowsNear(s, count) * s.intermediate),
    hiddenGrad: reals(s.hidden),
    attentionGrad: reals(q),
    qGrad: reals(q),
    kGrad: reals(kv),
    vGrad: reals(kv),
    delta: reals(s.heads),
    low: reals(loraRank),
    lowGrad: reals(loraRank),
    fine: machine.takeReals(windows(s.sparse?.kernelStride ?? 1) * kv),
    coarse: machine.takeReals(windows(4 * (s.sparse?.kernelStride ?? 1)) * kv),
  };
}

const weight = (l: Linear): Matrix => rows(l.at, l.of);

/** y = plus + alpha x W^T, and the low-rank part. */
export function linearForward(p: Program, g: Setting, l: Linear, x: Matrix, y: Matrix, alpha = 1, plus?: Matrix): void {
  p.matmul([g.count, l.out, l.of], x, turned(weight(l)), y, { alpha, plus });
  if (!l.lora) return;
  const low = rows(g.shared.low, g.loraRank);
  p.matmul([g.count, g.loraRank, l.of], x, turned(rows(l.lora.a, l.of)), low);
  p.matmul([g.count, l.out, g.loraRank], low, turned(rows(l.lora.b, g.loraRank)), y, { alpha: alpha * g.loraScale, plus: y });
}

/** dx = (adds: +) alpha dy W, with the low-rank part. */
function linearInput(p: Program, g: Setting, l: Linear, dy: Matrix, dx: Matrix, alpha: number, adds: boolean): void {
  p.matmul([g.count, l.of, l.out], dy, weight(l), dx, { alpha, plus: adds ? dx : undefined });
  if (!l.lora) return;
  lowGradient(p, g, l, dy, alpha);
  p.matmul([g.count, l.of, g.loraRank], rows(g.shared.lowGrad, g.loraRank), rows(l.lora.a, l.of), dx, { plus: dx });
}

/** What flows into the low-rank part's middle. */
function lowGradient(p: Program, g: Setting, l: Linear, dy: Matrix, alpha: number): void {
  const to = rows(g.shared.lowGrad, g.loraRank);
  p.matmul([g.count, g.loraRank, l.out], dy, rows(l.lora!.b, g.loraRank), to, { alpha: alpha * g.loraScale });
}

/** dW += alpha dy^T x, or the same for the low-rank part, whose middle's gradient is there already. */
function linearWeights(p: Program, g: Setting, l: Linear, x: Matrix, dy: Matrix, alpha: number): void {
  if (l.grad) {
    const dw = rows(l.grad, l.of);
    p.matmul([l.out, l.of, g.count], turned(dy), x, dw, { alpha, plus: dw });
  }
  if (!l.lora) return;
  const { a, aGrad, bGrad } = l.lora;
  const [low, lowGrad] = [rows(g.shared.low, g.loraRank), rows(g.shared.lowGrad, g.loraRank)];
  p.matmul([g.count, g.loraRank, l.of], x, turned(rows(a, l.of)), low);
  const [db, da] = [rows(bGrad, g.loraRank), rows(aGrad, l.of)];
  p.matmul([l.out, g.loraRank, g.count], turned(dy), low, db, { alpha: alpha * g.loraScale, plus: db });
  p.matmul([g.loraRank, l.of, g.count], turned(lowGrad), x, da, { plus: da });
}

/** Both; dx undefined: not asked for. */
export function linearBackward(
  p: Program,
  g: Setting,
  l: Linear,
  x: Matrix,
  dy: Matrix,
  dx: Matrix | undefined,
  alpha = 1,
  adds = false,
): void {
  if (dx) linearInput(p, g, l, dy, dx, alpha, adds);
  else if (l.lora) lowGradient(p, g, l, dy, alpha);
  linearWeights(p, g, l, x, dy, alpha);
}

export function normForward(p: Program, g: Setting, n: Norm, x: Matrix, y: Matrix, scale: number): void {
  p.add("normForward", [g.count, g.shape.hidden, x.row, y.row], [x.at, n.at, y.at, scale], [g.shape.rmsEps]);
}

/** A norm whose weight gets no gradient here. */
const frozen = ({ at }: Norm): Norm => ({ at, grad: 0 });

/** dx += …, dw += …; dx 0: only the weight's. */
export function normBackward(p: Program, g: Setting, n: Norm, x: Matrix, scale: number, dy: Matrix, dx: number): void {
  const sizes = [g.count, g.shape.hidden, x.row, dy.row];
  if (n.grad) p.add("normWeight", sizes, [x.at, n.at, 0, scale, dy.at, n.grad]);
  if (dx) p.add("normBackward", sizes, [x.at, n.at, dx, scale, dy.at]);
}

const attentionSizes = ({ shape: s, window, count, batch }: Setting, steps = 0): number[] => [
  s.heads,
  s.kvHeads,
  s.headDim,
  window && window - steps,
  s.sparse?.blockSize ?? 0,
  maskWords(s, count),
  count,
  batch.keyTiles - batch.queryTiles,
  batch.firstTiles - batch.queryTiles,
];

function choose(p: Program, g: Setting, k: Kept): void {
  const { shape: s, batch, shared } = g;
  const { sparse } = s;
  if (!sparse) return;
  const counted = batch.counts + 8;
  const compress = (coarse: number, factor: number, out: number) =>
    p.add(
      "compressKeys",
      [s.kvHeads, s.headDim, factor * sparse.kernelSize, factor * sparse.kernelStride, coarse],
      [k.k, batch.documents, counted, out],
    );
  compress(0, 1, shared.fine);
  if (!sparse.exactLse) compress(1, 4, shared.coarse);
  p.add(
    "chooseBlocks",
    [
      s.heads,
      s.kvHeads,
      s.headDim,
      sparse.blockSize,
      sparse.initBlocks,
      sparse.windowSize / sparse.blockSize,
      Math.max(0, sparse.topk - sparse.initBlocks),
      maskWords(s, g.count),
      sparse.kernelSize,
      sparse.kernelStride,
      sparse.exactLse ? 0 : 1,
      g.choice.doubles,
    ],
    [k.q, batch.documents, counted, shared.fine, shared.coarse, k.mask, g.choice.at],
    [1 / Math.sqrt(s.headDim)],
  );
}

/**
 * x (hidden) -> out (hidden), keeping what backward needs. `residual`: the residual scale. `step`: of an EAGLE-3 head.
 */
export function layerForward(
  p: Program,
  g: Setting,
  layer: Layer,
  k: Kept,
  x: number,
  out: number,
  residual: number,
  step?: DraftStep,
): void {
  const { shape: s, shared, batch } = g;
  const hidden = (at: number) => rows(at, s.hidden);
  const [q, kv, f] = [s.heads * s.headDim, s.kvHeads * s.headDim, s.intermediate];
  const normed = hidden(shared.normed);
  if (!step) normForward(p, g, layer.attnNorm, hidden(x), normed, k.attnScale);
  const { input, positions, before } = step ?? { input: normed, positions: batch.positions, before: [] };
  linearForward(p, g, layer.q, input, rows(k.q, q));
  linearForward(p, g, layer.k, input, rows(k.k, kv));
  linearForward(p, g, layer.v, input, rows(k.v, kv));
  p.add("rope", [g.count, s.heads, s.headDim, 0], [k.q, g.rope, positions]);
  p.add("rope", [g.count, s.kvHeads, s.headDim, 0], [k.k, g.rope, positions]);
  choose(p, g, k);
  const drafted = [...before, k];
  const first = drafted.shift()!;
  p.add(
    "attendForward",
    attentionSizes(g, before.length),
    [k.q, first.k, first.v, k.o, k.lse, batch.queryTiles, batch.counts, g.attention, k.mask],
    [1 / Math.sqrt(s.headDim)],
  );
  for (const { k: key, v } of drafted)
    p.add("attendDrafted", [g.count, s.heads, s.kvHeads, s.headDim], [k.q, key, v, k.o, k.lse], [1 / Math.sqrt(s.headDim)]);
  linearForward(p, g, layer.o, rows(k.o, q), hidden(k.middle), residual, hidden(x));
  for (const { part, below } of piecesOf(g)) {
    const from = (at: number, width: number) => below(rows(at, width));
    const [gate, up, inner, middle] = [from(k.gate, f), from(k.up, f), rows(shared.inner, f), from(k.middle, s.hidden)];
    normForward(p, part, layer.ffnNorm, middle, normed, from(k.ffnScale, 1).at);
    linearForward(p, part, layer.gate, normed, gate);
    linearForward(p, part, layer.up, normed, up);
    p.add("swigluForward", [part.count * f], [gate.at, up.at, inner.at]);
    linearForward(p, part, layer.down, inner, from(out, s.hidden), residual, middle);
  }
  p.cut();
}

/**
 * The keys' gradients of all steps up to this one: those of the first step's are in `shared`, those of every drafted key follow. Gives
 * this step's own, which are whole now.
 */
function draftedBackward(p: Program, g: Setting, k: Kept, drafted: readonly Kept[], sums: DraftGrads["keys"]) {
  const { shape: s, shared } = g;
  const kv = s.kvHeads * s.headDim;
  for (const [i, { k: key, v }] of drafted.entries())
    p.add(
      "attendDraftedBackward",
      [g.count, s.heads, s.kvHeads, s.headDim],
      [k.q, key, v, k.o, k.lse, shared.attentionGrad, shared.delta, shared.qGrad, sums[i + 1]!.k, sums[i + 1]!.v],
      [1 / Math.sqrt(s.headDim)],
    );
  p.add("combine", [g.count, kv, kv, kv], [shared.kGrad, sums[0]!.k], [1, 1]);
  p.add("combine", [g.count, kv, kv, kv], [shared.vGrad, sums[0]!.v], [1, 1]);
  return sums[drafted.length]!;
}

/**
 * dx: the gradient of the layer's output, which becomes that of its input; overwrites what was kept of the MLP. `step`: of an EAGLE-3 head,
 * later steps first.
 */
export function layerBackward(
  p: Program,
  g: Setting,
  layer: Layer,
  k: Kept,
  x: number,
  dx: number,
  residual: number,
  step?: DraftStep & { readonly grads: DraftGrads },
): void {
  const { shape: s, shared, batch } = g;
  const hidden = (at: number) => rows(at, s.hidden);
  const [q, kv, f] = [s.heads * s.headDim, s.kvHeads * s.headDim, s.intermediate];
  const [normed, dNormed] = [hidden(shared.normed), hidden(shared.hiddenGrad)];
  // The MLP.
  for (const { part, below } of piecesOf(g)) {
    const from = (at: number, width: number) => below(rows(at, width));
    const [gate, up, inner, dy] = [from(k.gate, f), from(k.up, f), rows(shared.inner, f), from(dx, s.hidden)];
    linearInput(p, part, layer.down, dy, rows(shared.innerGrad, f), residual, false);
    p.add("swigluBackward", [part.count * f], [gate.at, up.at, shared.innerGrad, inner.at]);
    linearWeights(p, part, layer.down, inner, dy, residual);
    normForward(p, part, layer.ffnNorm, from(k.middle, s.hidden), normed, from(k.ffnScale, 1).at);
    const to = from(shared.hiddenGrad, s.hidden);
    linearBackward(p, part, layer.gate, normed, gate, to);
    linearBackward(p, part, layer.up, normed, up, to, 1, true);
    normBackward(p, part, frozen(layer.ffnNorm), from(k.middle, s.hidden), from(k.ffnScale, 1).at, to, dy.at);
    // Attention.
    linearBackward(p, part, layer.o, from(k.o, q), dy, from(shared.attentionGrad, q), residual);
  }
  normBackward(p, g, layer.ffnNorm, hidden(k.middle), k.ffnScale, dNormed, 0);
  const drafted = [...(step?.before ?? []), k];
  const first = drafted.shift()!;
  p.add(
    "attendBackward",
    attentionSizes(g, drafted.length),
    [
      ...[k.q, first.k, first.v, k.o, k.lse, batch.queryTiles, batch.counts, g.attention, k.mask],
      ...[shared.attentionGrad, shared.delta, shared.qGrad, shared.kGrad, shared.vGrad],
    ],
    [1 / Math.sqrt(s.headDim)],
  );
  const keyGrad = step ? draftedBackward(p, g, k, drafted, step.grads.keys) : { k: shared.kGrad, v: shared.vGrad };
  const positions = step?.positions ?? batch.positions;
  p.add("rope", [g.count, s.heads, s.headDim, 1], [shared.qGrad, g.rope, positions]);
  p.add("rope", [g.count, s.kvHeads, s.headDim, 1], [keyGrad.k, g.rope, positions]);
  for (const { part, below } of piecesOf(g)) {
    const stream = below(hidden(x));
    const scale = below(rows(k.attnScale, 1)).at;
    if (!step) normForward(p, part, layer.attnNorm, stream, normed, scale);
    const [at, grad] = step ? [below(step.input), below(step.grads.input)] : [normed, below(dNormed)];
    linearBackward(p, part, layer.q, at, below(rows(shared.qGrad, q)), grad);
    linearBackward(p, part, layer.k, at, below(rows(keyGrad.k, kv)), grad, 1, true);
    linearBackward(p, part, layer.v, at, below(rows(keyGrad.v, kv)), grad, 1, true);
    if (!step) normBackward(p, part, frozen(layer.attnNorm), stream, scale, grad, below(hidden(dx)).at);
  }
  if (!step) normBackward(p, g, layer.attnNorm, hidden(x), k.attnScale, dNormed, 0);
  p.cut();
}
