// cpm tunnel: sweeps of small trainings, laws fitted to their losses, and checks before money is spent.
import type * as Tunnel from "cpm-wasm/tunnel";
import type { Bootstrap, Fit, Fitter, LossPoint, PowerPoint, Prediction, ScorePoint } from "cpm-wasm/tunnel";
import { CpmError } from "../index.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { interrupt } from "./interrupt.ts";
import { openModel } from "./model.ts";
import { jsonArg, loadArgs, loadOptions } from "./options.ts";
import { note, plural, printJson, table, write } from "./output.ts";
import { painter, save } from "./picture.ts";
import { columnsOf, itemsOf, type Row, readRows, SETTINGS } from "./tunneldata.ts";
import { sweep } from "./tunnelrun.ts";

type Wing = typeof Tunnel;
type Paint = Awaited<ReturnType<typeof painter>> | undefined;

const ACTIONS = ["run", "fit", "steplaw", "check", "bench"] as const;

export const tunnel: Command = {
  name: "tunnel",
  description: "Find settings with small trainings and foretell larger ones",
  args: {
    action: { type: "positional", required: true, description: `One of ${ACTIONS.join(", ")}: see docs/tunnel.md` },
    input: {
      type: "positional",
      required: false,
      description: "run: a configuration; fit: a table, or a sweep's folder; bench: a model",
    },
    law: {
      type: "string",
      valueHint: "NAME",
      description:
        "fit: power, floor, chinchilla, sigmoid or steplaw (default chinchilla); power,floor: whichever foretells the second largest best",
    },
    at: { type: "string", valueHint: "N=V,…", description: "fit: foretell here, parameters=8e9,tokens=8e12 say" },
    lo: { type: "string", valueHint: "P", description: "fit --law sigmoid: the score of guessing (default: fitted)" },
    length: { type: "string", valueHint: "N", description: "steplaw: tokens of a sequence (default 4096)" },
    parameters: { type: "string", valueHint: "N", description: "steplaw: parameters without embeddings" },
    tokens: { type: "string", valueHint: "N", description: "steplaw: tokens of the training" },
    samples: { type: "string", valueHint: "N", description: "fit: bootstrap samples (default 200; steplaw 1000)" },
    seed: { type: "string", valueHint: "N", description: "fit, check: of what is drawn (default 1)" },
    widths: { type: "string", valueHint: "N,…", description: "check: widths (default 64,128,256,512)" },
    rate: { type: "string", valueHint: "R", description: "check: learning rate at the narrowest (default 0.01)" },
    "no-mup": { type: "boolean", description: "check: one learning rate for all widths" },
    items: { type: "string", valueHint: "FILE", description: "bench: JSON lines with input and output" },
    shard: { type: "string", valueHint: "I/N", description: "run: only the trainings of shard I of N, from 0" },
    out: { type: "string", valueHint: "DIR", description: "run: the sweep's folder (default: the configuration's \"out\")" },
    svg: { type: "string", valueHint: "FILE", description: "Draw the fit, the check or the rates" },
    spec: { type: "string", valueHint: "FILE", description: "Write the picture's Vega-Lite specification" },
    ...loadArgs,
    ...jsonArg,
  },
  repeated: ["header"],
  async run(args) {
    const [action, input] = args.positionals;
    const known = ACTIONS.find((one) => one === action);
    if (!known) throw new UsageError(`cpm tunnel: expected one of ${ACTIONS.join(", ")}, found "${action ?? ""}"`);
    const paint = args.text("svg") ? await painter() : undefined;
    const wing = await import("cpm-wasm/tunnel");
    const given = (): string => {
      if (input === undefined)
        throw new UsageError(`cpm tunnel ${known}: ${known === "run" ? "a configuration" : "a table or a folder"} is missing`);
      return input;
    };
    if (known === "steplaw") return stepLaw(wing, args);
    if (known === "check") return check(wing, args, paint);
    if (known === "bench") return bench(wing, args, input);
    if (known === "fit") return fit(wing, args, given(), paint);
    await sweep(wing, args, given(), paint);
  },
};

async function stepLaw(wing: Wing, args: Parsed): Promise<void> {
  const [parameters, tokens, length] = [args.number("parameters"), args.number("tokens"), args.number("length") ?? 4096];
  if (parameters === undefined || tokens === undefined)
    throw new UsageError("cpm tunnel steplaw: give --parameters and --tokens");
  const found = wing.stepLaw({ parameters, tokens, length });
  if (args.flag("json")) return printJson({ ...found, intervals: wing.STEP_LAW_INTERVALS });
  const { rateParameters: n, rateTokens: d, batchTokens: b } = wing.STEP_LAW_INTERVALS;
  await write(
    table([
      ["peak learning rate", found.rate.toPrecision(4)],
      ["batch, tokens", found.batchTokens.toFixed(0)],
      ["batch, sequences", String(found.batchSequences)],
      ["exponents, 95 %", `rate N ${n.low} to ${n.high}, rate D ${d.low} to ${d.high}, batch D ${b.low} to ${b.high}`],
    ]),
  );
}

