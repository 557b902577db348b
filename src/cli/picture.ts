// Pictures: which blocks each position attended to, where the time of a token goes. Vega-Lite specifications, and SVGs of them
// where Vega is installed.
import { type BlockTrace, CpmError, type Profile } from "../index.ts";
import { checkPlace, writeFileWhole } from "./output.ts";

/** A run of neighbouring blocks that one position attended to, in one layer and KV head: tokens [first, end). */
export interface Run {
  readonly layer: number;
  readonly head: number;
  readonly position: number;
  readonly first: number;
  readonly end: number;
}

/** The runs of a trace, in its order. */
export function runsOf(trace: BlockTrace): Run[] {
  const { layers, kvHeads, positions, blocks, blockSize, chosen } = trace;
  const rowBytes = Math.ceil(blocks / 8);
  const runs: Run[] = [];
  for (let row = 0; row < layers * kvHeads * positions.length; row++) {
    const position = positions[row % positions.length]!;
    const place = Math.floor(row / positions.length);
    const taken = (b: number) => ((chosen[row * rowBytes + (b >> 3)]! >> (b & 7)) & 1) === 1;
    for (let b = 0; b < blocks; b++) {
      if (!taken(b)) continue;
      const first = b;
      while (b + 1 < blocks && taken(b + 1)) b++;
      const end = Math.min((b + 1) * blockSize, position + 1);
      runs.push({ layer: Math.floor(place / kvHeads), head: place % kvHeads, position, first: first * blockSize, end });
    }
  }
  return runs;
}

/** A Vega-Lite specification: one panel a layer and KV head, positions downwards, the tokens that they attended to across. */
export function pictureOf(trace: BlockTrace, title: string): Record<string, unknown> {
  const { positions } = trace;
  const last = positions.at(-1)! + 1;
  const step = positions.length > 1 ? positions[1]! - positions[0]! : 1;
  const axis = (name: string, more: object) => ({
    type: "quantitative",
    title: name,
    scale: { domain: [0, last], nice: false },
    ...more,
  });
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title,
    data: { values: runsOf(trace) },
    transform: [{ calculate: `datum.position + ${step}`, as: "below" }],
    facet: { row: { field: "layer", title: "layer" }, column: { field: "head", title: "KV head" } },
    spec: {
      width: 220,
      height: 220,
      mark: { type: "rect", color: "#2a6f97" },
      encoding: {
        x: { field: "first", ...axis("tokens attended to", { axis: { tickCount: 4 } }) },
        x2: { field: "end" },
        y: {
          field: "position",
          ...axis("position", { scale: { domain: [0, last], nice: false, reverse: true }, axis: { tickCount: 4 } }),
        },
        y2: { field: "below" },
      },
    },
  };
}

/** A Vega-Lite specification: a bar for each kind of operation. */
export function profilePicture({ entries, stepMs }: Profile, title: string): Record<string, unknown> {
  const values = entries.map(({ name, ms, kind }) => ({
    name,
    ms,
    kind: kind ?? "no weights",
    label: `${ms.toFixed(2)} ms, ${((100 * ms) / stepMs).toFixed(1)} %`,
  }));
  const y = { field: "name", type: "nominal", title: null, sort: null };
  const x = { field: "ms", type: "quantitative", title: "milliseconds per token" };
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title,
    data: { values },
    width: 480,
    encoding: { y, x },
    layer: [
      {
        mark: { type: "bar" },
        encoding: {
          color: {
            field: "kind",
            type: "nominal",
            title: "weights",
            scale: { range: ["#2a6f97", "#bc6c25", "#8d99ae", "#606c38"] },
          },
        },
      },
      { mark: { type: "text", align: "left", dx: 4 }, encoding: { text: { field: "label", type: "nominal" } } },
    ],
  };
}

type Painter = (spec: Record<string, unknown>) => Promise<string>;

/** Writes a picture's specification, its SVG, or both. Rejects with CpmError "io" where a file cannot be written. */
export async function save(
  picture: Record<string, unknown>,
  to: { readonly spec: string | undefined; readonly svg: string | undefined; readonly paint: Painter | undefined },
): Promise<void> {
  if (to.spec) await writeFileWhole(to.spec, `${JSON.stringify(picture)}\n`, "--spec");
  if (to.svg && to.paint) await writeFileWhole(to.svg, await to.paint(picture), "--svg");
}

interface Vega {
  parse(spec: unknown): unknown;
  View: new (runtime: unknown, options: { renderer: "none" }) => { toSVG(): Promise<string>; finalize(): unknown };
}
interface VegaLite {
  compile(spec: unknown): { readonly spec: unknown };
}

/** Vega draws; 25 MB in 75 packages, so whoever wants pictures installs it. */
async function packages(): Promise<[Vega, VegaLite]> {
  const names: readonly string[] = ["vega", "vega-lite"];
  try {
    return (await Promise.all(names.map((name) => import(name)))) as [Vega, VegaLite];
  } catch (cause) {
    const what = "drawing an SVG takes the packages vega and vega-lite, which are not installed beside cpm-wasm";
    throw new CpmError(
      "unsupported",
      `${what}: npm install vega vega-lite, or write the specification with --spec`,
      { field: "svg" },
      { cause },
    );
  }
}

/**
 * Gets ready for `save`: what an SVG takes is loaded, and the places are looked at. Call it before hours of computing.
 * Rejects with CpmError "unsupported" where drawing is not installed, "io" where a file cannot be put.
 */
export async function readyToSave(spec: string | undefined, svg: string | undefined): Promise<Parameters<typeof save>[1]> {
  await checkPlace(spec, "--spec");
  await checkPlace(svg, "--svg");
  return { spec, svg, paint: svg === undefined ? undefined : await painter() };
}

/** Loads what drawing takes. Call it before hours of computing. Rejects with CpmError "unsupported" where it is not installed. */
export async function painter(): Promise<Painter> {
  const [vega, vegaLite] = await packages();
  return async (spec) => {
    const view = new vega.View(vega.parse(vegaLite.compile(spec).spec), { renderer: "none" });
    const svg = await view.toSVG();
    view.finalize();
    return svg;
  };
}
