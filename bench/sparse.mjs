// Attention alone, dense beside sparse, by context length: what RESULTS.md says about InfLLM v2.
//   node bench/sparse.mjs [--threads 1,2] [--kv f16,q8] [--shapes 0.5B,8B] [--rows 1,512] [--lengths 8192,…] [--build kernels]
// One layer over a cache of random keys; queries are random too, so that neighbouring rows choose unlike blocks (the worst
// case for sharing). Stage 1 scores and chooses, stage 2 attends.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { writeModel } from "../dist/model/plan.js";
import { PUBLISHED_SPARSE, sparseWords } from "../dist/model/sparse.js";
import { STRUCT_BYTES, StructWriter } from "../dist/wasm/abi.js";
import { instantiateKernels } from "../dist/wasm/instance.js";
import { runLane } from "../dist/wasm/lane.js";

export const SHAPES = { "0.5B": { heads: 16, kvHeads: 2, headDim: 64 }, "8B": { heads: 32, kvHeads: 2, headDim: 128 } };
const DENSE = 0;
const STACK = 128 * 1024;

export class AttentionBench {
  static async open(options) {
    const { shape, kv, threads, length, rows, sparse, build: file } = options;
    const name = `${file}${threads > 1 ? ".mt" : ""}`;
    const module = await WebAssembly.compile(readFileSync(new URL(`../wasm/${name}.wasm`, import.meta.url)));
    const memory = new WebAssembly.Memory({ initial: 1024, maximum: 65536, shared: threads > 1 });
    const kernels = await instantiateKernels(module, memory);
    const bench = new AttentionBench();
    Object.assign(bench, { kv, threads, length, ...shape, kernels, memory, top: kernels.__heap_base.value, workers: [] });
    const config = {
      layers: 1,
      hidden: 32,
      intermediate: 32,
      ...shape,
      vocab: 32,
      rmsEps: 1e-5,
      embeddingScale: 1,
      residualScale: 1,
      logitScale: 1,
      ropeScale: 1,
    };
    bench.model = bench.take(STRUCT_BYTES.model);
    writeModel(memory.buffer, bench.model, config, kv, 256, sparseWords({ ...PUBLISHED_SPARSE, denseLen: 1, ...sparse }, length));
    const bytes = kernels.kv_bytes(bench.model, length);
    bench.cache = bench.take(bytes);
    bench.fill(bytes);
    bench.sequence = bench.take(STRUCT_BYTES.sequence);
    new StructWriter(memory.buffer, bench.sequence).words(bench.cache).ints(length, 0);
    bench.rowsAt = bench.take(STRUCT_BYTES.row * rows);
    bench.batch = bench.take(STRUCT_BYTES.batch);
    const scratch = bench.take(kernels.scratch_bytes(bench.model, rows, threads, length));
    new StructWriter(memory.buffer, bench.batch).words(bench.rowsAt, scratch, 0).ints(0, rows, threads, 1);
    const width = shape.heads * shape.headDim;
    bench.q = bench.take(4 * rows * width);
    bench.o = bench.take(4 * rows * width);
    const q = new Float32Array(memory.buffer, bench.q, rows * width);
    for (let i = 0; i < q.length; i++) q[i] = ((Math.random() - 0.5) * 4) / Math.sqrt(shape.headDim);
    await bench.startLanes(module);
    bench.build();
    return bench;
  }

