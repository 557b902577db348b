// Times whole forward steps of a MiniCPM4-0.5B-shaped model with random weights, one or two builds side by side.
//   node bench/kernels-step.mjs [--wasm DIR[,DIR]] [--base] [--lanes 1,2] [--kind int4] [--head int8] [--rows 1,2,3,4,6,8,16,32,512] [--context 0,512,8000] [--kv f16|f32|q8]
// A step is all layers for some rows of one sequence at a context length, and the logits of the last row (of every row up to
// 32, as verifying a draft needs them). The last columns: time against one row, and the share of the time that is not GEMM.
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { interleave, KINDS, median, open } from "./kernels-lib.mjs";

const M = { layers: 24, hidden: 1024, inner: 4096, heads: 16, kvHeads: 2, dim: 64, vocab: 73448 };
const KV = { f16: 0, f32: 1, q8: 2 };

function model(b, kind, headKind, kv, capacity, maxRows, lanes) {
  const { k, take, memory } = b;
  const write = (values) => {
    const at = take(4 * values.length);
    const view = new DataView(memory.buffer);
    for (const [i, v] of values.entries())
      if (typeof v === "object") view.setFloat32(at + 4 * i, v.f, true);
      else view.setInt32(at + 4 * i, v, true);
    return at;
  };
  const f = (value) => ({ f: value });
  let state = 1;
  const tensor = (type, rows, cols) => {
    const fields = [KINDS.indexOf(type), rows, cols, type === "ternary" ? 256 : 32];
    const bytes = k.tensor_bytes(write([...fields, 0]));
    const data = take(bytes);
    const words = new Int32Array(memory.buffer, data, bytes / 4);
    for (let i = 0; i < words.length; i++)
      words[i] = ((state = Math.imul(state, 1664525) + 1013904223) & 0x0aaa0aaa) | 0x10001000;
    return [...fields, data];
  };
  const ones = take(4 * M.hidden);
  new Float32Array(memory.buffer, ones, M.hidden).fill(1);
  const list = [];
  const layers = Array.from({ length: M.layers }, () => {
    const shapes = [
      [M.heads * M.dim, M.hidden],
      [M.kvHeads * M.dim, M.hidden],
      [M.kvHeads * M.dim, M.hidden],
      [M.hidden, M.heads * M.dim],
      [M.inner, M.hidden],
      [M.inner, M.hidden],
      [M.hidden, M.inner],
    ];
    const tensors = shapes.map(([r, c]) => tensor(kind, r, c));
    list.push(...tensors);
    return [ones, ones, ...tensors.flat()];
  });
  const head = tensor(headKind, M.vocab, M.hidden);
  const rope = take(8 * (M.dim / 2));
  k.rope_frequencies(rope, M.dim, 10000, 0);
  const layersAt = write(layers.flat());
  const struct = write([
    M.layers,
    M.hidden,
    M.inner,
    M.heads,
    M.kvHeads,
    M.dim,
    M.vocab,
    KV[kv],
    256,
    0,
    f(1e-5),
    f(1),
    f(0.2),
    f(1),
    f(1),
    0,
    rope,
    ones,
    ...head,
    ...head,
    layersAt,
  ]);
  const kvBytes = k.kv_bytes(struct, capacity) >>> 0;
  const data = take(kvBytes);
  const noise = new Int32Array(memory.buffer, data, kvBytes / 4);
  for (let i = 0; i < noise.length; i++) noise[i] = ((state = Math.imul(state, 1664525) + 1013904223) & 0x2aaa2aaa) | 0x20002000;
  const sequence = write([data, capacity, 0]);
  const logitRows = Math.min(32, maxRows);
  const rowsAt = take(28 * maxRows);
  const batch = write([
    rowsAt,
    take(k.scratch_bytes(struct, maxRows, lanes, capacity)),
    take(4 * M.vocab * logitRows),
    0,
    maxRows,
    lanes,
    logitRows,
  ]);
  const picked = write(Array.from({ length: maxRows }, (_, i) => i));
  const ints = new Int32Array(memory.buffer);
  const step = (rows, context) => {
    for (let i = 0; i < rows; i++)
      ints.set([sequence, 7 + i, context + i, context + i, context + i + 1, 0, 0], rowsAt / 4 + 7 * i);
    ints[batch / 4 + 3] = rows;
    let status = k.forward(struct, batch, capacity, 0, M.layers);
    const some = rows > 32;
    status ||= k.head(struct, batch, capacity, picked + (some ? 4 * (rows - 1) : 0), some ? 1 : rows);
    if (status) throw new Error(`status ${status}`);
  };
  const structs = [...list, head].map((fields) => write(fields));
  const [x, q, s, y] = [
    take(4 * maxRows * M.inner),
    take(maxRows * M.inner),
    take(maxRows * M.inner),
    take(4 * maxRows * Math.max(M.inner, maxRows > 32 ? 1 : 0) + 4 * 32 * M.vocab),
  ];
  const gemms = (rows) => {
    for (const [i, at] of structs.entries())
      k.gemm_rows(at, x, q, s, y, i === structs.length - 1 && rows > 32 ? 1 : rows, kind === "ternary" ? 256 : 32, 1);
  };
  return { step, gemms };
}

