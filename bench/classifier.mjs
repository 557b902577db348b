// Classifiers: folding a model of 2 GB from a stream, scoring, normalising, training; beside Debian's fasttext where it is installed.
//   node bench/classifier.mjs [--large]      --large also writes and folds the 2 GB model (needs 2.2 GB of disk)
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fold, loadClassifier, normalise, train } from "../dist/host/data.node.js";
import { loadTokenizer } from "../dist/host/node.js";

const folder = mkdtempSync(join(tmpdir(), "cpm-bench-"));
const large = process.argv.includes("--large");
const peak = () => `${Math.round(process.resourceUsage().maxRSS / 1024)} MiB`;

function lines(count, labels, seed) {
  let state = seed;
  const next = () => (state = (state * 48271) % 2147483647) / 2147483647;
  return Array.from({ length: count }, () => {
    const label = Math.floor(next() * 2);
    const words = Array.from({ length: 120 }, () => `word${Math.floor(next() ** 4 * 60000)}${next() < 0.02 ? "pn"[label] : ""}`);
    return `${labels ? `__label__${label ? "pos" : "neg"} ` : ""}${words.join(" ")}\n`;
  }).join("");
}

/** Seconds of processor time, of this process and of a command: other work on the machine does not count. */
const cpu = () => (process.cpuUsage().user + process.cpuUsage().system) / 1e6;
const commandSeconds = (command) => {
  const { stderr } = spawnSync("bash", ["-c", `TIMEFORMAT='%U %S'; time ${command} > /dev/null 2>&1`], { encoding: "utf8" });
  return stderr
    .trim()
    .split(" ")
    .reduce((sum, part) => sum + Number(part), 0);
};
const median = (all) => all.sort((a, b) => a - b)[all.length >> 1];
function rate(bytes, work, rounds = 5) {
  return median(
    Array.from({ length: rounds }, () => {
      const started = cpu();
      work();
      return bytes / 1e6 / (cpu() - started);
    }),
  );
}

const text = join(folder, "train.txt");
writeFileSync(text, lines(20_000, true, 7));
const held = Buffer.from(lines(20_000, false, 99));
const shape = { dim: 256, wordNgrams: 3, bucket: 200_000, epoch: 1, minCount: 5 };
const started = cpu();
let tokens = 0;
const trained = await train(text, { ...shape, onProgress: (p) => (tokens = p.tokens) });
console.log(
  `training, dim 256, 3-grams, 1 thread: ${Math.round(tokens / 1e3 / (cpu() - started))} thousand words/s, dictionary included`,
);
const model = join(folder, "m.bin");
writeFileSync(model, Buffer.concat([...trained.pieces()]));
const hasDebian = !spawnSync("fasttext", []).error;
if (hasDebian) {
  const options = "-thread 1 -dim 256 -wordNgrams 3 -bucket 200000 -epoch 1 -minCount 5 -verbose 0";
  const seconds = commandSeconds(`fasttext supervised -input ${text} -output ${join(folder, "d")} ${options}`);
  console.log(`  Debian's fasttext, dictionary and writing included: ${Math.round(tokens / 1e3 / seconds)} thousand words/s`);
}
const folded = await loadClassifier(await fold(model));
console.log(`folded scoring, 200,000 buckets: ${rate(held.length, () => folded.lines().take(held)).toFixed(1)} MB/s`);
if (hasDebian) {
  writeFileSync(join(folder, "held.txt"), held);
  const seconds = commandSeconds(`fasttext predict-prob ${model} ${join(folder, "held.txt")}`);
  console.log(`  Debian's fasttext, loading included: ${(held.length / 1e6 / seconds).toFixed(1)} MB/s`);
}
const ascii = held.toString("latin1").repeat(2);
console.log(`normalisation of ASCII: ${rate(ascii.length, () => normalise(ascii)).toFixed(0)} MB/s`);
const tokenizerFile = process.env.TOKENIZER;
if (tokenizerFile) {
  const tokenizer = await loadTokenizer(tokenizerFile);
  const part = ascii.slice(0, 4e6);
  console.log(`tokenisation: ${rate(part.length, () => tokenizer.encode(part, { bos: false }), 3).toFixed(1)} MB/s`);
}
if (large) {
  const file = join(folder, "large.bin");
  const out = createWriteStream(file);
  const rows = 2_000_000;
  for (const piece of (
    await train(new TextEncoder().encode("__label__pos a b c\n__label__neg d e f\n"), {
      dim: 256,
      wordNgrams: 3,
      bucket: 16,
      epoch: 1,
    })
  ).pieces()) {
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
  console.log(`folded scoring, 2,000,000 buckets: ${rate(held.length, () => scorer.lines().take(held)).toFixed(1)} MB/s`);
}
console.log(`peak memory of this process ${peak()}`);
rmSync(folder, { recursive: true, force: true });
