// Corpora in one run: training, folding, scoring, normalising, tokenising, and the chain from a JSON line to the decision; beside Debian's
// fasttext and the npm port of fastText to WebAssembly.
//   node bench/data.mjs --text FILES… --tokenizer FILE [--large] [--rounds 3]
//     FILES: texts, JSON lists of texts, or JSON lines with a text each (30 MB or more tell what a real job sees); --large also writes and folds the 2 GB model (needs 2.2 GB of disk)
// Needs `npm ci` in bench/ for the port. Rates are MB or words by seconds of processor time, medians of the rounds; where threads are
// compared, by the clock, too, in turns: on a machine with other work read the ratios of processor time.
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import {
  fold,
  loadClassifier,
  normalise,
  Preprocessor,
  parseRecord,
  QualityFilter,
  train,
  verdictOf,
} from "../dist/host/data.node.js";
import { loadTokenizer } from "../dist/host/node.js";

/** Seconds of processor time of this process. */
const cpu = () => (process.cpuUsage().user + process.cpuUsage().system) / 1e6;
const median = (all) => all.toSorted((a, b) => a - b)[all.length >> 1];

/** Bytes of a job's beginning, where the compiler has not seen the code yet, nor the tokenizer the words: told apart. */
const BEGINNING = 6e6;

if (isMainThread) await main();
else await chainWorker();

/** A thread that judges JSON lines when told so: how long its share of the beginning took, and all of it. */
async function chainWorker() {
  const { lines, model, tokenizer, threads } = workerData;
  const filter = new QualityFilter({ classifier: await loadClassifier(model), tokenizer: await loadTokenizer(tokenizer) });
  parentPort.once("message", () => {
    const started = performance.now();
    let [bytes, kept, beginning] = [0, 0, 0];
    for (const line of lines) {
      if (verdictOf(parseRecord(line).text, { quality: filter }).keep) kept++;
      bytes += line.length;
      if (beginning === 0 && bytes * threads >= BEGINNING) beginning = performance.now() - started;
    }
    parentPort.postMessage({ kept, bytes, beginning, all: performance.now() - started });
  });
  parentPort.postMessage("ready");
}

/** MB/s of the chain on so many threads: by the clock, of the beginning and of what follows it, and by processor time. */
async function chain(lines, threads, rest) {
  const workers = Array.from(
    { length: threads },
    (_, t) =>
      new Worker(new URL(import.meta.url), {
        workerData: { ...rest, threads, lines: lines.filter((_, i) => i % threads === t) },
      }),
  );
  await Promise.all(workers.map((worker) => once(worker, "message")));
  const [clock, started] = [performance.now(), cpu()];
  const answers = await Promise.all(
    workers.map((worker) => {
      worker.postMessage("go");
      return once(worker, "message").then(([answer]) => answer);
    }),
  );
  const bytes = answers.reduce((sum, answer) => sum + answer.bytes, 0);
  const slowest = (of) => Math.max(...answers.map(of));
  const rates = {
    clock: bytes / 1e3 / (performance.now() - clock),
    cpu: bytes / 1e6 / (cpu() - started),
    beginning: BEGINNING / 1e3 / slowest((answer) => answer.beginning || answer.all),
    later: (bytes - BEGINNING) / 1e3 / slowest((answer) => answer.all - answer.beginning),
  };
  await Promise.all(workers.map((worker) => worker.terminate()));
  return rates;
}

/** Lines of made-up words. */
function madeUp(count, labels, seed) {
  let state = seed;
  const next = () => (state = (state * 48271) % 2147483647) / 2147483647;
  return Array.from({ length: count }, () => {
    const label = Math.floor(next() * 2);
    const words = Array.from({ length: 120 }, () => `word${Math.floor(next() ** 4 * 60000)}${next() < 0.02 ? "pn"[label] : ""}`);
    return `${labels ? `__label__${label ? "pos" : "neg"} ` : ""}${words.join(" ")}\n`;
  }).join("");
}

/** Seconds of processor time of a command. */
function commandSeconds(command) {
  const { stderr } = spawnSync("bash", ["-c", `TIMEFORMAT='%U %S'; time ${command} > /dev/null 2>&1`], { encoding: "utf8" });
  return stderr
    .trim()
    .split(" ")
    .reduce((sum, part) => sum + Number(part), 0);
}

