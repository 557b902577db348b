// A run of learning from rewards as one HTML file, as training has it.
import { type Chart, type ChartLine, pageOf, type ReportAbout, smoothed } from "../report.ts";
import type { LearnerStep } from "./learner.ts";
import type { RolloutEntry } from "./run.ts";

const [BLUE, BROWN, GREEN] = ["#2a6f97", "#bc6c25", "#606c38"];

/** Reward, length, staleness, clip share, idle share, distance and time by step. */
export function rolloutPage(log: readonly RolloutEntry[], about: ReportAbout): string {
  const steps = log.filter((entry) => entry.kind === "step");
  const heldOut = log.filter((entry) => entry.kind === "heldOut");
  const line = (
    name: string,
    colour: string,
    of: (step: LearnerStep) => number | undefined,
    more: Partial<ChartLine> = {},
  ): ChartLine => ({
    name,
    colour,
    points: steps.flatMap((step): [number, number][] => {
      const value = of(step);
      return value === undefined ? [] : [[step.step, value]];
    }),
    ...more,
  });
  const reward = line("", BLUE, (step) => step.reward, { faint: true });
  const held = (name: string, of: (entry: (typeof heldOut)[0]) => number): ChartLine => ({
    name,
    colour: BROWN,
    points: heldOut.map((entry): [number, number] => [entry.step, of(entry)]),
    dots: true,
  });
  const span = Math.max(1, Math.min(50, steps.length / 20));
  const stages: readonly number[] = [];
  const charts: Chart[] = [
    {
      title: "reward",
      stages,
      lines: [
        reward,
        { ...reward, name: "rollouts", points: smoothed(reward.points, span), faint: false },
        held("held out", (e) => e.reward),
      ],
    },
    { title: "tokens of an answer", stages, lines: [line("rollouts", BLUE, (s) => s.length), held("held out", (e) => e.length)] },
    { title: "share of idle places", stages, lines: [line("", GREEN, (s) => s.work.idle)] },
    {
      title: "policies since tokens were chosen",
      stages,
      lines: [line("mean", BLUE, (s) => s.update?.staleness), line("most", BROWN, (s) => s.update?.stalest)],
    },
    { title: "share of tokens that the clips hold", stages, lines: [line("", BLUE, (s) => s.update?.clipShare)] },
    { title: "distance from the reference (KL)", stages, lines: [line("", GREEN, (s) => s.update?.kl)] },
    { title: "gradient norm", stages, log: true, lines: [line("", GREEN, (s) => s.update?.norm)] },
    {
      title: "seconds of a step",
      stages,
      lines: [
        line("rollouts", BLUE, (s) => s.ms.rollout / 1000),
        line("update", BROWN, (s) => s.ms.update / 1000),
        line("new weights", GREEN, (s) => s.ms.load / 1000),
      ],
    },
  ];
  // One axis for all: updates begin later than steps.
  const numbers = log.map(({ step }) => step);
  const across = numbers.length > 0 ? ([numbers[0]!, numbers.at(-1)!] as const) : undefined;
  return pageOf(
    about,
    charts.map((chart) => ({ ...chart, across })),
  );
}
