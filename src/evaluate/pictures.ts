// Pictures of measurements, as Vega-Lite specifications.
import type { Perplexity } from "./perplexity.ts";

const SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json";

/** Perplexity by position in the chunk; with a base also the divergence from it by percentile of the tokens. */
export function perplexityPicture(found: Perplexity, title: string): Record<string, unknown> {
  const byPosition = {
    title: "perplexity by position",
    width: 480,
    height: 200,
    data: { values: found.positions.map(({ from, to, perplexity }) => ({ from, to, perplexity })) },
    mark: { type: "rule", size: 2, color: "#2a6f97" },
    encoding: {
      x: {
        field: "from",
        type: "quantitative",
        title: "position in the chunk",
        scale: { domain: [found.from, found.contextSize], nice: false },
      },
      x2: { field: "to" },
      y: { field: "perplexity", type: "quantitative", title: "perplexity", scale: { zero: false } },
    },
  };
  if (!found.divergences) return { $schema: SCHEMA, ...byPosition, title };
  // What is below the resolution of the file's codes tells nothing on a logarithmic axis.
  const values = found.divergences.map((kl, percent) => ({ percent, kl })).filter(({ kl }) => kl > 1e-7);
  const byPercentile = {
    title: `KL(base ‖ model) by percentile, mean ${found.divergence!.mean.value.toPrecision(3)} nats`,
    width: 480,
    height: 200,
    data: { values },
    mark: { type: "line", color: "#bc6c25" },
    encoding: {
      x: { field: "percent", type: "quantitative", title: "percent of the tokens", scale: { domain: [0, 100] } },
      y: { field: "kl", type: "quantitative", title: "KL, nats", scale: { type: "log" }, axis: { tickCount: 5, format: "~e" } },
    },
  };
  return { $schema: SCHEMA, title, vconcat: [byPosition, byPercentile] };
}
