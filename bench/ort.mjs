// The int4 product by itself, beside ONNX Runtime's MatMulNBits (blocks of 32, float32 activations), native and WebAssembly.
//   node bench/ort.mjs [--threads 1] [--tokens 1,512] [--samples 7] [--only q,gate,down,head]
// Ours is this folder's wasm/ build with the quantisation of activations inside. Engines take turns; times are medians. Of ONNX
// Runtime's accuracy levels 0 and 4 (int8 activations) the faster counts.
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import * as native from "onnxruntime-node";
import * as web from "onnxruntime-web";
import { median, open, weights } from "./kernels-lib.mjs";
import { matMulNBits } from "./lib/onnx.mjs";

const SHAPES = { q: [1024, 1024], gate: [4096, 1024], down: [1024, 4096], head: [73448, 1024] };
const { values: o } = parseArgs({
  options: {
    // ONNX Runtime's WebAssembly sets its threads once a process.
    threads: { type: "string", default: "1" },
    tokens: { type: "string", default: "1,512" },
    samples: { type: "string", default: "7" },
    only: { type: "string" },
  },
});
const relaxed = Number(process.versions.node.split(".")[0]) >= 22;

async function session(ort, model, threads) {
  if (ort === web) ort.env.wasm.numThreads = threads;
  return ort.InferenceSession.create(model, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionProviders: [ort === web ? "wasm" : "cpu"],
  });
}

/** A product that is run once a call. */
async function onnx(ort, [rows, cols], tokens, threads) {
  const runs = [];
  for (const accuracy of [0, 4]) {
    const one = await session(ort, matMulNBits(rows, cols, accuracy), threads);
    const x = new ort.Tensor(
      "float32",
      Float32Array.from({ length: tokens * cols }, (_, i) => Math.sin(i * 0.37)),
      [tokens, cols],
    );
    runs.push({ run: () => one.run({ x }), end: () => one.release() });
  }
  return runs;
}

async function ours([rows, cols], tokens, threads) {
  const folder = fileURLToPath(new URL("../wasm", import.meta.url));
  const bench = await open(folder, !relaxed, threads, (rows * cols * 5) / 8 + 16 * tokens * (rows + cols) + (32 << 20));
  const { list } = weights(bench, "int4", [rows, cols], () => 1);
  const x = bench.take(4 * tokens * cols);
  new Float32Array(bench.memory.buffer, x, tokens * cols).forEach((_, i, all) => {
    all[i] = Math.sin(i * 0.37);
  });
  const [q, scales, y] = [bench.take(tokens * cols), bench.take(tokens * cols), bench.take(4 * tokens * rows)];
  return [{ run: () => bench.k.gemm_rows(list[0], x, q, scales, y, tokens, 32, 1), end: () => bench.end() }];
}

const ms = async (run, times) => {
  const started = performance.now();
  for (let i = 0; i < times; i++) await run();
  return (performance.now() - started) / times;
};

console.log("| matrix | tokens | threads | ours, ms | onnxruntime-node | onnxruntime-web | node / ours | web / ours |");
console.log("|---|---|---|---|---|---|---|---|");
for (const threads of o.threads.split(",").map(Number))
  for (const [name, shape] of Object.entries(SHAPES)) {
    if (o.only && !o.only.split(",").includes(name)) continue;
    for (const tokens of o.tokens.split(",").map(Number)) {
      const engines = [await ours(shape, tokens, threads), await onnx(native, shape, tokens, threads)];
      if (shape[0] * tokens < 2 ** 22) engines.push(await onnx(web, shape, tokens, threads));
      const cells = [];
      for (const runs of engines)
        for (const one of runs) {
          // Until compilers are done.
          const begun = performance.now();
          while (performance.now() - begun < 300) await one.run();
          one.times = Math.max(1, Math.round(30 / (await ms(one.run, 1))));
          one.list = [];
        }
      for (let sample = 0; sample < Number(o.samples); sample++)
        for (const runs of engines) for (const one of runs) one.list.push(await ms(one.run, one.times));
      for (const runs of engines) cells.push(Math.min(...runs.map((one) => median(one.list))));
      for (const runs of engines) for (const one of runs) await one.end();
      const digits = (v) => (v === undefined ? "–" : v.toPrecision(3));
      const ratio = (v) => (v === undefined ? "–" : (v / cells[0]).toFixed(2));
      console.log(
        `| ${shape.join(" × ")} | ${tokens} | ${threads} | ${digits(cells[0])} | ${digits(cells[1])} | ${digits(cells[2])} | ${ratio(cells[1])} | ${ratio(cells[2])} |`,
      );
    }
  }
process.exit(0);
