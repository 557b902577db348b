// A run of learning from rewards as a picture: a Vega-Lite specification.
import type { RolloutEntry } from "./run.ts";

const PANELS = [
  ["reward", "reward"],
  ["length", "tokens of an answer"],
  ["staleness", "policies since the tokens were chosen"],
  ["clipShare", "share of tokens that the clips hold"],
  ["idle", "share of idle places"],
] as const;

/** Reward (and that of held-out prompts), length, staleness, clip share and idle share by step. */
export function rolloutPicture(log: readonly RolloutEntry[], title: string): Record<string, unknown> {
  const values = log.flatMap((entry): { step: number; what: string; value: number; of: string }[] => {
    if (entry.kind === "heldOut") return [{ step: entry.step, what: "reward", value: entry.reward, of: "held out" }];
    const all = {
      reward: entry.reward,
      length: entry.length,
      idle: entry.work.idle,
      staleness: entry.update?.staleness,
      clipShare: entry.update?.clipShare,
    };
    return Object.entries(all).flatMap(([what, value]) =>
      value === undefined ? [] : [{ step: entry.step, what, value, of: "rollouts" }],
    );
  });
  // One axis for all: updates begin later than steps.
  const domain = [log[0]?.step ?? 0, log.at(-1)?.step ?? 1];
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title,
    data: { values },
    spacing: 14,
    vconcat: PANELS.map(([what, name], i) => ({
      title: { text: name, anchor: "start", fontSize: 11, fontWeight: "normal" },
      width: 480,
      height: 110,
      transform: [{ filter: `datum.what === "${what}"` }],
      mark: { type: "line", strokeWidth: 1.2 },
      encoding: {
        x: { field: "step", type: "quantitative", title: i === PANELS.length - 1 ? "step" : null, scale: { domain } },
        y: { field: "value", type: "quantitative", title: null },
        color: {
          field: "of",
          type: "nominal",
          title: null,
          scale: { domain: ["rollouts", "held out"], range: ["#2a6f97", "#bc6c25"] },
        },
      },
    })),
  };
}
