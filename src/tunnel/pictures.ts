// Fits and checks as pictures: Vega-Lite specifications.
import type { CoordinateCheck } from "./coordinates.ts";
import type { Bootstrap } from "./intervals.ts";
import type { Transfer } from "./sweep.ts";

const SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json";
const BLUE = "#2a6f97";
const RUST = "#bc6c25";

export interface FitPictureOptions<Point> {
  readonly title: string;
  /** What lies across and up. */
  readonly x: { readonly name: string; of(point: Point): number; readonly log: boolean };
  readonly y: { readonly name: string; of(point: Point): number; readonly log: boolean };
  /** Where the law is drawn: points of the line, in order. */
  readonly line: readonly Point[];
  /** What else the law takes: a line and a colour for each of its values. */
  readonly series?: { readonly name: string; of(point: Point): number } | undefined;
}

/** Measurements, the law through them, and the band of its bootstrap interval. */
export function fitPicture<Point>(
  points: readonly Point[],
  boot: Bootstrap<Point>,
  options: FitPictureOptions<Point>,
): Record<string, unknown> {
  const { title, x, y, line, series } = options;
  const scale = (log: boolean) => (log ? { type: "log", nice: false } : { zero: false });
  const of = (point: Point) => (series ? { of: series.of(point) } : {});
  const coloured = (plain: string) =>
    series ? { color: { field: "of", type: "ordinal", title: series.name } } : { color: { value: plain } };
  const law = line.map((point) => {
    const { value, low, high } = boot.predict(point as Partial<Point>);
    return { x: x.of(point), value, low, high, ...of(point) };
  });
  const across = { field: "x", type: "quantitative", title: x.name, scale: scale(x.log) };
  return {
    $schema: SCHEMA,
    title,
    width: 480,
    height: 320,
    layer: [
      {
        data: { values: law },
        mark: { type: "area", opacity: 0.2 },
        encoding: {
          x: across,
          ...coloured(BLUE),
          y: { field: "low", type: "quantitative", title: y.name, scale: scale(y.log) },
          y2: { field: "high" },
        },
      },
      {
        data: { values: law },
        mark: { type: "line" },
        encoding: { x: across, y: { field: "value", type: "quantitative" }, ...coloured(BLUE) },
      },
      {
        data: { values: points.map((point) => ({ x: x.of(point), y: y.of(point), ...of(point) })) },
        mark: { type: "point", filled: true, opacity: 1 },
        encoding: { x: across, y: { field: "y", type: "quantitative" }, ...coloured(RUST) },
      },
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
