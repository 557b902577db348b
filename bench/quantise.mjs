// What each method costs and loses: perplexity and KL divergence of quantised files against the float model.
//   node bench/quantise.mjs MODEL.gguf [--calib 32] [--chunks 32] [--ctx 256] [--also FILE ...] [--only NAME,...] [--methods NAME,...] [--group 128|32] [--hessian int16] [--hessian-rows N,...] [--llama]
// --llama: beside them the files of llama.cpp's own quantiser, plain and with the importance matrix of the same calibration
// (Linux; g++); --only llama measures these alone.
// Calibration and evaluation texts are sampled from the float model itself at temperature 1, with different seeds.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { perplexity } from "../dist/evaluate/index.js";
import { convert } from "../dist/host/convert.node.js";
import { load } from "../dist/host/node.js";
import { imatrix, quantize } from "../dist/host/quantise.node.js";
import { llamaQuantize } from "./lib/llamaquantize.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    calib: { type: "string", default: "32" },
    chunks: { type: "string", default: "32" },
    ctx: { type: "string", default: "256" },
    also: { type: "string", multiple: true, default: [] },
    only: { type: "string" },
    methods: { type: "string" },
    group: { type: "string" },
    hessian: { type: "string" },
    "hessian-rows": { type: "string", default: "all" },
    llama: { type: "boolean" },
  },
});
const [model] = positionals;
const ctx = Number(values.ctx);
const folder = mkdtempSync(join(tmpdir(), "cpm-bench-"));
const options = { contextSize: ctx, kvType: "f32", draft: false, threads: 2 };

const float = await load(model, options);
const { bos, stop } = float.tokenizer;
async function sampled(count, seed) {
  const all = [];
  const logitBias = Object.fromEntries(stop.map((token) => [token, Number.NEGATIVE_INFINITY]));
  for (let c = 0; c < count; c++) {
    const sampling = { temperature: 1, topK: 0, topP: 1, minP: 0, seed: seed + c, maxTokens: ctx - 1, logitBias };
    all.push([bos, ...(await float.generate([bos], sampling)).tokens]);
  }
  return all;
}
const calibration = await sampled(Number(values.calib), 1);
const text = (await sampled(Number(values.chunks), 100_001)).flat();
const pieces = [];
const save = (bytes) => {
  pieces.push(Uint8Array.from(bytes));
};
const own = await perplexity(float, text, { contextSize: ctx, save });
const base = Buffer.concat(pieces);
await float.close?.();
console.log("| file | method | MB | s | PPL | mean KL | same top % |\n|---|---|---|---|---|---|---|");
console.log(`| float | | | | ${own.perplexity.value.toFixed(4)} | | |`);

async function measure(name, method, path, megabytes, seconds) {
  const quantised = await load(path, options);
  const { perplexity: ppl, divergence } = await perplexity(quantised, undefined, { base: new Uint8Array(base) });
  const d = divergence;
  const kl = `${d.mean.value.toFixed(5)} ± ${d.mean.error.toFixed(5)}`;
  console.log(
    `| ${name} | ${method} | ${megabytes} | ${seconds} | ${ppl.value.toFixed(4)} | ${kl} | ${(100 * d.sameTop.value).toFixed(1)} |`,
  );
  await quantised.close?.();
}
const rows = [
  ["Q8_0", "rtn"],
  ["Q6_K", "search"],
  ["Q4_K", "search"],
  ["Q4_K", "importance"],
  ["Q4_K", "gptq"],
  ["Q4_0", "rtn"],
  ["Q4_0", "search"],
  ["Q4_0", "importance"],
  ["Q4_0", "awq"],
  ["Q4_0", "gptq"],
  ["Q4_0", "p-gptq"],
  ["Q4_0", "awq+gptq"],
  ["TQ2_0", "rtn"],
  ["TQ2_0", "search"],
  ["TQ2_0", "gptq"],
  ...[128, 32].flatMap((group) =>
    ["rtn", "search", "importance", "awq", "gptq", "p-gptq", "awq+gptq", "awq+p-gptq"].map((method) => ["int4", method, group]),
  ),
];
const unpacked = join(folder, "float");
/** One file, by one method. `some`: rows of Hessians, "all" or a number. */
async function one(type, method, group, some) {
  const path = join(folder, group ? `int4-${group}` : "out.gguf");
  const begun = performance.now();
  const searched = method === "importance" ? "search" : method;
  const given = ["rtn", "search"].includes(method) ? {} : { calibration };
  // Everything but the linears of the layers stays as it is, so that methods are compared and not recipes.
  const keep = [
    ["token_embd", "F16"],
    ["output", "F16"],
    ["blk.*", type],
  ].filter(([name]) => name !== "output" || values.untied);
  const options = {
    type,
    method: searched,
    ...given,
    hessian: /gptq|awq/.test(method) ? values.hessian : undefined,
    hessianRows: some === "all" ? undefined : Number(some),
    force: true,
    ...(group ? { group } : { keep }),
  };
  const report = await quantize(group ? unpacked : model, path, options);
  const linears = report.tensors.filter(({ name }) => /attn_[qkvo]|attn_output|ffn_(gate|up|down)|_proj/.test(name));
  const megabytes = (linears.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6).toFixed(2);
  const how = [method, ...(some === "all" ? [] : [`${some} rows`])].join(", ");
  await measure(group ? `int4 g${group}` : type, how, path, megabytes, ((performance.now() - begun) / 1000).toFixed(1));
}
try {
  await convert(model, unpacked);
  for (const [type, method, group] of rows) {
    if (values.only && !values.only.split(",").includes(type)) continue;
    if (values.methods && !values.methods.split(",").includes(method)) continue;
    if (values.group && group !== Number(values.group)) continue;
    const fed = /gptq|awq/.test(method);
    for (const some of fed ? values["hessian-rows"].split(",") : ["all"]) await one(type, method, group, some);
  }
  const importance = join(folder, "importance.gguf");
  if (values.llama) await imatrix(model, importance, { calibration });
  for (const type of values.llama ? ["Q4_0", "Q4_K", "Q6_K"] : [])
    for (const method of ["plain", "imatrix"]) {
      if (values.only && !values.only.split(",").some((name) => name === type || name === "llama")) continue;
      const path = join(folder, "llama.gguf");
      llamaQuantize(model, path, type, method === "imatrix" ? importance : undefined);
      await measure(`${type} of llama.cpp`, method, path, "", "");
    }
  for (const file of values.also) await measure(file.split("/").at(-1), "as it is", file, "", "");
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
