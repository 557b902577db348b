// From samples to the tables of RESULTS.md.
import { readFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const short = (x) => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));

/** "median (least–most)". */
export function spread(values) {
  if (values.length === 0) return "–";
  return values.length === 1
    ? short(values[0])
    : `${short(median(values))} (${short(Math.min(...values))}–${short(Math.max(...values))})`;
}

/** The machine in words: processor with family, model and what matters of its instructions, cores in use, memory. */
export function machine() {
  const list = cpus();
  let detail = "";
  try {
    const text = readFileSync("/proc/cpuinfo", "utf8");
    const field = (name) => new RegExp(`^${name}\\s*:\\s*(.*)$`, "m").exec(text)?.[1] ?? "";
    const flags = field("flags").split(" ");
    const known = ["avx2", "avx512f", "avx512_vnni", "avx_vnni"].filter((flag) => flags.includes(flag));
    detail = ` (family ${field("cpu family")}, model ${field("model")}; ${known.join(", ")})`;
  } catch {
    // Not Linux: the name must do.
  }
  return `${list[0]?.model.trim() ?? "unknown processor"}${detail}, ${list.length} logical processors, ${Math.round(totalmem() / 2 ** 30)} GiB`;
}

export const busy = () => loadavg()[0];

/** rows: { engine, runtime, build, note, samples: results of runOne }. */
export function table(rows) {
  const lines = [
    "| engine | runtime | build | prefill, tokens/s | decode, tokens/s | load, ms | peak memory, MB | |",
    "|---|---|---|---|---|---|---|---|",
  ];
  for (const row of rows) {
    const good = row.samples.filter((s) => !s.error);
    const name = `| ${row.engine} | ${good[0]?.about?.runtime ?? row.runtime} | ${row.build ?? ""}`;
    if (good.length === 0) {
      lines.push(`${name} | – | – | – | – | ${row.samples[0]?.error?.split(/[;\n]/)[0] ?? "not run"} |`);
      continue;
    }
    const all = (key) => good.flatMap((s) => s[key]);
    const memory = good.map((s) => s.peakRss / 1e6).filter(Number.isFinite);
    const failures = good.length < row.samples.length ? `${row.samples.length - good.length} runs failed` : "";
    const own = good.flatMap((s) => (s.ownClock ? [s.ownClock] : []));
    const clock = own.length
      ? `its own clock: ${short(median(own.flatMap((o) => o.prefillTokensPerSecond)))} / ${short(median(own.flatMap((o) => o.decodeTokensPerSecond)))}`
      : "";
    const notes = [row.note, clock, failures].filter(Boolean).join("; ");
    lines.push(
      `${name} | ${spread(all("prefillTokensPerSecond"))} | ${spread(all("decodeTokensPerSecond"))} | ${median(good.map((s) => s.loadMs)).toFixed(0)} | ${memory.length ? median(memory).toFixed(0) : "–"} | ${notes} |`,
    );
  }
  return lines.join("\n");
}
