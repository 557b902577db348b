// Running other programs: with a time limit, and a protocol of one JSON object per line behind a mark.
import { spawn } from "node:child_process";

export const MARK = "@@ ";

/** Programs that run now. They have groups of their own, so that whatever they start ends with them, and end with this process. */
const running = new Set();
process.on("exit", () => running.forEach(endGroup));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

function start(command, args, { cwd, env = {} }) {
  const options = { cwd, env: { ...process.env, ...quiet, ...env }, stdio: ["ignore", "pipe", "pipe"], detached: true };
  const child = spawn(command, args, options);
  running.add(child);
  child.on("close", () => running.delete(child));
  child.on("error", () => running.delete(child));
  return child;
}

/**
 * Runs a program to its end. Gives { code, output, ms }: code null when it was ended after `limitMs`.
 * `onObject` gets what it printed as MARK and JSON on a line of their own; everything else is in `output`.
 */
export function run(command, args, { cwd, env = {}, limitMs = 480_000, onObject = () => {} } = {}) {
  const started = performance.now();
  const child = start(command, args, { cwd, env });
  let output = "";
  let rest = "";
  const take = (line) => {
    if (line.startsWith(MARK)) onObject(JSON.parse(line.slice(MARK.length)));
    else output += `${line}\n`;
  };
  child.stdout.setEncoding("utf8").on("data", (data) => {
    const lines = (rest + data).split("\n");
    rest = lines.pop();
    for (const line of lines) take(line);
  });
  child.stderr.setEncoding("utf8").on("data", (data) => {
    output += data;
  });
  return new Promise((resolve) => {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      endGroup(child);
    }, limitMs);
    const end = (code) => {
      clearTimeout(timer);
      if (rest) take(rest);
      resolve({ code: late ? null : code, output, ms: performance.now() - started });
    };
    child.on("error", (error) => {
      output += error.message;
      end(-1);
    });
    child.on("close", (code, signal) => end(code ?? `signal ${signal}`));
  });
}

/** Starts a program that runs until `end()`, which also ends whatever it started. */
export function serve(command, args, { cwd, env = {} } = {}) {
  const child = start(command, args, { cwd, env });
  const state = { pid: child.pid, output: "", ended: false, end };
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (data) => {
      state.output += data;
    });
  const closed = new Promise((resolve) => {
    const done = () => {
      state.ended = true;
      resolve();
    };
    child.on("close", done);
    child.on("error", (error) => {
      state.output += error.message;
      done();
    });
  });
  async function end() {
    if (!state.ended) endGroup(child);
    await closed;
  }
  return state;
}

function endGroup(child) {
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    child.kill("SIGKILL");
  }
}

/** No runtime should look for updates, report anything or colour its output. */
const quiet = { DENO_NO_UPDATE_CHECK: "1", DENO_NO_PROMPT: "1", DO_NOT_TRACK: "1", NO_COLOR: "1", NODE_OPTIONS: "" };

/** Tries `work` until it gives something, for at most `limitMs`. */
export async function until(work, limitMs = 60_000) {
  const end = performance.now() + limitMs;
  for (;;) {
    const value = await work();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) return undefined;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
