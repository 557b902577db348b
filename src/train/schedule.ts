// Learning rates over a run: warm-up, stable, decay (MiniCPM's WSD), cosine, linear.
import { CpmError } from "../errors.ts";
import { shown } from "../shown.ts";

/** Updates count from 1. */
export type Schedule =
  | {
      /** Peak up to `stableEnd`, then halved every `halfLife` updates, but not below `floor`. */
      readonly kind: "exponential";
      readonly peak: number;
      readonly warmup: number;
      readonly stableEnd: number;
      readonly halfLife: number;
      readonly floor?: number | undefined;
    }
  | {
      /** Peak up to `stableEnd`, then to `floor` within `decaySteps`: along 1 - x, 1 - sqrt x, or half a cosine. */
      readonly kind: "linear" | "1-sqrt" | "cosine";
      readonly peak: number;
      readonly warmup: number;
      readonly stableEnd: number;
      readonly decaySteps: number;
      readonly floor?: number | undefined;
    }
  | { readonly kind: "constant"; readonly peak: number; readonly warmup: number };

/** @throws CpmError "bad-option" */
export function checkSchedule(s: Schedule): void {
  const numbers = Object.entries(s).filter(([key, value]) => key !== "kind" && value !== undefined);
  for (const [field, value] of numbers)
    if (typeof value !== "number" || !(value >= 0 && Number.isFinite(value)))
      throw new CpmError("bad-option", `schedule.${field}: expected a number from 0 on, found ${shown(value)}`, {
        field: `schedule.${field}`,
        expected: "a number from 0 on",
        found: shown(value),
      });
  const above = s.kind === "exponential" ? "halfLife" : s.kind === "constant" ? "peak" : "decaySteps";
  const needed = ["peak", "warmup", above, ...(s.kind === "constant" ? [] : ["stableEnd"])];
  const missing = needed.find((field) => !numbers.some(([key]) => key === field));
  if (!["exponential", "linear", "1-sqrt", "cosine", "constant"].includes(s.kind) || missing)
    throw new CpmError("bad-option", `schedule: ${missing ? `${missing} is missing` : `no kind "${shown(s.kind)}"`}`, {
      field: `schedule.${missing ?? "kind"}`,
    });
}

/** The learning rate of update `step`, the first being 1. */
export function rateAt(step: number, s: Schedule): number {
  if (step <= s.warmup) return (s.peak * step) / s.warmup;
  if (s.kind === "constant" || step <= s.stableEnd) return s.peak;
  const floor = s.floor ?? 0;
  if (s.kind === "exponential") return Math.max(floor, s.peak * 0.5 ** ((step - s.stableEnd) / s.halfLife));
  const x = Math.min((step - s.stableEnd) / s.decaySteps, 1);
  const fall = s.kind === "linear" ? 1 - x : s.kind === "1-sqrt" ? 1 - Math.sqrt(x) : (1 + Math.cos(Math.PI * x)) / 2;
  return floor + (s.peak - floor) * fall;
}
