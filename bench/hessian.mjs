// The parts of error feedback on one thread: GFLOP/s of the Hessian's accumulation (float products, and those of inputs rounded to 16 bits),
// of the solve and of the columns, beside the peak of float32 multiplications and additions that the same thread reaches in turns with them.
//   node bench/hessian.mjs [--cols 1024,4096] [--rounds 9] [--part hessian]
import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { cols: { type: "string", default: "1024,4096" }, rounds: { type: "string", default: "9" }, part: { type: "string" } },
});
const rounds = Number(values.rounds);

/** A module on a memory of its own, with a bump allocator. */
async function open(name) {
  const memory = new WebAssembly.Memory({ initial: 8192, maximum: 65536 });
  const module = await WebAssembly.compile(readFileSync(fileURLToPath(new URL(`../wasm/${name}.wasm`, import.meta.url))));
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  exports.pool_start(1);
  let top = Math.ceil(exports.__heap_base.value / 64) * 64;
  const take = (bytes) => {
    const at = top;
    top = Math.ceil((top + bytes) / 64) * 64;
    return at;
  };
  return { k: exports, memory, take };
}

/** Least processor seconds of each of several works, by turns. */
function turns(works, rounds) {
  const least = works.map(() => Infinity);
  for (let i = 0; i < rounds; i++)
    for (const [j, work] of works.entries()) {
      const begun = clock();
      work();
      least[j] = Math.min(least[j], clock() - begun);
    }
  return least;
}

/** Seconds of this process's processor time: the machine may have other work. */
const clock = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

const train = await open("train");
const PEAK = 2_000_000;
console.log(
  "| columns | peak | Hessian | share of the peak | Hessian, int16 | solve | columns of 256 rows |\n|---|---|---|---|---|---|---|",
);
for (const cols of values.cols.split(",").map(Number)) {
  const { k, memory, take } = await open("quantise");
  const h = take(8 * cols * cols);
  const x = take(4 * 128 * cols);
  const packed = take(k.hessian_packed_bytes(cols));
  const noise = new Float32Array(memory.buffer, x, 128 * cols);
  let state = 1;
  for (let i = 0; i < noise.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    noise[i] = state / 2 ** 31 - 1;
  }
  const steps = take(8 * (cols + 8));
  const [peak, hessian, rounded] = turns(
    [
      () => train.k.train_peak(PEAK),
      () => k.hessian_add(h, x, packed, 0, 128, cols),
      () => k.hessian_add(h, x, packed, steps, 128, cols),
    ],
    rounds,
  );
  const rate = (flop, seconds) => flop / seconds / 1e9;
  const most = rate(PEAK * 12 * 4 * 2, peak);
  const own = rate(128 * cols * (cols + 1), hessian);
  const integer = rate(128 * cols * (cols + 1), rounded);
  const share = `${((100 * own) / most).toFixed(0)} %`;
  const shown = [cols, most.toFixed(1), own.toFixed(1), share, integer.toFixed(1)];
  if (values.part === "hessian") {
    console.log(`| ${shown.join(" | ")} | | |`);
    continue;
  }
  const [diag, dead, order] = [take(8 * cols), take(cols), take(4 * cols)];
  k.hessian_finish(h, cols, 2 / 128, diag, dead);
  new Int32Array(memory.buffer, order, cols).set(Array.from({ length: cols }, (_, i) => cols - 1 - i));
  const scratch = take(k.solve_scratch_bytes(cols));
  const few = cols > 2048 ? 1 : 3;
  const [solve] = turns([() => k.solve(h, diag, order, scratch, cols, 1)], few);
  const rows = 256;
  const [w, scales, zeros, codes, losses] = [4, 8 / 128, 8 / 128, 1].map((b) => take(b * rows * cols)).concat(take(8 * rows));
  new Float32Array(memory.buffer, w, rows * cols).set(Array.from({ length: rows * cols }, (_, i) => noise[i % noise.length]));
  k.grid_int4(w, 0, rows, cols, 128, 1, 0, 0, scales, zeros);
  const space = take(k.gptq_scratch_bytes(cols, 1));
  const columnsOf = () => k.gptq(w, 0, rows, cols, h, order, dead, 128, 15, scales, zeros, codes, losses, space);
  const [columns] = turns([columnsOf], few);
  const cells = [
    ...shown,
    `${solve.toFixed(2)} s, ${rate(cols ** 3, solve).toFixed(1)}`,
    `${columns.toFixed(2)} s, ${rate(rows * cols * cols, columns).toFixed(1)}`,
  ];
  console.log(`| ${cells.join(" | ")} |`);
}
process.exit(0);
