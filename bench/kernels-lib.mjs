// What the kernel benchmarks share: a build over a memory and lanes of its own, random packed weights, interleaved timing.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

export const KINDS = ["f32", "f16", "bf16", "int4", "int4-min", "int6", "int8", "int8-min", "ternary"];
export const PAGE = 65536;
// More than the last-level cache: matrices are met in turn, as decoding meets them.
export const COLD_BYTES = 160 << 20;

if (!isMainThread && workerData?.stackTop) {
  const { module, memory, index, stackTop } = workerData;
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  exports.__stack_pointer.value = stackTop;
  parentPort.postMessage("ready");
  exports.pool_worker(index);
}

/** A kernel build over a memory and lanes of its own. */
export async function open(folder, base, lanes, bytes) {
  const threads = lanes > 1;
  const name = `kernels${base ? "" : ".relaxed"}${threads ? ".mt" : ""}.wasm`;
  const module = await WebAssembly.compile(readFileSync(join(folder, name)));
  const pages = Math.ceil(bytes / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: threads });
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  let top = exports.__heap_base.value;
  const take = (n) => {
    const at = Math.ceil(top / 64) * 64;
    top = at + n;
    if (top > memory.buffer.byteLength) throw new Error("the workbench is full");
    return at;
  };
  const workers = [];
  for (let index = 1; index < lanes; index++) {
    const stackTop = take(131072) + 131072;
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { module, memory, index, stackTop } });
    await new Promise((resolve) => worker.once("message", resolve));
    workers.push(worker);
  }
  exports.pool_start(lanes);
  return {
    k: exports,
    memory,
    take,
    mark: () => top,
    release: (to) => (top = to),
    end: () => Promise.all(workers.map((w) => w.terminate())),
  };
}

/** Enough packed copies of one matrix to leave the cache, with random codes and small scales. */
export function weights(bench, kind, [rows, cols], copies) {
  const group = kind === "ternary" ? 256 : 32;
  const struct = (data) => {
    const at = bench.take(24);
    new Int32Array(bench.memory.buffer, at, 6).set([KINDS.indexOf(kind), rows, cols, group, data, 0]);
    return at;
  };
  const bytes = bench.k.tensor_bytes(struct(0));
  const list = [];
  for (let i = 0; i < copies(bytes); i++) list.push(struct(bench.take(bytes)));
  const words = new Int32Array(bench.memory.buffer);
  // Every 16-bit unit 0x2xxx or so is an ordinary half, whatever the kernel reads it as.
  let state = 1;
  for (const at of list) {
    const first = words[at / 4 + 4] / 4;
    for (let i = 0; i < bytes / 4; i++)
      words[first + i] = ((state = Math.imul(state, 1664525) + 1013904223) & 0x2aaa2aaa) | 0x20002000;
  }
  return { list, bytes };
}

export const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Milliseconds of one call of each of `tasks`, in turns: `samples` rows of per-task times. */
export function interleave(tasks, targetMs, samples, warm = 10) {
  const counts = tasks.map((task) => {
    // Until the optimising compiler has replaced the first tier.
    for (const until = performance.now() + warm; performance.now() < until; ) task();
    const started = performance.now();
    task();
    return Math.max(1, Math.round(targetMs / Math.max(1e-3, performance.now() - started)));
  });
  const rows = [];
  for (let s = -1; s < samples; s++) {
    const row = tasks.map((task, i) => {
      const started = performance.now();
      for (let n = counts[i]; n > 0; n--) task();
      return (performance.now() - started) / counts[i];
    });
    if (s >= 0) rows.push(row);
  }
  return rows;
}
