// Runs one measurement in a process of its own and reads how much memory that took.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";

/** Peak resident bytes of a living process, on Linux; undefined elsewhere. */
export function peakOf(pid) {
  try {
    return Number(/^VmHWM:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) * 1024;
  } catch {
    return undefined;
  }
}

/**
 * Starts command with arguments, waits for its one line of JSON, reads its peak memory if it holds still, and ends it.
 * Gives the object with `peakRss`, or { error }.
 */
export async function runOne(command, args, { timeout = 300_000, hold = true, cwd } = {}) {
  const child = spawn(command, [...args, ...(hold ? ["--hold"] : [])], { stdio: ["ignore", "pipe", "pipe"], cwd });
  const ended = new Promise((done) => {
    child.once("exit", done);
    child.once("error", done);
  });
  let output = "";
  let complaints = "";
  child.stderr.on("data", (chunk) => (complaints = (complaints + chunk).slice(-2000)));
  let timer;
  const line = await Promise.race([
    new Promise((done) => child.stdout.on("data", (chunk) => (output += chunk).includes("}\n") && done(output))),
    ended.then(() => output),
    new Promise((done) => (timer = setTimeout(done, timeout, undefined))),
  ]);
  clearTimeout(timer);
  const peakRss = peakOf(child.pid);
  if (child.exitCode === null && child.signalCode === null) {
    child.kill("SIGTERM");
    const slow = setTimeout(() => child.kill("SIGKILL"), 3000);
    await ended;
    clearTimeout(slow);
  }
  if (line === undefined) return { error: `no result in ${timeout / 1000} s` };
  try {
    const result = JSON.parse(line.trim().split("\n").at(-1));
    return { ...result, peakRss: result.peakRss ?? peakRss ?? result.rss };
  } catch {
    return { error: `it gave no result: ${(complaints || output).trim().slice(-300)}` };
  }
}
