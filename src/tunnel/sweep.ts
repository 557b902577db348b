// Grids of small trainings: which settings at which size, each a run of its own; and what their losses say.
import { CpmError } from "../errors.ts";
import { Part } from "../train/options.ts";
import type { LossPoint } from "./fits.ts";

/** A run of a grid. */
export interface SweepPoint {
  /** Its name, and that of its folder. */
  readonly key: string;
  readonly width: number;
  readonly depth: number;
  /** Peak learning rate. */
  readonly rate: number;
  /** Rows of an update. */
  readonly rows: number;
  /** Tokens that it reads; 0: `tokensPerParameter` times its parameters. */
  readonly tokens: number;
  /** Seed of weights, order and what is held out; absent: that of `train`. */
  readonly seed?: number | undefined;
}

/** What a run came to: a line of a table, which fits take. */
export interface SweepResult extends SweepPoint, LossPoint {
  /** Tokens of an update. */
  readonly batchTokens: number;
  readonly updates: number;
}

export interface SweepConfig {
  readonly out: string;
  /** Fields of a training's configuration that all runs share; those of the grid are added. */
  readonly train: Readonly<Record<string, unknown>>;
  readonly tokenizer: string;
  /** Further fields of config.json. */
  readonly model: Readonly<Record<string, unknown>>;
  readonly headDim: number;
  /** Width at which muP scales nothing. */
  readonly base: number;
  /** Hidden sizes of the gated layers, as a multiple of the width. */
  readonly inner: number;
  readonly tokensPerParameter: number | undefined;
  readonly points: readonly SweepPoint[];
}

const NAMES = ["out", "train", "tokenizer", "model", "headDim", "base", "inner", "grid", "tokensPerParameter"];
const GRID = ["width", "depth", "rate", "rows", "tokens", "seed"];

/** What every run of a sweep has from the grid, the width or the sweep: given beside it, it would go unheard. */
const GIVEN = {
  train: ["out", "model", "rows", "updates", "stages", "export", "schedule.peak"],
  model: [
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "dim_model_base",
  ],
} as const;

/**
 * Reads the configuration of a sweep. `file`: what it is called in messages.
 * @throws CpmError "bad-option" that names the place
 */
export function readSweep(value: unknown, file = "config"): SweepConfig {
  const c = new Part(value, file, "", NAMES);
  const grid = c.part("grid", GRID);
  const list = (name: string, fallback?: number): number[] => {
    const raw = grid.raw(name) ?? fallback;
    const values = Array.isArray(raw) ? raw : [raw];
    if (values.length === 0 || !values.every((x) => typeof x === "number" && Number.isFinite(x) && x > 0))
      grid.fail(name, "numbers above 0", raw);
    if (new Set(values).size !== values.length) grid.fail(name, "numbers, each once", raw);
    return values as number[];
  };
  const headDim = c.count("headDim", 2, 16, 1024);
  const [widths, depths, rates, rows] = [list("width"), list("depth"), list("rate"), list("rows", 8)];
  const per = c.maybe("tokensPerParameter", () => c.number("tokensPerParameter", { least: 1e-3 }));
  const tokens = per === undefined ? list("tokens") : [0];
  const seeds = grid.has("seed") ? list("seed") : [undefined];
  if (per !== undefined && grid.has("tokens")) grid.fail("tokens", "nothing beside tokensPerParameter");
  for (const width of widths) if (width % headDim !== 0) grid.fail("width", `multiples of headDim (${headDim})`, width);
  for (const [name, values] of [
    ["width", widths],
    ["depth", depths],
    ["rows", rows],
    ["tokens", tokens],
    ["seed", seeds],
  ] as const)
    if (!values.every((x) => x === undefined || Number.isInteger(x))) grid.fail(name, "whole numbers");
  const train = c.record("train");
  const model = c.has("model") ? c.record("model") : {};
  for (const [part, names] of Object.entries(GIVEN))
    for (const name of names) {
      const [first, then] = name.split(".") as [string, string | undefined];
      const outer: unknown = (part === "train" ? train : model)[first];
      const value = then === undefined ? outer : (outer as Record<string, unknown> | undefined)?.[then];
      if (value != null) c.fail(`${part}.${name}`, "nothing: a sweep sees to it for each of its runs", value);
    }
  if (grid.has("seed") && train["seed"] != null) c.fail("train.seed", "nothing beside grid.seed", train["seed"]);
  if (train["heldOut"] === 0) c.fail("train.heldOut", "a share above 0: runs are compared by their loss on it", 0);
  const points = widths.flatMap((width) =>
    depths.flatMap((depth) =>
      tokens.flatMap((count) =>
        rows.flatMap((batch) =>
          rates.flatMap((rate) =>
            seeds.map((seed) => ({
              key: `w${width}-d${depth}-r${rate}-b${batch}${count > 0 ? `-t${count}` : ""}${seed === undefined ? "" : `-s${seed}`}`,
              width,
              depth,
              rate,
              rows: batch,
              tokens: count,
              ...(seed === undefined ? {} : { seed }),
            })),
          ),
        ),
      ),
    ),
  );
  return {
    out: c.text("out"),
    train,
    tokenizer: c.text("tokenizer"),
    model,
    headDim,
    base: c.count("base", 1, Math.min(...widths)),
    inner: c.number("inner", { least: 0.1 }, 2),
    tokensPerParameter: per,
    points,
  };
}

