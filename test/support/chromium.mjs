// Headless Chromium, as tests and benches start it.
import { readdirSync, readFileSync } from "node:fs";

export const chromiumFlags = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Peak resident bytes (VmHWM) of a browser's processes, the largest of each kind ("renderer", "network", …), on Linux; elsewhere none. */
export function peaksOf(browser) {
  const found = {};
  const all = new Map();
  let names = [];
  try {
    names = readdirSync("/proc");
  } catch {}
  for (const pid of names.filter((name) => /^\d+$/.test(name)))
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      all.set(Number(pid), {
        parent: Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]),
        peak: 1024 * Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0),
        line: readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " "),
      });
    } catch {}
  for (const [pid, { peak, line }] of all) {
    let up = pid;
    while (up && up !== browser) up = all.get(up)?.parent;
    if (!up) continue;
    const type = /--type=(\S+)/.exec(line)?.[1] ?? "browser";
    const kind = /network/.test(/--utility-sub-type=(\S+)/.exec(line)?.[1] ?? "") ? "network" : type;
    found[kind] = Math.max(found[kind] ?? 0, peak);
  }
  return found;
}