async function check(wing: Wing, args: Parsed, paint: Paint): Promise<void> {
  const { openTrainingMachine } = await import("cpm-wasm/train");
  const widths = args.text("widths")?.split(",").map(Number);
  const threads = loadOptions(args).threads;
  const mup = !args.flag("no-mup");
  const found = await wing.coordinateCheck(
    () => openTrainingMachine({ threads: typeof threads === "number" ? threads : undefined }),
    {
      widths,
      rate: args.number("rate"),
      seed: args.number("seed"),
      mup,
      signal: interrupt.signal,
      onProgress: (done, total) => args.flag("json") || note(`width ${done} of ${total}`),
    },
  );
  await save(wing.coordinatePicture(found, `residual stream, ${mup ? "muP" : "one learning rate"}`), pictureTo(args, paint));
  if (args.flag("json")) return printJson(found);
  const rows = found.rows.map(({ width, stream, logits }) => [
    String(width),
    ...stream.map((x) => x.toFixed(3)),
    logits.toFixed(3),
  ]);
  const places = found.rows[0]!.stream.map((_, i) => (i === 0 ? "embedding" : `layer ${i}`));
  const flat = found.spread <= 0.2 ? "flat" : "not flat";
  await write(
    `${table([["width", ...places, "logits"], ...rows])}\n${flat}: at most ${(100 * found.spread).toFixed(1)} % from the mean; changes grow ${found.growth.toFixed(2)}-fold\n`,
  );
}

async function bench(wing: Wing, args: Parsed, input: string | undefined): Promise<void> {
  const file = args.text("items");
  if (file === undefined) throw new UsageError("cpm tunnel bench: give --items FILE");
  const items = await itemsOf(file);
  const json = args.flag("json");
  await using model = await openModel(input, { ...loadOptions(args), draft: false }, json);
  const found = await wing.scalingBench(model, items, { signal: interrupt.signal });
  if (json) return printJson(found);
  await write(
    table([
      ["loss", found.loss.toFixed(6)],
      ["by tokens", found.tokenMean.toFixed(6)],
      ["items", String(items.length)],
      ["tokens", String(found.tokens)],
    ]),
  );
}

const pictureTo = (args: Parsed, paint: Paint) => ({ svg: args.text("svg"), spec: args.text("spec"), paint });

/** A law as the command knows it: its columns, its fitter, what lies across and up. */
interface Law<Point> {
  readonly columns: readonly string[];
  /** What --at gives. Default: all columns but the value. */
  readonly given?: readonly string[] | undefined;
  /** Several: chosen among by chooseLaw(). */
  readonly laws: readonly { readonly name: string; readonly fitter: Fitter<Point> }[];
  /** By which the largest is left out; undefined: none is. */
  readonly size: string | undefined;
  readonly value: string;
  readonly across: { readonly name: string; readonly log: boolean };
  /** The column whose values have lines of their own. */
  readonly series?: string | undefined;
}

const OF_SIZES = ["power", "floor"] as const;

async function fit(wing: Wing, args: Parsed, path: string, paint: Paint): Promise<void> {
  const name = args.text("law") ?? "chinchilla";
  const lo = args.number("lo");
  const several = name.split(",").map((one) => one.trim());
  if (several.every((one) => OF_SIZES.some((law) => law === one)) && new Set(several).size === several.length)
    return fitSizes(
      wing,
      args,
      path,
      paint,
      // The simplest first, as chooseLaw wants them.
      OF_SIZES.filter((law) => several.includes(law)),
    );
  switch (name) {
    case "chinchilla": {
      const fitter: Fitter<LossPoint> = (points, near) => wing.fitChinchilla(points, {}, near);
      const columns = ["parameters", "tokens", "loss"];
      return fitLaw(wing, args, path, paint, {
        columns,
        laws: [{ name, fitter }],
        size: "parameters",
        value: "loss",
        across: { name: "parameters", log: true },
        series: "tokens",
      });
    }
    case "sigmoid": {
      const fitter: Fitter<ScorePoint> = (points, near) => wing.fitSigmoid(points, lo === undefined ? {} : { lo }, near);
      return fitLaw(wing, args, path, paint, {
        columns: ["loss", "score"],
        laws: [{ name, fitter }],
        size: undefined,
        value: "score",
        across: { name: "loss", log: false },
      });
    }
    case "steplaw":
      return fitSearch(wing, args, path);
    default:
      throw new UsageError(
        `cpm tunnel fit: --law: expected power, floor, chinchilla, sigmoid, steplaw, or power,floor, found "${name}"`,
      );
  }
}

