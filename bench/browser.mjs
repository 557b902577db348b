// Measures an engine on a page of headless Chromium: ours, or wllama 2 or 3.
//   node bench/browser.mjs MODEL [--engine ours|wllama2|wllama3] [--threads 1] [--variant auto|base|relaxed] [--prompt 512] [--decode 64]
// CHROMIUM names the browser (default: chromium on the PATH). A fresh profile each time; the model comes over HTTP from this process.
import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromiumFlags, peaksOf } from "../test/support/chromium.mjs";
import { engineArguments, report } from "./lib/arguments.mjs";
import { serve } from "./lib/server.mjs";

const FLAGS = [
  ...chromiumFlags,
  "--disable-default-apps",
  "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding",
];

/** Chromium's helpers outlive it for a moment and may still write. */
async function remove(folder) {
  for (let tries = 0; tries < 20; tries++) {
    try {
      return await rm(folder, { recursive: true, force: true });
    } catch {
      await new Promise((done) => setTimeout(done, 250));
    }
  }
}

/** Runs one measurement; gives what the page posted, with peakRss. Throws after `timeout` ms. */
export async function measureOnPage(options, timeout = 300_000) {
  const model = resolve(options.model);
  const profile = mkdtempSync(join(tmpdir(), "bench-chromium-"));
  let answer;
  const answered = new Promise((done) => (answer = done));
  const server = await serve({ "/model.gguf": model }, (_, value) => answer(value));
  const hash = encodeURIComponent(JSON.stringify({ ...options, model: undefined, modelAddress: "/model.gguf", id: "1" }));
  const address = `http://127.0.0.1:${server.port}/bench/page/index.html#${hash}`;
  const browser = spawn(process.env.CHROMIUM ?? "chromium", [...FLAGS, `--user-data-dir=${profile}`, address], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = new Promise((done) => browser.once("exit", done));
  // However this process ends, its browser ends too.
  const kill = () => browser.kill("SIGKILL");
  process.once("exit", kill);
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
  let complaints = "";
  browser.stderr.on("data", (chunk) => (complaints = (complaints + chunk).slice(-4000)));
  let timer;
  try {
    const result = await Promise.race([
      answered,
      ended.then((code) => ({ error: `Chromium ended with ${code}: ${complaints.slice(-500)}` })),
      new Promise((done) => (timer = setTimeout(done, timeout, { error: `no result in ${timeout / 1000} s` }))),
      new Promise((_, fail) => browser.once("error", fail)),
    ]);
    return { ...result, peakRss: result.error ? undefined : peaksOf(browser.pid).renderer };
  } finally {
    clearTimeout(timer);
    server.close();
    if (browser.pid && browser.exitCode === null) {
      browser.kill("SIGTERM");
      const slow = setTimeout(() => browser.kill("SIGKILL"), 5000);
      await ended;
      clearTimeout(slow);
    }
    process.off("exit", kill);
    await remove(profile);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const argv = process.argv.slice(2);
  const at = argv.indexOf("--engine");
  const engine = at < 0 ? "ours" : argv.splice(at, 2)[1];
  await report(await measureOnPage({ ...engineArguments(argv), engine }), false);
}
