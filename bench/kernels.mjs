// Times the GEMM kernels of one or two builds side by side: GB/s of weights and GOP/s for a model's matrices, against this
// machine's read bandwidth and dot-product peak as WebAssembly reaches them, in percent behind each.
//   node bench/kernels.mjs [--wasm DIR[,DIR]] [--base] [--lanes 1,2] [--kinds int4,...] [--tokens 1,2,...] [--shape 0.5b|8b] [--only NAME,...]
//     [--form dot16|dot32|dot32-lanes|extended]
// Times are the best of --samples. With two folders, samples alternate between them, and the last column is first over second.
// V8's re-vectoriser: node --experimental-wasm-revectorize bench/kernels.mjs ...
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { FORMS, KINDS } from "../dist/wasm/abi.js";
import { COLD_BYTES, interleave, median, open, PAGE, weights } from "./kernels-lib.mjs";

const SHAPES = {
  "0.5b": { q: [1024, 1024], k: [128, 1024], gate: [4096, 1024], down: [1024, 4096], head: [73448, 1024] },
  "8b": { q: [4096, 4096], k: [256, 4096], gate: [16384, 4096], down: [4096, 16384], head: [73448, 4096] },
};
const INTEGERS = /^(int|ternary)/;
async function main() {
  const { values: o } = parseArgs({
    options: {
      wasm: { type: "string", default: fileURLToPath(new URL("../wasm", import.meta.url)) },
      base: { type: "boolean", default: false },
      lanes: { type: "string", default: "1,2" },
      kinds: { type: "string", default: "int4,int8,ternary,f16" },
      tokens: { type: "string", default: "1,2,3,4,6,8,16,32,128,512" },
      shape: { type: "string", default: "0.5b" },
      only: { type: "string" },
      samples: { type: "string", default: "9" },
      ms: { type: "string", default: "8" },
      hot: { type: "boolean", default: false },
      form: { type: "string", default: "dot16" },
    },
  });
  const folders = o.wasm.split(",");
  const base = o.base || Number(process.versions.node.split(".")[0]) < 22;
  const matrices = Object.entries(SHAPES[o.shape]).filter(([name]) => !o.only || o.only.split(",").includes(name));
  const tokenCounts = o.tokens.split(",").map(Number);
  const most = Math.max(...tokenCounts);
  const widest = Math.max(...matrices.map(([, [rows, cols]]) => rows + 2 * cols));
  const largest = o.shape === "8b" ? 700 << 20 : 340 << 20;
  console.log(`node ${process.versions.node}, ${base ? "base" : "relaxed"}, ${process.execArgv.join(" ") || "no flags"}`);
  for (const lanes of o.lanes.split(",").map(Number)) {
    const benches = await Promise.all(
      folders.map((folder) => open(folder, base, lanes, largest + COLD_BYTES + 5 * most * widest)),
    );
    for (const { k } of benches)
      for (const [number, kind] of KINDS.entries())
        if (k.choose_form && INTEGERS.test(kind) && k.choose_form(number, FORMS.indexOf(o.form)) !== 0)
          throw new Error(`this build has no form ${o.form}`);
    let [readPeak, dotPeak] = [Number.NaN, Number.NaN];
    const peaks = benches.find((b) => b.k.peak_read);
    if (peaks) {
      const mark = peaks.mark();
      const pieces = COLD_BYTES / PAGE;
      const at = peaks.take(COLD_BYTES);
      new Uint8Array(peaks.memory.buffer, at, COLD_BYTES).fill(1);
      const read = Math.min(...interleave([() => peaks.k.peak_read(at, pieces, 1)], 20, 9, 150).map(([t]) => t));
      const dot = Math.min(...interleave([() => peaks.k.peak_dot(8 * lanes, 200)], 5, 9, 150).map(([t]) => t));
      peaks.release(mark);
      [readPeak, dotPeak] = [COLD_BYTES / read / 1e6, (lanes * 1600 * 60 * 32) / dot / 1e6];
      console.log(`${lanes} lane(s): reads ${readPeak.toFixed(1)} GB/s, dots ${dotPeak.toFixed(0)} GOP/s`);
    }
    for (const kind of o.kinds.split(","))
      for (const [name, shape] of matrices) {
        const [rows, cols] = shape;
        const marks = benches.map((b) => b.mark());
        const sets = benches.map((b) =>
          weights(b, kind, shape, (bytes) => (o.hot ? 1 : Math.max(1, Math.ceil(COLD_BYTES / 4 / bytes)))),
        );
        const runs = benches.map((b, i) => {
          const x = b.take(4 * most * cols);
          const inputs = new Float32Array(b.memory.buffer, x, most * cols);
          for (let n = 0; n < inputs.length; n++) inputs[n] = Math.sin(n * 0.37);
          const [q, scales, y] = [b.take(most * cols), b.take(most * cols), b.take(4 * most * rows)];
          let turn = 0;
          return (tokens) => {
            const { list } = sets[i];
            b.k.gemm_rows(list[turn++ % list.length], x, q, scales, y, tokens, kind === "ternary" ? 256 : 32, 1);
          };
        });
        for (const [i, tokens] of tokenCounts.entries()) {
          const times = interleave(
            runs.map((run) => () => run(tokens)),
            Number(o.ms),
            Number(o.samples),
            i ? 10 : 80,
          );
          const us = runs.map((_, n) => 1000 * Math.min(...times.map((row) => row[n])));
          const part = (value, peak) => `${((100 * value) / peak).toFixed(0).padStart(4)} %`;
          const cells = us.map((t) => {
            const [gbs, gops] = [sets[0].bytes / t / 1e3, (2 * rows * cols * tokens) / t / 1e3];
            return `${t.toFixed(1).padStart(10)} us ${gbs.toFixed(1).padStart(6)} GB/s ${part(gbs, readPeak)} ${gops.toFixed(0).padStart(5)} GOP/s ${part(gops, dotPeak)}`;
          });
          const ratio =
            runs.length > 1
              ? `  x ${(us[0] / us[1]).toFixed(2)} (median of pairs ${median(times.map((row) => row[0] / row[1])).toFixed(2)})`
              : "";
          console.log(
            `${lanes} ${kind.padEnd(8)} ${name.padEnd(5)} ${`${rows}x${cols}`.padEnd(11)} M=${String(tokens).padEnd(4)}${cells.join(" |")}${ratio}`,
          );
        }
        for (const [i, b] of benches.entries()) b.release(marks[i]);
      }
    await Promise.all(benches.map((b) => b.end()));
  }
}

await main();
