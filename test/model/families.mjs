// Checks every model of a folder made as ../shared/golden/families was: logits and greedy continuations of a float64 evaluation.
//   node test/model/families.mjs DIR [NAME,NAME...]
// Each case is DIR/NAME.json with DIR/NAME/ (config.json, config-published.json, model.safetensors) and, where there is one,
// DIR/NAME.gguf. Each is also rounded to Q8_0 and Q4_0, as far as its rows are whole blocks of 32, where GGUF has words for it.
// Prints a line a case, and "N passed, N failed" at the end.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { evaluate, roundedInputs, roundedWeights, safetensors } from "./definition.mjs";

const dist = new URL("../../dist/", import.meta.url);
const { Engine } = await import(new URL("engine/engine.js", dist));
const { pathFiles } = await import(new URL("host/node.files.js", dist));
const { memoryDestination, quantize } = await import(new URL("host/quantise.node.js", dist));
const { memoryFiles } = await import(new URL("file/bytes.js", dist));

/** KL(expected || ours) at every listed position, at most. */
const MOST = 1e-6;
/**
 * What 8 bits of inputs may cost a rounded form, on average over the positions: KL(its weights in float || ours). A model that they cost
 * more by their definition (each block of 32 inputs rounded to 8 bits: llama.cpp's, too) may lose more: an input at the edge of two codes
 * may be rounded the other way, and what follows is another draw of the same noise.
 */
const MOST_LOST = 2e-3;
const OTHER_DRAW = 2;
/** And how far it may be from that definition, as a share of what the definition costs. Without such an input the two agree to 1e-12. */
const MOST_OFF = 1;
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
  // As GPT-2 writes bytes: the printable ones as they are.
  const printable = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let beyond = 256;
  const letters = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : beyond++));
  const pieces = ["<unk>", "<s>", "</s>", ...letters].slice(0, vocab_size);
  const vocab = Object.fromEntries(pieces.map((piece, i) => [piece, i]));
  const tokenizer = {
    model: { type: "BPE", vocab, merges: [], unk_token: "<unk>" },
    added_tokens: [],
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
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

const divergence = (a, b) => {
  const [x, y] = [softmax(a), softmax(b)];
  return x.p.reduce((sum, p, t) => sum + p * (x.log[t] - y.log[t]), 0);
};
const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;

/** Largest divergence, greedy tokens that agree at first, and all logits that were asked for. */
async function measure(files, sequences, batchSize = 256) {
  const contextSize = Math.max(...sequences.map(({ tokens, greedy }) => tokens.length + greedy.length));
  const engine = await Engine.load(host, files, { ...options, contextSize, batchSize });
  const { vocab } = engine.info.config;
  let kl = 0;
  let agreeing = Infinity;
  const kept = [];
  const rows = [];
  for (const { tokens, positions, logits: expected, greedy } of sequences) {
    const session = await engine.open();
    const logits = await engine.forward(session, tokens, "all");
    await engine.closeSession(session);
    for (const [i, at] of positions.entries()) {
      const ours = Array.from(logits.subarray(at * vocab, (at + 1) * vocab));
      kept.push(...ours);
      rows.push(ours);
      kl = Math.max(kl, divergence(expected[i], ours));
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
  return { kl, agreeing, kept, rows };
}

/**
 * A rounded form beside its definition: { part, passed }. Weights are rounded by extremes, so that the definition needs no reader; rows
 * that are no whole blocks stay float16. `source`: what is quantised, a GGUF or a folder of `config` and `weights` (safetensors()).
 */
export async function rounded({ config, weights, source, sequences, type }) {
  const blocks = (name) => weights.has(name) && weights.get(name).shape.length === 2 && weights.get(name).shape[1] % 32 === 0;
  const names = [...weights.keys()];
  if (!names.some(blocks)) return { part: `${type}: no rows of whole blocks`, passed: true };
  const out = memoryDestination();
  // An embedding and a head have more digits, as in most files.
  const ends = ["token_embd.weight", ...(weights.has("lm_head.weight") ? ["output.weight"] : [])];
  const keep = type === "Q4_0" ? ends.map((name) => [name, "Q8_0"]) : [];
  await quantize(source, out, { type, method: "rtn", keep, threads: 1 });
  const held = new Map(
    names.map((name) => {
      const { values } = weights.get(name);
      const end = name === "model.embed_tokens.weight" || name === "lm_head.weight";
      return [name, blocks(name) ? roundedWeights(values, end ? "Q8_0" : type) : values];
    }),
  );
  const tensor = (name) => held.get(name);
  const head = blocks("lm_head.weight") || (!weights.has("lm_head.weight") && blocks("model.embed_tokens.weight"));
  const isRounded = (name) => (name === "lm_head" ? head : blocks(`${name}.weight`));
  const run = (linear) =>
    sequences.flatMap(({ tokens, positions }) => {
      const all = evaluate(config, tensor, tokens, linear);
      return positions.map((at) => all[at]);
    });
  const [exact, defined] = [run(), run(roundedInputs(isRounded))];
  const { rows } = await measure(memoryFiles("model.gguf", { "model.gguf": out.files().get("") }), sequences);
  const off = mean(rows.map((ours, i) => divergence(defined[i], ours)));
  const lost = mean(rows.map((ours, i) => divergence(exact[i], ours)));
  const costs = mean(defined.map((z, i) => divergence(exact[i], z)));
  const passed = off <= 1e-6 + MOST_OFF * costs && lost <= Math.max(MOST_LOST, OTHER_DRAW * costs);
  const text = (x) => x.toExponential(1);
  return { part: `${type} loses ${text(lost)} by its inputs, ${text(costs)} by definition, ${text(off)} between them`, passed };
}

/** What rounded() finds for a case of a folder. */
async function roundedForms(folder, sequences) {
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
  const weights = safetensors(readFileSync(join(folder, "model.safetensors")));
  const gguf = existsSync(`${folder}.gguf`) ? `${folder}.gguf` : undefined;
  const forms = [];
  for (const type of ["Q8_0", "Q4_0"]) {
    const source = gguf ?? (await folderFiles(folder, "config.json"));
    try {
      forms.push(await rounded({ config, weights, source, sequences, type }));
    } catch (error) {
      const unsayable = error.code === "unsupported" && !gguf;
      forms.push({ part: `${type}: ${unsayable ? "GGUF has no words for it: " : ""}${error.message}`, passed: unsayable });
    }
  }
  return forms;
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
    const smaller = existsSync(join(folder, "config.json")) ? await roundedForms(folder, data.sequences) : [];
    parts.push(...smaller.map(({ part }) => part));
    const passed =
      found.length > 0 && smaller.every((f) => f.passed) && found.every((f) => !f.error && f.kl <= MOST && f.agreeing === least);
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