/** Laws of one number: a sweep's losses by parameters, or any table's y by x. Of several, the one that does best in a trial. */
async function fitSizes(wing: Wing, args: Parsed, path: string, paint: Paint, names: readonly string[]): Promise<void> {
  const fitterOf =
    (name: string): Fitter<PowerPoint> =>
    (points, near) =>
      wing.fitPower(points, { floor: name === "floor" }, near);
  if ((await columnsOf(path)).has("x"))
    return fitLaw(wing, args, path, paint, {
      laws: names.map((name) => ({ name, fitter: fitterOf(name) })),
      columns: ["x", "y"],
      size: "x",
      value: "y",
      across: { name: "x", log: true },
    });
  const point = ({ parameters, loss }: Partial<LossPoint>): PowerPoint => ({ x: parameters!, y: loss! });
  const byParameters =
    (fitter: Fitter<PowerPoint>): Fitter<LossPoint> =>
    (points, near) => {
      const fit = fitter(points.map(point), near as Fit<PowerPoint> | undefined);
      return { ...fit, predict: (at: Partial<LossPoint>) => fit.predict({ x: at.parameters! }) };
    };
  return fitLaw(wing, args, path, paint, {
    laws: names.map((name) => ({ name, fitter: byParameters(fitterOf(name)) })),
    columns: ["parameters", "tokens", "loss"],
    given: ["parameters"],
    size: "parameters",
    value: "loss",
    across: { name: "parameters", log: true },
  });
}

async function fitSearch(wing: Wing, args: Parsed, path: string): Promise<void> {
  const rows = await readRows(path, ["parameters", "tokens", "rate", "batchTokens", "loss"]);
  const found = wing.fitStepLaw(rows as unknown as Parameters<Wing["fitStepLaw"]>[0], numbers(args));
  if (args.flag("json")) return printJson(found);
  const { rate, batch, intervals: i } = found;
  const line = (what: string, value: number, { low, high }: { low: number; high: number }) => [
    what,
    value.toFixed(4),
    `${low.toFixed(4)} to ${high.toFixed(4)}`,
  ];
  await write(
    table([
      ["exponent", "value", "95 %"],
      line("rate, parameters", rate.parameters, i.rateParameters),
      line("rate, tokens", rate.tokens, i.rateTokens),
      line("batch, tokens", batch.tokens, i.batchTokens),
      ["runs fitted", `${found.runs} of ${rows.length}`, plural(found.pairs, "pair")],
    ]),
  );
}

const numbers = (args: Parsed) => {
  const [samples, seed] = [args.number("samples"), args.number("seed")];
  return { ...(samples === undefined ? {} : { samples }), ...(seed === undefined ? {} : { seed }) };
};

async function fitLaw<Point extends object>(
  wing: Wing,
  args: Parsed,
  path: string,
  paint: Paint,
  law: Law<Point>,
): Promise<void> {
  const all = (await readRows(path, law.columns, SETTINGS)) as unknown as Point[];
  const points = (law.size === "parameters" ? wing.bestOf(all as unknown as LossPoint[]) : all) as unknown as Point[];
  const names = law.laws.map(({ name }) => name).join(",");
  if (law.given?.includes("parameters") && new Set(points.map((p) => (p as Row)["parameters"])).size < points.length)
    throw new CpmError(
      "bad-input",
      `${path}: models of one size have losses after several numbers of tokens; --law ${names} is of parameters alone, --law chinchilla of both`,
      { file: path, field: "tokens" },
    );
  const of = (column: string) => (point: Partial<Point>) => (point as Row)[column]!;
  const choice =
    law.laws.length > 1 && law.size !== undefined
      ? wing.chooseLaw(law.laws, { points, value: of(law.value), size: of(law.size) })
      : undefined;
  const { name, fitter } = law.laws.find((one) => one.name === choice?.name) ?? law.laws[0]!;
  const measured = { points, fitter, value: of(law.value) };
  const options = numbers(args);
  const boot = wing.bootstrap(points, fitter, options);
  const at = atOf(args.text("at"), law);
  const foretold = at ? wing.extrapolate(measured, at as Partial<Point>, options) : undefined;
  const sizes = law.size === undefined ? 0 : new Set(points.map(of(law.size))).size;
  // The rest must still have as many sizes as the law needs.
  const held =
    law.size !== undefined && sizes > 3
      ? heldOut(() => wing.leaveLargestOut({ ...measured, size: of(law.size!) }, options))
      : undefined;
  const picture = wing.fitPicture(points, boot, {
    title: `${name}, ${plural(points.length, "point")}`,
    x: { name: law.across.name, of: of(law.across.name), log: law.across.log },
    y: { name: law.value, of: of(law.value), log: false },
    line: linesOf(points, law, at),
    series: law.series === undefined ? undefined : { name: law.series, of: of(law.series) },
    foretold: [
      ...(held === undefined || "refused" in held ? [] : [held]),
      ...(foretold === undefined ? [] : [{ ...foretold, at: at as Partial<Point> }]),
    ],
  });
  await save(picture, pictureTo(args, paint));
  if (args.flag("json")) return printJson({ ...told(boot.fit), intervals: boot.intervals, foretold, heldOut: held, choice });
  await write(
    `${choice ? saidChoice(choice) : ""}${table(rowsOf(boot))}\n${held ? saidHeld(held, law.value) : ""}${foretold ? saidAt(foretold, args.text("at")!, law.value) : ""}`,
  );
}

