// The picture of a run, as a Vega-Lite specification.
import type { QuantizeReport } from "./report.ts";

/** What a tensor is within its layer, and which layer that is; undefined for those outside. */
function placeOf(name: string): { layer: number; linear: string } | undefined {
  const found = /(?:^|\.)(?:blk|layers)\.(\d+)\.(.+?)(?:\.weight)?$/.exec(name);
  return found ? { layer: Number(found[1]), linear: found[2]!.replace(/^(?:self_attn|mlp)\./, "") } : undefined;
}

/**
 * The error of every tensor that was quantised: the root of its squared error over the sum of squares, in percent, for the linears by layer,
 * and below them for what lies outside the layers. Tensors that were copied have none.
 */
export function quantizePicture({ tensors, bitsPerWeight }: QuantizeReport, title: string): Record<string, unknown> {
  const values = tensors
    .filter(({ how, relativeError }) => how !== "copied" && relativeError > 0)
    .map(({ name, type, how, relativeError }) => ({
      ...(placeOf(name) ?? { name: name.replace(/\.weight$/, "") }),
      type,
      how,
      error: 100 * Math.sqrt(relativeError),
    }));
  const within = values.filter((value) => "layer" in value);
  const outside = values.filter((value) => !("layer" in value));
  const error = { field: "error", type: "quantitative", title: "error, percent", scale: { zero: true } };
  const layers = {
    width: 480,
    height: 240,
    data: { values: within },
    mark: { type: "line", point: { size: 40 } },
    encoding: {
      x: {
        field: "layer",
        type: "quantitative",
        title: "layer",
        axis: { tickMinStep: 1, format: "d" },
        scale: { nice: false, padding: 8 },
      },
      y: error,
      color: { field: "linear", type: "nominal", title: "linear", scale: { scheme: "tableau10" } },
      shape: { field: "type", type: "nominal", title: "type" },
    },
  };
  const others = {
    width: 480,
    data: { values: outside },
    mark: { type: "bar", color: "#2a6f97" },
    encoding: { x: error, y: { field: "name", type: "nominal", title: null } },
  };
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title: `${title}, ${bitsPerWeight.toFixed(2)} bits a weight: error of every tensor`,
    vconcat: [...(within.length ? [layers] : []), ...(outside.length ? [others] : [])],
  };
}