/** Parameters without embeddings of MiniCPM's decoder. */
export function parametersOfPoint({ headDim, inner }: SweepConfig, { width, depth }: SweepPoint): number {
  const heads = Math.floor(width / headDim) * headDim;
  const intermediate = Math.round(inner * width);
  return depth * (4 * width * heads + 3 * width * intermediate + 2 * width) + width;
}

/** A point's training: what `readConfig` of cpm-wasm/train takes. */
export function trainingOf(
  config: SweepConfig,
  point: SweepPoint,
): { readonly train: Record<string, unknown>; readonly updates: number; readonly batchTokens: number } {
  const { train, base, headDim, inner } = config;
  const [length, accumulate] = [train["length"], train["accumulate"] ?? 1];
  if (typeof length !== "number" || typeof accumulate !== "number")
    throw new CpmError("bad-option", "train.length: expected the tokens of a row", { field: "train.length" });
  const batchTokens = point.rows * accumulate * length;
  const wanted = point.tokens > 0 ? point.tokens : config.tokensPerParameter! * parametersOfPoint(config, point);
  const updates = Math.max(1, Math.ceil(wanted / batchTokens));
  const { width, depth, rate } = point;
  const heads = width / headDim;
  // As everywhere in a configuration, null is what is not given.
  const own = Object.fromEntries(Object.entries(train).filter(([, value]) => value != null));
  const optimiser = { mup: true, ...(train["optimiser"] as object | undefined) };
  return {
    updates,
    batchTokens,
    train: {
      heldOut: 0.02,
      evaluate: { every: updates, rows: 256 },
      samples: { every: updates + 1, prompts: [] },
      ...own,
      ...(point.seed === undefined ? {} : { seed: point.seed }),
      out: point.key,
      rows: point.rows,
      updates,
      optimiser,
      schedule: { ...(train["schedule"] as object | undefined), peak: rate },
      model: {
        tokenizer: config.tokenizer,
        config: {
          max_position_embeddings: Math.max(length, 128),
          tie_word_embeddings: true,
          scale_emb: 12,
          scale_depth: 1.4,
          ...config.model,
          hidden_size: width,
          num_hidden_layers: depth,
          num_attention_heads: heads,
          num_key_value_heads: heads,
          intermediate_size: Math.round(inner * width),
          dim_model_base: base,
        },
      },
    },
  };
}

/** A width (and depth), its rates and their losses, the best first among equals the smaller. */
export interface Transfer {
  readonly width: number;
  readonly depth: number;
  readonly best: number;
  readonly losses: readonly { readonly rate: number; readonly loss: number }[];
  /** Steps on the grid of rates from the best one at the narrowest width. */
  readonly steps: number;
}

/** Runs that differ by their seed alone, as one: the mean of their losses. */
export function meanOfSeeds<P extends LossPoint & Partial<SweepPoint>>(points: readonly P[]): P[] {
  const groups = new Map<string, P[]>();
  for (const point of points) {
    const { width, depth, rate, rows, parameters, tokens, seed } = point;
    const key = JSON.stringify([width, depth, rate, rows, parameters, tokens, ...(seed === undefined ? [groups.size] : [])]);
    groups.set(key, [...(groups.get(key) ?? []), point]);
  }
  return [...groups.values()].map((group) => ({ ...group[0]!, loss: group.reduce((sum, p) => sum + p.loss, 0) / group.length }));
}

/** Whether the best learning rate of the narrowest models is that of wider ones. */
export function transferOf(runs: readonly SweepResult[]): Transfer[] {
  const results = meanOfSeeds(runs);
  const sizes = [...new Set(results.map(({ width, depth }) => `${width} ${depth}`))]
    .map((size) => size.split(" ").map(Number) as [number, number])
    .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const rates = [...new Set(results.map(({ rate }) => rate))].sort((a, b) => a - b);
  const rows = sizes.map(([width, depth]) => {
    const losses = rates.flatMap((rate) => {
      const found = results.filter((r) => r.width === width && r.depth === depth && r.rate === rate);
      return found.length > 0 ? [{ rate, loss: Math.min(...found.map(({ loss }) => loss)) }] : [];
    });
    const best = losses.reduce((a, b) => (b.loss < a.loss ? b : a)).rate;
    return { width, depth, best, losses };
  });
  return rows.map((row) => ({ ...row, steps: Math.abs(rates.indexOf(row.best) - rates.indexOf(rows[0]!.best)) }));
}

/** Of each size and number of tokens the settings with the least loss, by the mean of their seeds. */
export function bestOf<P extends LossPoint & Partial<SweepPoint>>(points: readonly P[]): P[] {
  const best = new Map<string, P>();
  for (const point of meanOfSeeds(points)) {
    const key = `${point.parameters} ${point.tokens}`;
    const held = best.get(key);
    if (!held || point.loss < held.loss) best.set(key, point);
  }
  return [...best.values()].sort((a, b) => a.parameters - b.parameters || a.tokens - b.tokens);
}
