// Fuzzes every parser of src/, guided by the branches that inputs reach:
//   node test/fuzz/run.mjs [--runs n] [--hours h] [--target name,…] [--seed n]
// Inputs that reached something new are kept in build/fuzz/corpus/ for the next time, findings in build/fuzz/findings/. Each target has a
// thread of its own, which is ended when it takes 1 GiB or an input two minutes. Ends with "N passed, N failed".
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { Session } from "node:inspector";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const root = fileURLToPath(new URL("../..", import.meta.url));
const out = join(root, "build/fuzz");
const bundle = join(out, "targets.mjs");
const MOST_BYTES = 1 << 16;
const BATCH = 24;
const MOST_KEPT = 2000;
const MOST_WAIT_MS = 120_000;
const LOOK_MS = 500;

if (isMainThread) await main();
else await fuzz(workerData);

async function main() {
  const { values } = parseArgs({
    options: {
      runs: { type: "string", default: "1500" },
      hours: { type: "string" },
      target: { type: "string" },
      seed: { type: "string", default: "1" },
    },
  });
  const { rolldown } = await import("rolldown");
  mkdirSync(out, { recursive: true });
  const build = await rolldown({ input: join(root, "test/fuzz/targets.ts"), platform: "node", logLevel: "silent" });
  await build.write({ file: bundle, format: "esm", codeSplitting: false });
  await build.close();
  const { targets } = await import(pathToFileURL(bundle).href);
  const wanted = values.target?.split(",");
  const all = (await targets()).filter(({ name }) => !wanted || wanted.some((one) => name.startsWith(one)));
  if (all.length === 0) throw new Error(`no target is called ${values.target}`);
  // Of a night every target gets its share.
  const ms = values.hours ? (Number(values.hours) * 3_600_000) / all.length : undefined;
  const counts = { passed: 0, failed: 0 };
  for (const { name, share = 1 } of all) {
    const runs = ms === undefined ? Math.max(BATCH, Math.round(Number(values.runs) * share)) : Number.POSITIVE_INFINITY;
    const report = await watched({ name, runs, seed: Number(values.seed), ms });
    const good = report.findings.length === 0;
    counts[good ? "passed" : "failed"]++;
    console.log(
      `${good ? "ok    " : "FAILED"} ${name}: ${report.runs} inputs, ${report.worked} worked, ${report.refused} refused, ${report.corpus} kept, ${report.branches} branches`,
    );
    for (const { file, message } of report.findings)
      console.log(`         ${file}\n         ${message.replaceAll("\n", "\n         ")}`);
  }
  console.log(`\n${counts.passed} passed, ${counts.failed} failed`);
  process.exit(counts.failed ? 1 : 0);
}

/** One target in a thread; a thread that dies or stands still is a finding, and its input is kept. */
function watched(data) {
  const beat = new Int32Array(new SharedArrayBuffer(4));
  const last = new SharedArrayBuffer(4 + MOST_BYTES * 2);
  const worker = new Worker(fileURLToPath(import.meta.url), {
    workerData: { ...data, beat, last },
    resourceLimits: { maxOldGenerationSizeMb: 1024 },
  });
  return new Promise((resolve) => {
    let seen = { runs: 0, worked: 0, refused: 0, corpus: 0, branches: 0, findings: [] };
    // By looks and not by the clock: a process that was stopped for a while has not stood still.
    let [beats, looks] = [0, 0];
    let over = false;
    const done = (report) => {
      over = true;
      clearInterval(timer);
      void worker.terminate();
      resolve(report);
    };
    const lost = (message) => {
      // Ending the thread is no finding.
      if (over) return;
      const length = new Int32Array(last)[0];
      const input = new Uint8Array(last, 4, length).slice();
      done({ ...seen, findings: [...seen.findings, keep("findings", data.name, input, message)] });
    };
    const timer = setInterval(() => {
      if (beat[0] !== beats) [beats, looks] = [beat[0], 0];
      else if (++looks * LOOK_MS > MOST_WAIT_MS) lost("the input takes over two minutes");
    }, LOOK_MS);
    worker.on("message", ({ report, ended }) => {
      seen = report;
      if (ended) done(report);
    });
    worker.on("error", (error) => lost(`the thread died: ${error?.stack ?? error}`));
    worker.on("exit", (code) => {
      if (code !== 0) lost(`the thread ended with ${code}`);
    });
  });
}

function keep(kind, name, input, message = "") {
  const folder = join(out, kind, name);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, createHash("sha256").update(input).digest("hex").slice(0, 16));
  writeFileSync(file, input);
  return { file, message };
}

