// Tokenising: MB/s of processor time over documents, a pass over texts not seen before and one over the same again; beside another
// build of this package where one is given, in turns.
//   node bench/tokenise.mjs --text FILES… --tokenizer FILE[:PRE]… [--beside FOLDER]
//     FILES: texts, or JSON lists of texts; PRE: a byte-level vocabulary cut as this pre-tokeniser does; FOLDER: a checkout with dist/
import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    text: { type: "string", multiple: true },
    tokenizer: { type: "string", multiple: true },
    beside: { type: "string" },
    rounds: { type: "string", default: "5" },
  },
});
const texts = values.text.flatMap((file) =>
  file.endsWith(".json") ? JSON.parse(readFileSync(file, "utf8")) : readFileSync(file, "utf8"),
);
const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
const cpu = () => (process.cpuUsage().user + process.cpuUsage().system) / 1e6;
const median = (all) => all.toSorted((a, b) => a - b)[all.length >> 1];

/** A tokenizer of a build, made anew: nothing is known of any text. */
async function tokenizerOf(dist, spec) {
  const [file, pre] = spec.split(/:(?=[^/]*$)/);
  const [{ readTokenizer }, { Tokenizer }, { memoryFiles }] = await Promise.all(
    ["model/read.js", "text/tokenizer.js", "file/bytes.js"].map((name) => import(join(dist, name))),
  );
  const names = [basename(file), "tokenizer_config.json"];
  const files = {};
  for (const name of file.endsWith(".gguf") ? names.slice(0, 1) : names)
    files[name] = new Uint8Array(readFileSync(join(dirname(file), name)));
  const { tokenizer } = await readTokenizer(memoryFiles(names[0], files));
  return new Tokenizer(pre ? { ...tokenizer, vocabulary: { ...tokenizer.vocabulary, pre } } : tokenizer);
}

function pass(tokenizer) {
  const started = cpu();
  let hash = 0;
  for (const text of texts) for (const id of tokenizer.encode(text, { bos: false })) hash = (Math.imul(hash, 31) + id) | 0;
  return { rate: bytes / 1e6 / (cpu() - started), hash };
}

const builds = [new URL("../dist", import.meta.url).pathname, ...(values.beside ? [join(values.beside, "dist")] : [])];
console.log(
  `${texts.length} texts, ${(bytes / 1e6).toFixed(1)} MB; medians of ${values.rounds} rounds, MB/s of processor time: new text, the same again`,
);
for (const spec of values.tokenizer) {
  const rates = builds.map(() => ({ fresh: [], again: [] }));
  const hashes = new Set();
  for (let round = -1; round < Number(values.rounds); round++)
    for (const [i, dist] of builds.entries()) {
      const tokenizer = await tokenizerOf(dist, spec);
      tokenizer.encode("made", { bos: false });
      const [first, second] = [pass(tokenizer), pass(tokenizer)];
      hashes.add(first.hash).add(second.hash);
      // The first round is the compiler's.
      if (round < 0) continue;
      rates[i].fresh.push(first.rate);
      rates[i].again.push(second.rate);
    }
  const shown = rates.map(({ fresh, again }) => `${median(fresh).toFixed(1)}, ${median(again).toFixed(1)}`);
  const ratio = rates.length > 1 ? `; ratio ${median(rates[0].fresh.map((rate, i) => rate / rates[1].fresh[i])).toFixed(1)}` : "";
  console.log(`${basename(spec)}: ${shown.join(" beside ")}${ratio}${hashes.size === 1 ? "; the same ids" : "; THE IDS DIFFER"}`);
}
