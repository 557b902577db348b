// Memory as a process that takes turns: milliseconds in which so many lanes of WebAssembly read so many bytes, out of 400 MB.
//   fork(readturns.mjs, [BYTES, LANES])
import { fileURLToPath } from "node:url";
import { open, PAGE } from "../kernels-lib.mjs";
import { processorTime } from "./measure.mjs";

const [bytes, lanes] = process.argv.slice(2).map(Number);
const all = 400 << 20;
const bench = await open(fileURLToPath(new URL("../../wasm", import.meta.url)), false, lanes, all + 16 * PAGE);
const at = bench.take(all);
new Uint8Array(bench.memory.buffer, at, all).fill(1);
process.send({ ready: true });
process.on("message", () => {
  const [begun, before] = [performance.now(), processorTime()];
  bench.k.peak_read(at, all / PAGE, 1);
  const share = bytes / all;
  process.send({ ms: (performance.now() - begun) * share, processorMs: (processorTime() - before) * share });
});
