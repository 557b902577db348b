// Checks every model of a folder made as ../shared/golden/families was: logits and greedy continuations of a float64 evaluation.
//   node test/model/families.mjs DIR [NAME,NAME...]
// Each case is DIR/NAME.json with DIR/NAME/ (config.json, config-published.json, model.safetensors) and, where there is one,
// DIR/NAME.gguf. Prints a line a case, and "N passed, N failed" at the end.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const dist = new URL("../../dist/", import.meta.url);
const { Engine } = await import(new URL("engine/engine.js", dist));
const { pathFiles } = await import(new URL("host/node.files.js", dist));

/** KL(expected || ours) at every listed position, at most. */
const MOST = 1e-6;
const wasm = (name) => fileURLToPath(new URL(`../../wasm/${name}.wasm`, import.meta.url));
const modules = new Map();
const host = {
  name: "node",
  cores: 1,
  module(artifact) {
    if (!modules.has(artifact)) modules.set(artifact, WebAssembly.compile(readFileSync(wasm(artifact))));
    return modules.get(artifact);
  },
  breathe: () => new Promise((resolve) => setImmediate(resolve)),
  now: () => performance.now(),
};
const options = {
  contextSize: undefined,
  kvType: "f32",
  threads: 1,
  variant: "base",
  turbo: false,
  batchSize: 256,
  maxMemoryBytes: undefined,
};

const bytesFile = (name, bytes) => ({
  name,
  size: bytes.length,
  read: async (offset, length) => bytes.slice(offset, offset + length),
  close: async () => {},
});

/** A folder with another file as its config.json, and a tokenizer of single bytes where it has none. */
async function folderFiles(folder, config) {
  const files = await pathFiles(folder);
  const { vocab_size } = JSON.parse(readFileSync(join(folder, config), "utf8"));
  const letters = Array.from({ length: Math.min(vocab_size - 3, 94) }, (_, i) => String.fromCharCode(33 + i));
  const vocab = Object.fromEntries(["<unk>", "<s>", "</s>", ...letters].map((piece, i) => [piece, i]));
  const tokenizer = {
    model: { type: "BPE", vocab, merges: [], unk_token: "<unk>" },
    added_tokens: [],
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: false },
    decoder: { type: "ByteLevel" },
  };
  const own = { "config.json": readFileSync(join(folder, config)) };
  if (!existsSync(join(folder, "tokenizer.json")) && !existsSync(join(folder, "tokenizer.model")))
    own["tokenizer.json"] = new TextEncoder().encode(JSON.stringify(tokenizer));
  return {
    ...files,
    entry: "",
    open: async (name, signal) => (own[name] ? bytesFile(name, own[name]) : files.open(name, signal)),
    close: () => files.close(),
  };
}

const softmax = (z) => {
  const most = z.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = z.reduce((a, b) => a + Math.exp(b - most), 0);
  return { p: z.map((x) => Math.exp(x - most) / sum), log: z.map((x) => x - most - Math.log(sum)) };
};
const argmax = (z) => z.reduce((best, x, i) => (x > z[best] ? i : best), 0);

/** Largest divergence, greedy tokens that agree at first, and all logits that were asked for. */
async function measure(files, sequences, batchSize = 256) {
  const contextSize = Math.max(...sequences.map(({ tokens, greedy }) => tokens.length + greedy.length));
  const engine = await Engine.load(host, files, { ...options, contextSize, batchSize });
  const { vocab } = engine.info.config;
  let kl = 0;
  let agreeing = Infinity;
  const kept = [];
  for (const { tokens, positions, logits: expected, greedy } of sequences) {
    const session = await engine.open();
    const logits = await engine.forward(session, tokens, "all");
    await engine.closeSession(session);
    for (const [i, at] of positions.entries()) {
      const ours = Array.from(logits.subarray(at * vocab, (at + 1) * vocab));
      kept.push(...ours);
      const [a, b] = [softmax(expected[i]), softmax(ours)];
      kl = Math.max(
        kl,
        a.p.reduce((sum, p, t) => sum + p * (a.log[t] - b.log[t]), 0),
      );
    }
    const second = await engine.open();
    const found = [];
    for (let next = tokens; found.length < greedy.length; next = found.slice(-1))
      found.push(argmax(await engine.forward(second, next, "last")));
    await engine.closeSession(second);
    const same = found.findIndex((t, i) => t !== greedy[i]);
    agreeing = Math.min(agreeing, same < 0 ? greedy.length : same);
  }
  await engine.close();
  return { kl, agreeing, kept };
}

/** Every case of a folder: its line, and whether it holds. */
export async function* checkFamilies(dir, only) {
  const names = readdirSync(dir).filter(
    (name) => name.endsWith(".json") && existsSync(join(dir, name.replace(/json$/, ""), "").replace(/\.\/?$/, "")),
  );
  for (const file of names.sort()) {
    const name = file.replace(/\.json$/, "");
    const data = JSON.parse(readFileSync(join(dir, file), "utf8"));
    if (!data.sequences || (only && !only.includes(name))) continue;
    const folder = join(dir, name);
    const forms = [];
    for (const config of ["config.json", "config-published.json"])
      if (existsSync(join(folder, config))) forms.push([config, () => folderFiles(folder, config)]);
    if (existsSync(`${folder}.gguf`)) forms.push(["gguf", () => pathFiles(`${folder}.gguf`)]);
    // Layers with a window then keep fewer slots than the text has.
    if (existsSync(join(folder, "config.json"))) forms.push(["in batches of 8", () => folderFiles(folder, "config.json"), 8]);
    const found = [];
    for (const [form, open, batchSize] of forms) {
      try {
        found.push({ form, ...(await measure(await open(), data.sequences, batchSize)) });
      } catch (error) {
        found.push({ form, error: `${error.message}` });
      }
    }
    const least = Math.max(...data.sequences.map(({ greedy }) => greedy.length));
    const [first] = found;
    const parts = found.map(({ form, error, kl, agreeing, kept }) => {
      if (error) return `${form}: ${error}`;
      const differs = first.kept ? kept.reduce((most, x, i) => Math.max(most, Math.abs(x - first.kept[i])), 0) : 0;
      return `${form} KL ${kl.toExponential(1)} greedy ${agreeing}/${least}${form === first.form ? "" : differs === 0 ? " same bits" : ` differs by ${differs.toExponential(1)}`}`;
    });
    const passed = found.length > 0 && found.every((f) => !f.error && f.kl <= MOST && f.agreeing === least);
    yield { name, passed, line: `${passed ? "ok    " : "FAILED"} ${name.padEnd(18)} ${parts.join("; ")}` };
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dir, only] = process.argv.slice(2);
  if (!dir) {
    console.error("usage: node test/model/families.mjs DIR [NAME,NAME...]");
    process.exit(2);
  }
  let [passed, failed] = [0, 0];
  for await (const result of checkFamilies(dir, only?.split(","))) {
    console.log(result.line);
    if (result.passed) passed++;
    else failed++;
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed || !passed ? 1 : 0);
}