async function fuzz({ name, runs, seed, ms, beat, last }) {
  const { targets, mutations, CpmError } = await import(pathToFileURL(bundle).href);
  const target = (await targets()).find((one) => one.name === name);
  const { randomFrom, mutateBytes, mutateText, mutateJson, pick, below } = mutations;
  const random = randomFrom(seed * 7919 + [...name].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7));
  const [decoder, encoder] = [new TextDecoder(), new TextEncoder()];
  const until = ms === undefined ? Number.POSITIVE_INFINITY : Date.now() + ms;
  const report = { runs: 0, worked: 0, refused: 0, corpus: 0, branches: 0, findings: [] };
  const kinds = new Set();
  const stray = [];
  process.on("unhandledRejection", (error) => stray.push(error));

  const session = new Session();
  session.connect();
  const post = (method, params) => {
    let answer;
    session.post(method, params, (error, result) => {
      if (error) throw error;
      answer = result;
    });
    return answer;
  };
  post("Profiler.enable");
  post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  const branches = new Set();
  /** The branches that ran since the last call, as numbers. */
  const taken = () => {
    const keys = [];
    for (const { url, functions } of post("Profiler.takePreciseCoverage").result)
      if (url.endsWith("/targets.mjs"))
        for (const { ranges } of functions)
          for (const { count, startOffset, endOffset } of ranges) if (count > 0) keys.push(startOffset * 2 ** 26 + endOffset);
    return keys;
  };
  const fresh = () => {
    const found = new Set(taken().filter((key) => !branches.has(key)));
    for (const key of found) branches.add(key);
    report.branches = branches.size;
    return found;
  };

  async function attempt(input) {
    report.runs++;
    beat[0]++;
    new Int32Array(last)[0] = Math.min(input.length, MOST_BYTES * 2);
    new Uint8Array(last, 4).set(input.subarray(0, MOST_BYTES * 2));
    try {
      await target.run(input.slice());
      report.worked++;
    } catch (error) {
      if (error instanceof CpmError && error.message.length > 10 && error.message.length < 5000) report.refused++;
      else found(input, error);
    }
    if (stray.length > 0) found(input, new Error(`nobody caught: ${stray.splice(0).map((one) => one?.stack ?? one)}`));
  }
  function found(input, error) {
    const message = String(error?.stack ?? error);
    const kind = message.replaceAll(/\d+/g, "#").split("\n").slice(0, 3).join();
    if (kinds.has(kind) || report.findings.length >= 20) return;
    kinds.add(kind);
    report.findings.push(keep("findings", name, input, message.split("\n").slice(0, 8).join("\n")));
  }

  const folder = join(out, "corpus", name);
  const old = existsSync(folder) ? readdirSync(folder).map((file) => new Uint8Array(readFileSync(join(folder, file)))) : [];
  const corpus = [...target.seeds, ...stored(name), ...old];
  for (const input of corpus) await attempt(input);
  fresh();
  const mutated = () => {
    let input = pick(random, random() < 0.3 ? target.seeds : corpus);
    for (let i = below(random, 4); i >= 0; i--) {
      if (target.kind === "bytes") input = mutateBytes(input, random, corpus, random() < 0.85 ? target.where : undefined);
      else {
        const mutate = target.kind === "json" ? mutateJson : mutateText;
        input = encoder.encode(
          mutate(
            decoder.decode(input),
            random,
            corpus.map((one) => decoder.decode(one)),
            target.words ?? [],
          ),
        );
      }
    }
    return input.length > MOST_BYTES && target.kind !== "bytes" ? input.subarray(0, MOST_BYTES) : input;
  };
  while (report.runs < runs && Date.now() < until) {
    const batch = Array.from({ length: BATCH }, mutated);
    for (const input of batch) await attempt(input);
    const found = fresh();
    // Which of them it was shows when each runs alone.
    for (const input of found.size > 0 && corpus.length < MOST_KEPT ? batch : []) {
      await attempt(input);
      const own = taken().filter((key) => found.delete(key));
      if (own.length === 0) continue;
      corpus.push(input);
      keep("corpus", name, input);
      report.corpus++;
    }
  }
  parentPort.postMessage({ report, ended: true });
}

/** Inputs in the repository: what was found once, and stays. */
function stored(name) {
  const folder = join(root, "test/fuzz/corpus", name);
  return existsSync(folder) ? readdirSync(folder).map((file) => new Uint8Array(readFileSync(join(folder, file)))) : [];
}