async function main() {
  const { values } = parseArgs({
    options: {
      text: { type: "string", multiple: true, default: [] },
      tokenizer: { type: "string" },
      large: { type: "boolean", default: false },
      rounds: { type: "string", default: "3" },
    },
  });
  const rounds = Number(values.rounds);
  const folder = mkdtempSync(join(tmpdir(), "cpm-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const load = () => loadavg()[0].toFixed(0);
  console.log(`${cpus()[0].model}, ${cpus().length} processors, Node ${process.version}, load average ${load()}`);
  const debian = !spawnSync("fasttext", []).error;
  if (!debian) console.log("skipped: Debian's fasttext is not installed");
  const rate = (bytes, work) =>
    median(
      Array.from({ length: rounds }, () => {
        const started = cpu();
        work();
        return bytes / 1e6 / (cpu() - started);
      }),
    );

  // Training: of the whole command's time for Debian's, dictionary and writing included; so here.
  const text = join(folder, "train.txt");
  const model = join(folder, "m.bin");
  writeFileSync(text, madeUp(10_000, true, 7));
  const shape = { dim: 256, wordNgrams: 3, bucket: 200_000, epoch: 1, minCount: 5 };
  const flags = `-dim 256 -wordNgrams 3 -bucket 200000 -epoch 1 -minCount 5 -verbose 0 -input ${text} -output ${join(folder, "d")}`;
  const trained = { 1: [], 2: [], debian: [] };
  for (let round = 0; round < rounds; round++) {
    for (const threads of [1, 2]) {
      const started = cpu();
      let first;
      let last;
      const note = ({ tokens }) => {
        last = { tokens, clock: performance.now(), cpu: cpu() };
        first ??= last;
      };
      const { pieces } = await train(text, { ...shape, threads, onProgress: note });
      writeFileSync(model, Buffer.concat([...pieces()]));
      const tokens = last.tokens - first.tokens;
      trained[threads].push({
        whole: last.tokens / 1e3 / (cpu() - started),
        clock: tokens / (last.clock - first.clock),
        cpu: tokens / 1e3 / (last.cpu - first.cpu),
      });
    }
    if (debian) trained.debian.push((10_000 * 122) / 1e3 / commandSeconds(`fasttext supervised -thread 1 ${flags}`));
  }
  const middle = (threads, what) => median(trained[threads].map((one) => one[what]));
  for (const threads of [1, 2])
    console.log(
      `training, dim 256, 3-grams, ${threads} threads: ${middle(threads, "cpu").toFixed(0)} thousand words/s of processor time a thread, ${middle(threads, "whole").toFixed(0)} with dictionary and writing; ${middle(threads, "clock").toFixed(0)} by the clock`,
    );
  const ratio = (what) => median(trained[1].map((one, i) => trained[2][i][what] / one[what]));
  console.log(`  two threads: ${ratio("clock").toFixed(2)} x by the clock, ${(2 * ratio("cpu")).toFixed(2)} x by processor time`);
  if (debian) console.log(`  Debian's fasttext, all included: ${median(trained.debian).toFixed(0)} thousand words/s`);

  // Scoring: a small model that all can load.
  const held = Buffer.from(madeUp(10_000, false, 99));
  const lines = held.toString("latin1").trimEnd().split("\n");
  const folded = await loadClassifier(await fold(model));
  console.log(`scoring, 200,000 buckets, folded: ${rate(held.length, () => folded.lines().take(held)).toFixed(1)} MB/s`);
  if (debian) {
    writeFileSync(join(folder, "held.txt"), held);
    const loading = commandSeconds(`fasttext predict-prob ${model} /dev/null`);
    const seconds = commandSeconds(`fasttext predict-prob ${model} ${join(folder, "held.txt")}`) - loading;
    console.log(`  Debian's fasttext, without loading: ${(held.length / 1e6 / seconds).toFixed(1)} MB/s`);
  }
  try {
    const { FastTextModel, getFastTextClass, getFastTextModule } = await import("fasttext.wasm.js");
    const FastText = await getFastTextClass({ getFastTextModule });
    const port = new FastText();
    port.fs.writeFile("/m.bin", readFileSync(model));
    port.ft.loadModel("/m.bin");
    const peer = new FastTextModel(port.ft, port.core);
    const some = lines.slice(0, 2000);
    const scored = () => some.map((line) => peer.predict(`${line}\n`, 1, 0).get(0)[0]);
    const ours = (await loadClassifier(model, { fold: true })).score(some);
    const apart = Math.max(...scored().map((p, i) => Math.abs(p - ours[i].probabilities[0])));
    const peerRate = rate(some.join("\n").length, scored).toFixed(1);
    console.log(
      `  fasttext.wasm.js 1.0.0, without loading: ${peerRate} MB/s; probabilities differ by ${apart.toExponential(0)} at most`,
    );
  } catch (error) {
    console.log(`skipped: fasttext.wasm.js: ${String(error.message).split("\n")[0]} (npm ci in bench/)`);
  }
  const ascii = held.toString("latin1").repeat(2);
  console.log(`normalisation of ASCII: ${rate(ascii.length, () => normalise(ascii)).toFixed(0)} MB/s`);

  if (values.tokenizer && values.text.length > 0) await texts(values, folder, rounds);
  else console.log("skipped: tokenisation and the chain: give --text and --tokenizer");
  if (values.large) await large(folder, held, rate);
  console.log(`load average at the end ${load()}`);
}

/** Tokenising texts not seen before, and JSON lines to decisions with a folded table of two million buckets. */
async function texts({ text: files, tokenizer }, folder, rounds) {
  const all = files.flatMap((file) => {
    const text = readFileSync(file, "utf8");
    if (file.endsWith(".jsonl"))
      return text
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).text);
    return file.endsWith(".json") ? JSON.parse(text) : text;
  });
  const bytes = all.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  const rates = [];
  // The first round is the compiler's; each has a tokenizer that knows no word.
  for (let round = -1; round < rounds; round++) {
    const fresh = await loadTokenizer(tokenizer);
    fresh.encode("made", { bos: false });
    const started = cpu();
    for (const text of all) fresh.encode(text, { bos: false });
    if (round >= 0) rates.push(bytes / 1e6 / (cpu() - started));
  }
  console.log(
    `tokenisation of ${all.length} texts, ${(bytes / 1e6).toFixed(1)} MB, not seen before: ${median(rates).toFixed(1)} MB/s`,
  );
  const preprocessor = new Preprocessor(await loadTokenizer(tokenizer));
  const examples = all.slice(0, 800).map((text, i) => `__label__${i % 2 ? "pos" : "neg"} ${preprocessor.line(text)}\n`);
  const shape = { dim: 8, wordNgrams: 3, bucket: 2_000_000, epoch: 1 };
  const { pieces } = await train(new TextEncoder().encode(examples.join("")), shape);
  const model = join(folder, "chain.bin");
  writeFileSync(model, Buffer.concat([...pieces()]));
  const rest = { model: await fold(model), tokenizer };
  const json = all.map((text, id) => new Uint8Array(Buffer.from(JSON.stringify({ id, text }))));
  const found = { 1: [], 2: [] };
  for (let round = 0; round < rounds; round++)
    for (const threads of [1, 2]) found[threads].push(await chain(json, threads, rest));
  const middle = (threads, what) => median(found[threads].map((one) => one[what])).toFixed(1);
  for (const threads of [1, 2])
    console.log(
      `JSON line to decision, ${threads} threads: ${middle(threads, "clock")} MB/s by the clock (the first ${BEGINNING / 1e6} MB ${middle(threads, "beginning")}, what follows ${middle(threads, "later")}), ${middle(threads, "cpu")} of processor time a thread`,
    );
  const ratio = (what) => median(found[1].map((one, i) => found[2][i][what] / one[what]));
  console.log(
    `  two threads: ${ratio("clock").toFixed(2)} x by the clock (behind the beginning ${ratio("later").toFixed(2)}), ${(2 * ratio("cpu")).toFixed(2)} x by processor time`,
  );
}