/** The largest point foretold from the others; why not, where they say nothing of it. */
function heldOut<T>(work: () => T): T | { readonly refused: string } {
  try {
    return work();
  } catch (error) {
    if (error instanceof CpmError) return { refused: error.message };
    throw error;
  }
}

const told = <P>({ kind, parameters, objective }: Fit<P>) => ({ kind, parameters, objective });
const rowsOf = <P>({ fit, intervals }: Bootstrap<P>): string[][] => [
  ["", "value", "95 %"],
  ...Object.entries(fit.parameters).map(([name, value]) => {
    const { low, high } = intervals[name]!;
    return [name, value.toPrecision(6), `${low.toPrecision(4)} to ${high.toPrecision(4)}`];
  }),
  ["objective", fit.objective.toPrecision(4), ""],
];
const saidHeld = (held: (Prediction & { actual: number; error: number }) | { refused: string }, value: string): string =>
  "refused" in held
    ? `the largest is not foretold: ${held.refused}\n`
    : `the largest, foretold from the others: ${value} ${held.value.toFixed(4)} (${held.low.toFixed(4)} to ${held.high.toFixed(4)}), measured ${held.actual.toFixed(4)}: ${(100 * held.error).toFixed(2)} % off\n`;
const saidChoice = ({ name, trials }: ReturnType<Wing["chooseLaw"]>): string =>
  `law: ${name} (the second largest, foretold from those below it: ${trials
    .map(
      (trial) => `${trial.name} ${trial.error === undefined ? "has no fit to them" : `${(100 * trial.error).toFixed(2)} % off`}`,
    )
    .join(", ")})\n\n`;
const saidAt = ({ value, low, high }: Prediction, at: string, name: string): string =>
  `at ${at}: ${name} ${value.toFixed(4)} (${low.toFixed(4)} to ${high.toFixed(4)})\n`;

/** "parameters=8e9,tokens=8e12". */
function atOf<Point>(text: string | undefined, { columns, given, value }: Law<Point>): Record<string, number> | undefined {
  if (text === undefined) return undefined;
  const at = Object.fromEntries(text.split(",").map((part) => part.split("=").map((s) => s.trim()) as [string, string]));
  const wanted = given ?? columns.filter((column) => column !== value);
  const right =
    Object.keys(at).length === wanted.length && wanted.every((column) => Number.isFinite(Number(at[column] || Number.NaN)));
  if (!right) throw new UsageError(`--at: expected ${wanted.map((column) => `${column}=N`).join(",")}, found "${text}"`);
  return Object.fromEntries(wanted.map((column) => [column, Number(at[column])]));
}

/** Where a law is drawn, for each value of its series. */
function linesOf<Point extends object>(
  points: readonly Point[],
  law: Law<Point>,
  at: Record<string, number> | undefined,
): Point[] {
  const { series } = law;
  if (series === undefined) return lineOf(points, law, at);
  const values = [...new Set([...points.map((point) => (point as Row)[series]!), ...(at ? [at[series]!] : [])])];
  return values
    .sort((a, b) => a - b)
    .flatMap((value) => lineOf(points, law, at).map((point) => ({ ...point, [series]: value }) as Point));
}

/** Where a law is drawn: from the least to the largest across, as far as it is asked for; other columns as the largest point has them. */
function lineOf<Point extends object>(
  points: readonly Point[],
  { across, value }: Law<Point>,
  at: Record<string, number> | undefined,
): Point[] {
  const values = points.map((point) => (point as Row)[across.name]!);
  const [least, most] = [Math.min(...values), Math.max(...values, at?.[across.name] ?? Number.NEGATIVE_INFINITY)];
  const largest = points[values.indexOf(Math.max(...values))]!;
  return Array.from({ length: 48 }, (_, i) => {
    const share = i / 47;
    const x = across.log ? least * (most / least) ** share : least + (most - least) * share;
    return { ...largest, ...(share === 1 ? at : {}), [across.name]: x, [value]: 0 } as Point;
  });
}
