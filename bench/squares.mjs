// Squared errors of our quantiser beside llama.cpp's own on the same linears, without calibration; and how many of them have the same bytes.
//   node bench/squares.mjs MODEL.gguf [--types Q8_0,Q4_0,Q4_K,Q6_K]
// llama.cpp's quantiser is run as bench/quantise.mjs --llama does (Linux; g++).
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { bytesSource } from "../dist/file/bytes.js";
import { readGguf } from "../dist/file/gguf.js";
import { quantiseModules, quantize } from "../dist/host/quantise.node.js";
import { Machine } from "../dist/quantise/module.js";
import { readValues } from "../dist/quantise/source.js";
import { llamaQuantize } from "./lib/llamaquantize.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { types: { type: "string", default: "Q8_0,Q4_0,Q4_K,Q6_K" } },
});
const [model] = positionals;
const folder = mkdtempSync(join(tmpdir(), "cpm-squares-"));
const machine = await Machine.open(quantiseModules, 1);

/** The linears of the layers: their bytes, and their values as they are used. */
async function linears(path) {
  const source = bytesSource(path, readFileSync(path));
  const found = new Map();
  for (const tensor of (await readGguf(source)).tensors) {
    if (!/^blk\..*(attn|ffn)_.*weight$/.test(tensor.name) || tensor.shape.length !== 2) continue;
    const piece = await readValues(machine, tensor);
    const numbers = machine.f32(piece.at, piece.bytes / 4).slice();
    machine.free(piece);
    found.set(tensor.name, { type: tensor.type, numbers, bytes: Buffer.from(await source.read(tensor.offset, tensor.bytes)) });
  }
  return found;
}
const squares = (a, b) => a.reduce((sum, x, i) => sum + (x - b[i]) ** 2, 0);

try {
  const float = await linears(model);
  console.log(
    "| type | linears | with the same bytes | squared error, ours / llama.cpp's | by linear, least to most |\n|---|---|---|---|---|",
  );
  for (const type of values.types.split(",")) {
    const [ours, theirs] = [join(folder, "ours.gguf"), join(folder, "theirs.gguf")];
    const keep = [
      ["token_embd", "F16"],
      ["blk.*", type],
    ];
    await quantize(model, ours, { type, method: "search", keep, force: true });
    llamaQuantize(model, theirs, type);
    const [a, b] = [await linears(ours), await linears(theirs)];
    let [own, other, same] = [0, 0, 0];
    const ratios = [];
    for (const [name, { numbers }] of float) {
      const [x, y] = [a.get(name), b.get(name)];
      if (x.type !== type || y.type !== type) throw new Error(`${name}: ${x.type} here, ${y.type} there`);
      const [e, f] = [squares(numbers, x.numbers), squares(numbers, y.numbers)];
      own += e;
      other += f;
      ratios.push(e / f);
      if (x.bytes.equals(y.bytes)) same++;
    }
    const spread = [Math.min(...ratios), Math.max(...ratios)].map((r) => r.toFixed(3)).join(" to ");
    console.log(`| ${type} | ${float.size} | ${same} | ${(own / other).toFixed(4)} | ${spread} |`);
  }
} finally {
  await machine.end();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