const { values: o } = parseArgs({
  options: {
    wasm: { type: "string", default: fileURLToPath(new URL("../wasm", import.meta.url)) },
    base: { type: "boolean", default: false },
    lanes: { type: "string", default: "1,2" },
    kind: { type: "string", default: "int4" },
    head: { type: "string", default: "int8" },
    rows: { type: "string", default: "1,2,3,4,6,8,16,32,512" },
    context: { type: "string", default: "0" },
    kv: { type: "string", default: "f16" },
    samples: { type: "string", default: "9" },
  },
});
const folders = o.wasm.split(",");
const base = o.base || Number(process.versions.node.split(".")[0]) < 22;
const rowCounts = o.rows.split(",").map(Number);
const contexts = o.context.split(",").map(Number);
console.log(
  `node ${process.versions.node}, ${base ? "base" : "relaxed"}, ${process.execArgv.join(" ") || "no flags"}, ${o.kind} with ${o.head} head, ${o.kv} cache`,
);
for (const lanes of o.lanes.split(",").map(Number)) {
  const most = Math.max(...rowCounts);
  const capacity = Math.ceil((Math.max(...contexts) + most + 1) / 64) * 64;
  const benches = await Promise.all(
    folders.map((folder) => open(folder, base, lanes, (900 << 20) + capacity * 24 * 1024 + most * 200000)),
  );
  const models = benches.map((b) => model(b, o.kind, o.head, o.kv, capacity, most, lanes));
  for (const context of contexts) {
    let one;
    for (const rows of rowCounts) {
      const tasks = models.flatMap((m) => [() => m.step(rows, context), () => m.gemms(rows)]);
      const times = interleave(tasks, 20, Number(o.samples), one ? 20 : 400);
      const ms = tasks.map((_, i) => Math.min(...times.map((row) => row[i])));
      const steps = ms.filter((_, i) => i % 2 === 0);
      one ??= steps;
      const cells = steps.map(
        (t, i) =>
          `${t.toFixed(2).padStart(9)} ms ${((1000 * rows) / t).toFixed(1).padStart(7)}/s x1:${(t / one[i]).toFixed(2)} other ${(100 * (1 - ms[2 * i + 1] / ms[2 * i])).toFixed(1).padStart(5)} %`,
      );
      const ratio =
        folders.length > 1
          ? `  x ${(steps[0] / steps[1]).toFixed(2)} (median of pairs ${median(times.map((row) => row[0] / row[2])).toFixed(2)})`
          : "";
      console.log(
        `${lanes} lane(s) context ${String(context).padEnd(5)} rows ${String(rows).padEnd(4)}${cells.join(" |")}${ratio}`,
      );
    }
  }
  await Promise.all(benches.map((b) => b.end()));
}