  take(bytes) {
    const at = Math.ceil(this.top / 64) * 64;
    this.top = at + bytes;
    const missing = this.top - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / 65536));
    return at;
  }

  /** Random halves (or codes and scales) everywhere: every byte pattern that is an ordinary number of the type. */
  fill(bytes) {
    const noise = new Uint16Array(1 << 16);
    for (let i = 0; i < noise.length; i++)
      noise[i] =
        (this.kv === "f16" ? 0x3000 + Math.random() * 0xe00 : Math.random() * 0x10000) | (Math.random() < 0.5 ? 0x8000 : 0);
    const all = new Uint8Array(this.memory.buffer, this.cache, bytes);
    const piece = new Uint8Array(noise.buffer);
    for (let at = 0; at < bytes; at += piece.length - 258) all.set(piece.subarray(0, Math.min(piece.length, bytes - at)), at);
    if (this.kv !== "q8") return;
    const tile = Math.ceil(this.headDim / 4) * 128 + 128;
    const tiles = (this.kvHeads * 2 * this.length) / 32;
    for (let i = 0; i < tiles; i++) new Float32Array(this.memory.buffer, this.cache + (i + 1) * tile - 128, 32).fill(0.01);
  }

  async startLanes(module) {
    for (let index = 1; index < this.threads; index++) {
      const worker = new Worker(new URL(import.meta.url), {
        workerData: { lane: { module, memory: this.memory, index, stackTop: this.take(STACK) + STACK } },
      });
      this.workers.push(worker);
      await new Promise((resolve) => worker.once("message", resolve));
    }
    this.kernels.pool_start(this.threads);
  }

  set windowed(slots) {
    new Int32Array(this.memory.buffer, this.sequence + 12, 1)[0] = slots;
  }

  /** Compressed keys of the whole cache; milliseconds. */
  build() {
    this.windowed = 0;
    const started = performance.now();
    this.run(1, this.length, 1);
    const ms = performance.now() - started;
    this.windowed = this.length;
    return ms;
  }

  /** `rows` last rows of the cache; parts as in forward_attention. */
  run(rows, total, parts = 7) {
    const writer = new StructWriter(this.memory.buffer, this.rowsAt);
    for (let i = 0; i < rows; i++) {
      const slot = this.length - rows + i;
      writer.words(this.sequence).ints(0, slot, slot, slot + 1, 0, 0, total, 0);
    }
    new StructWriter(this.memory.buffer, this.batch + 24).ints(rows);
    if (this.kernels.attention(this.model, this.batch, this.length, 0, this.q, this.o, parts) !== 0)
      throw new Error("attention failed");
  }

  async close() {
    this.kernels.pool_fail();
    for (const worker of this.workers) await worker.terminate();
  }
}

/**
 * Milliseconds of one run. With one thread: its processor time, which other programs on the machine do not stretch; with more:
 * the shortest wall time. `enough`: milliseconds to measure for.
 */
export function measure(run, threads, enough = 300, warm = run) {
  // The engine compiles hot code again, on threads of its own: that is not to be counted.
  for (const begun = performance.now(); performance.now() - begun < 250; ) warm();
  const cpu = process.cpuUsage();
  const started = performance.now();
  let best = Infinity;
  let count = 0;
  for (; count < 1 || performance.now() - started < enough; count++) {
    const t = performance.now();
    run();
    best = Math.min(best, performance.now() - t);
  }
  const { user, system } = process.cpuUsage(cpu);
  return threads === 1 ? (user + system) / 1000 / count : best;
}

async function main() {
  const { values } = parseArgs({
    options: {
      threads: { type: "string", default: "1" },
      kv: { type: "string", default: "f16" },
      shapes: { type: "string", default: "0.5B,8B" },
      lengths: { type: "string", default: "8192,16384,32768,65536,131072" },
      rows: { type: "string", default: "1,512" },
      coarse: { type: "boolean", default: false },
      build: { type: "string", default: "kernels" },
    },
  });
  const list = (text) => text.split(",");
  const f = (ms) => ms.toPrecision(3);
  console.log("| shape | KV | threads | tokens at once | length | dense ms | sparse ms | stage 1 | stage 2 | dense / sparse |");
  console.log("|---|---|---|---|---|---|---|---|---|---|");
  for (const name of list(values.shapes))
    for (const kv of list(values.kv))
      for (const threads of list(values.threads).map(Number))
        for (const rows of list(values.rows).map(Number))
          for (const length of list(values.lengths).map(Number)) {
            const bench = await AttentionBench.open({
              shape: SHAPES[name],
              kv,
              threads,
              length,
              rows,
              sparse: { exactLse: !values.coarse },
              build: values.build,
            });
            const time = (total, parts) =>
              measure(
                () => bench.run(rows, total, parts),
                threads,
                rows > 1 ? 0 : 300,
                () => bench.run(Math.min(rows, 8), total, parts),
              );
            const [sparse, one, two, dense] = [time(length, 7), time(length, 2), time(length, 4), time(DENSE, 7)];
            console.log(
              `| ${name} | ${kv} | ${threads} | ${rows} | ${length} | ${f(dense)} | ${f(sparse)} | ${f(one)} | ${f(two)} | ${f(dense / sparse)} |`,
            );
            await bench.close();
          }
}

if (!isMainThread && workerData?.lane) await runLane(workerData.lane, () => parentPort.postMessage("ready"));
else if (process.argv[1] === new URL(import.meta.url).pathname) await main();
