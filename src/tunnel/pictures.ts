// Fits and checks as pictures: Vega-Lite specifications.
import type { CoordinateCheck } from "./coordinates.ts";
import type { Bootstrap, Interval } from "./intervals.ts";
import type { Transfer } from "./sweep.ts";

const SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json";
const BLUE = "#2a6f97";
const RUST = "#bc6c25";
const GREEN = "#606c38";

export interface FitPictureOptions<Point> {
  readonly title: string;
  /** What lies across and up. */
  readonly x: { readonly name: string; of(point: Point): number; readonly log: boolean };
  readonly y: { readonly name: string; of(point: Point): number; readonly log: boolean };
  /** Where the law is drawn: points of the line, in order. */
  readonly line: readonly Point[];
  /** What else the law takes: a line and a colour for each of its values. */
  readonly series?: { readonly name: string; of(point: Point): number } | undefined;
  /** Values foretold without a look there, with their intervals: the largest from the others, what was asked for. */
  readonly foretold?: readonly (Interval & { readonly at: Partial<Point>; readonly value: number })[] | undefined;
}

const [LAW, MEASURED, FORETOLD] = ["law, 95 %", "measured", "foretold"];

/** Measurements, the law through them with the band of its bootstrap interval, and what was foretold. */
export function fitPicture<Point>(
  points: readonly Point[],
  boot: Bootstrap<Point>,
  options: FitPictureOptions<Point>,
): Record<string, unknown> {
  const { title, x, y, line, series, foretold = [] } = options;
  const scale = (log: boolean) => (log ? { type: "log", nice: false } : { zero: false });
  const of = (point: Point) => (series ? { of: series.of(point) } : {});
  const shown = foretold.length > 0 ? [LAW, MEASURED, FORETOLD] : [LAW, MEASURED];
  const meaning = { title: null, scale: { domain: shown, range: [BLUE, RUST, GREEN] }, legend: { symbolOpacity: 1 } };
  // Colours tell the series apart; without one, what is law, measured or foretold.
  const coloured = (what: string) =>
    series
      ? { color: { field: "of", type: "ordinal", title: series.name, legend: { format: ".3~s", symbolOpacity: 1 } } }
      : { color: { datum: what, ...meaning } };
  const law = line.map((point) => {
    const { value, low, high } = boot.predict(point as Partial<Point>);
    return { x: x.of(point), value, low, high, ...of(point) };
  });
  const marks = foretold.map(({ at, value, low, high }) => ({ x: x.of(at as Point), value, low, high }));
  const across = {
    field: "x",
    type: "quantitative",
    title: x.name,
    scale: scale(x.log),
    ...(x.log ? { axis: { format: "~s", tickCount: 6 } } : {}),
  };
  const up = (field: string) => ({ field, type: "quantitative", title: y.name, scale: scale(y.log) });
  return {
    $schema: SCHEMA,
    title,
    width: 480,
    height: 320,
    layer: [
      {
        data: { values: law },
        mark: { type: "area", opacity: 0.2 },
        encoding: { x: across, ...coloured(LAW!), y: up("low"), y2: { field: "high" } },
      },
      {
        data: { values: law },
        mark: { type: "line" },
        encoding: { x: across, y: up("value"), ...coloured(LAW!) },
      },
      {
        data: { values: points.map((point) => ({ x: x.of(point), y: y.of(point), ...of(point) })) },
        mark: { type: "point", filled: true, opacity: 1 },
        encoding: { x: across, y: up("y"), ...coloured(MEASURED!) },
      },
      ...(marks.length === 0
        ? []
        : [
            {
              data: { values: marks },
              mark: { type: "rule", strokeWidth: 1.5, ...(series ? { color: GREEN } : {}) },
              encoding: { x: across, y: up("low"), y2: { field: "high" }, ...(series ? {} : coloured(FORETOLD!)) },
            },
            {
              data: { values: marks },
              mark: { type: "point", shape: "diamond", size: 90, strokeWidth: 1.5, ...(series ? { color: GREEN } : {}) },
              encoding: { x: across, y: up("value"), ...(series ? {} : coloured(FORETOLD!)) },
            },
          ]),
    ],
  };
}

/** Root mean squares of activations by width, a line for each layer. */
export function coordinatePicture({ rows }: CoordinateCheck, title: string): Record<string, unknown> {
  const values = rows.flatMap(({ width, stream }) =>
    stream.map((rms, place) => ({ width, rms, place: place === 0 ? "embedding" : `layer ${place}` })),
  );
  return {
    $schema: SCHEMA,
    title,
    width: 480,
    height: 260,
    data: { values },
    mark: { type: "line", point: true },
    encoding: {
      x: {
        field: "width",
        type: "quantitative",
        scale: { type: "log", base: 2, nice: false },
        axis: { values: rows.map(({ width }) => width) },
        title: "width",
      },
      y: { field: "rms", type: "quantitative", scale: { type: "log" }, title: "root mean square of the residual stream" },
      color: { field: "place", type: "nominal", title: null },
    },
  };
}

/** Loss by learning rate, a line for each size. */
export function transferPicture(rows: readonly Transfer[], title: string): Record<string, unknown> {
  const values = rows.flatMap(({ width, depth, losses }) =>
    losses.map(({ rate, loss }) => ({ rate, loss, size: `${width} x ${depth}` })),
  );
  return {
    $schema: SCHEMA,
    title,
    width: 480,
    height: 300,
    data: { values },
    mark: { type: "line", point: true },
    encoding: {
      x: {
        field: "rate",
        type: "quantitative",
        scale: { type: "log", nice: false },
        axis: { values: [...new Set(values.map(({ rate }) => rate))] },
        title: "peak learning rate",
      },
      y: { field: "loss", type: "quantitative", scale: { zero: false }, title: "loss, nats a token" },
      color: { field: "size", type: "nominal", title: "width x depth", sort: null },
    },
  };
}
