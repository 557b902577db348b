// A profile as a table.
import type { EngineInfo, Profile, ProfileEntry } from "../index.ts";
import { plural, short, table } from "./output.ts";
import { visibleLine } from "./visible.ts";

export function profileTitle({ config, variant, turbo }: EngineInfo, { stepMs, context, threads, steps }: Profile): string {
  const how = `${plural(threads, "thread")}, ${variant} kernels${turbo ? " with turbo" : ""}`;
  return `${visibleLine(config.name)}: ${short(stepMs)} ms per token after ${context} tokens (${how}; median of ${plural(steps, "step")})`;
}

/** Milliseconds a token by kind of operation; what was read and multiplied a second, and its share of this machine's peak. */
export function profileTable({ entries, stepMs, readGBs, dotGOPs }: Profile): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)}`;
  const row = ({ name, ms, kind, bytes, operations }: ProfileEntry) => {
    const rate = (amount: number | undefined) => (amount === undefined || ms === 0 ? undefined : amount / ms / 1e6);
    const [read, multiplied] = [rate(bytes), rate(operations)];
    const dots = kind !== undefined && (kind.startsWith("int") || kind === "ternary");
    return [
      name,
      kind ?? "",
      ms.toFixed(3),
      percent(ms / stepMs),
      read === undefined ? "" : short(read),
      read === undefined ? "" : percent(read / readGBs),
      multiplied === undefined ? "" : short(multiplied),
      multiplied === undefined || !dots ? "" : percent(multiplied / dotGOPs),
    ];
  };
  const head = ["operation", "weights", "ms", "%", "GB/s", "% of peak", "GOP/s", "% of peak"];
  const peaks = `peaks in these threads: ${short(readGBs)} GB/s read, ${short(dotGOPs)} GOP/s of 8-bit dot products`;
  return `${table([head, ...entries.map(row)])}\n\n${peaks}`;
}
