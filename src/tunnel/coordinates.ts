// The coordinate check: whether activations keep their size when a model is made wider. Under muP they do; with one learning rate for all
// widths their changes grow with the width (Yang et al. 2021, appendix D.1).
import { CpmError } from "../errors.ts";
import type { Batch } from "../train/batch.ts";
import type { Machine } from "../train/machine.ts";
import { countOf, type TrainShape } from "../train/shape.ts";
import { Trainer } from "../train/trainer.ts";
import { normal, uniform } from "./random.ts";

export interface CoordinateOptions {
  /** Default 64, 128, 256, 512; multiples of `headDim`. */
  readonly widths?: readonly number[] | undefined;
  /** Default 2. */
  readonly layers?: number | undefined;
  /** Default 32. */
  readonly headDim?: number | undefined;
  /** Width at which muP scales nothing. Default: the smallest of the widths. */
  readonly base?: number | undefined;
  /** Updates before measuring. Default 8. */
  readonly updates?: number | undefined;
  /** Learning rate at the base width. Default 0.01. */
  readonly rate?: number | undefined;
  /** Divide rates of layers' matrices by the width (muP). Default true. */
  readonly mup?: boolean | undefined;
  readonly seed?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  onProgress?(done: number, total: number): void;
}

/** Root mean squares over tokens and coordinates at one width. */
export interface Coordinates {
  readonly width: number;
  /** Of the residual stream after the embedding and each layer. */
  readonly stream: readonly number[];
  /** Of what has changed in them since the beginning. */
  readonly change: readonly number[];
  readonly logits: number;
}

export interface CoordinateCheck {
  readonly rows: readonly Coordinates[];
  /** The largest distance of a width's stream from the mean of all widths, as a share of it; embedding left out. */
  readonly spread: number;
  /** Change at the widest over change at the narrowest, of the layer where that is most. */
  readonly growth: number;
}

const VOCAB = 97;
const ROWS = 2;
const LENGTH = 48;

/** A decoder of MiniCPM's multipliers at a width. */
export const widthShape = (width: number, layers: number, headDim: number, base: number, vocab = VOCAB): TrainShape => ({
  layers,
  hidden: width,
  intermediate: 2 * width,
  heads: width / headDim,
  kvHeads: width / headDim,
  headDim,
  vocab,
  rmsEps: 1e-5,
  ropeTheta: 10000,
  ropeScale: 1,
  embeddingScale: 12,
  residualScale: 1.4 / Math.sqrt(layers),
  headResidualScale: 1.4 / Math.sqrt(layers + 1),
  logitScale: base / width,
  tied: true,
  width: width / base,
});

/**
 * Trains models of some widths for a few updates and measures their activations. `machine`: a memory for each.
 * @throws CpmError "bad-option"
 */
export async function coordinateCheck(
  machine: () => Promise<Machine>,
  options: CoordinateOptions = {},
): Promise<CoordinateCheck> {
  const { widths = [64, 128, 256, 512], layers = 2, headDim = 32, updates = 8, rate = 0.01, mup = true, seed = 1 } = options;
  const { base = Math.min(...widths) } = options;
  const bad = widths.find((width) => !(Number.isInteger(width / headDim) && width > 0));
  if (widths.length < 2 || bad !== undefined)
    throw new CpmError("bad-option", `widths: expected two or more multiples of ${headDim}, found ${widths.join(", ")}`, {
      field: "widths",
    });
  const rows: Coordinates[] = [];
  for (const width of widths) {
    options.signal?.throwIfAborted();
    const trainer = await Trainer.create(await machine(), {
      shape: widthShape(width, layers, headDim, base),
      objective: { kind: "lm" },
      rows: ROWS,
      length: LENGTH,
      optimiser: { schedule: { kind: "constant", peak: rate, warmup: 0 }, mup, weightDecay: 0 },
    });
    try {
      trainer.initialise(normal(uniform(seed)));
      rows.push(await measure(trainer, updates, seed, options.signal));
    } finally {
      await trainer.close();
    }
    options.onProgress?.(rows.length, widths.length);
  }
  return { rows, ...judged(rows) };
}

async function measure(trainer: Trainer, updates: number, seed: number, signal?: AbortSignal): Promise<Coordinates> {
  const batch = randomBatch(seed + 1);
  const { graph, machine } = trainer;
  const size = ROWS * LENGTH * graph.shape.hidden;
  const streams = async () => {
    await trainer.evaluate(batch, signal);
    return graph.streams.map((at) => machine.reals(at, size).slice());
  };
  const first = await streams();
  for (let i = 0; i < updates; i++) await trainer.step(batch, signal);
  const last = await streams();
  const { hidden, vocab, logitScale } = graph.shape;
  const head = graph.values(graph.head);
  const z = machine.reals(graph.hidden, size);
  let squares = 0;
  for (let row = 0; row < ROWS * LENGTH; row++)
    for (let token = 0; token < vocab; token++) {
      let sum = 0;
      for (let i = 0; i < hidden; i++) sum += z[row * hidden + i]! * head[token * hidden + i]!;
      squares += (logitScale * sum) ** 2;
    }
  return {
    width: hidden,
    stream: last.map(rms),
    change: last.map((values, l) => rms(values.map((x, i) => x - first[l]![i]!))),
    logits: Math.sqrt(squares / (ROWS * LENGTH * vocab)),
  };
}

const rms = (values: Float32Array | Float64Array): number => {
  let sum = 0;
  for (const x of values) sum += x * x;
  return Math.sqrt(sum / values.length);
};

function judged(rows: readonly Coordinates[]): { spread: number; growth: number } {
  const places = rows[0]!.stream.length;
  let [spread, growth] = [0, 0];
  for (let place = 1; place < places; place++) {
    const sizes = rows.map(({ stream }) => stream[place]!);
    const mean = sizes.reduce((a, b) => a + b, 0) / sizes.length;
    spread = Math.max(spread, ...sizes.map((size) => Math.abs(size / mean - 1)));
    growth = Math.max(growth, rows.at(-1)!.change[place]! / rows[0]!.change[place]!);
  }
  return { spread, growth };
}

/** The same tokens for every width. */
function randomBatch(seed: number): Batch {
  const next = uniform(seed);
  const count = ROWS * LENGTH;
  const tokens = Int32Array.from({ length: count }, () => Math.floor(next() * VOCAB));
  const last = (i: number) => (i + 1) % LENGTH === 0;
  return {
    rows: ROWS,
    length: LENGTH,
    tokens,
    segments: new Int32Array(count),
    labels: tokens.map((_, i) => (last(i) ? -1 : tokens[i + 1]!)),
    weights: Float32Array.from(tokens, (_, i) => (last(i) ? 0 : 1)),
  };
}

/** Parameters without the embedding. */
export const bodyParameters = (trainer: Trainer): number =>
  trainer.trained
    .filter(({ name }) => name !== "model.embed_tokens.weight" && name !== "lm_head.weight")
    .reduce((n, t) => n + countOf(t), 0);