/** Writes a model of two million buckets and 256 dimensions, folds it from the disk in a process of its own, and scores with it. */
async function large(folder, held, rate) {
  const file = join(folder, "large.bin");
  const out = createWriteStream(file);
  const rows = 2_000_000;
  const tiny = new TextEncoder().encode("__label__pos a b c\n__label__neg d e f\n");
  for (const piece of (await train(tiny, { dim: 256, wordNgrams: 3, bucket: 16, epoch: 1 })).pieces()) {
    // The small model's header with two million buckets; then rows of noise.
    if (piece.length > 100 && out.bytesWritten === 0) new DataView(piece.buffer).setInt32(40, rows, true);
    if (piece.length === 17 && new DataView(piece.buffer).getBigInt64(1, true) > 2n) {
      const words = Number(new DataView(piece.buffer).getBigInt64(1, true)) - 16;
      new DataView(piece.buffer).setBigInt64(1, BigInt(rows + words), true);
      out.write(piece);
      const noise = new Float32Array(256 * 1000);
      for (let i = 0; i < noise.length; i++) noise[i] = Math.sin(i * 12.9898) / 256;
      const bytes = new Uint8Array(noise.buffer);
      for (let row = 0; row < rows + words; row += 1000)
        if (!out.write(bytes.subarray(0, 1024 * Math.min(1000, rows + words - row)))) await once(out, "drain");
    } else if (piece.length === 17 || out.bytesWritten === 0 || piece.length === 2 * 1024) out.write(piece);
  }
  out.end();
  await once(out, "close");
  const script = `import(${JSON.stringify(new URL("../dist/host/data.node.js", import.meta.url).href)}).then(async ({ fold }) => { const t = performance.now(); const bytes = await fold(${JSON.stringify(file)}); console.log(((performance.now() - t) / 1000).toFixed(1) + " s, " + (bytes.length / 1e6).toFixed(1) + " MB, peak memory " + Math.round(process.resourceUsage().maxRSS / 1024) + " MiB"); })`;
  const answer = execFileSync(process.execPath, ["-e", script], { encoding: "utf8" });
  console.log(`a model of ${(statSync(file).size / 1e9).toFixed(2)} GB folds in ${answer.trim()}`);
  const scorer = await loadClassifier(file, { fold: true });
  console.log(`scoring, 2,000,000 buckets, folded: ${rate(held.length, () => scorer.lines().take(held)).toFixed(1)} MB/s`);
}
