// The program whose instructions bench/arm.mjs counts. Says what it is about to run on standard error, and marks begin and end.
//   count.mjs kernels MODULE FORM,... KIND,... TOKENS,...
//   count.mjs token MODEL DIST BASE|RELAXED FORM
import { readFileSync } from "node:fs";

const [what, ...args] = process.argv.slice(2);
const say = (text) => console.error(`@@${text}`);
// The plugin tells its count at this call.
const mark = () => process.ppid;

function kernels([file, forms, kinds, tokens]) {
  const KINDS = ["f32", "f16", "bf16", "int4", "int4-min", "int6", "int8", "int8-min", "ternary"];
  const FORMS = ["dot16", "dot32", "dot32-lanes", "extended"];
  const memory = new WebAssembly.Memory({ initial: 256, maximum: 256 });
  const k = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), { env: { memory } }).exports;
  let top = k.__heap_base.value;
  const take = (bytes) => {
    const at = Math.ceil(top / 64) * 64;
    top = at + bytes;
    return at;
  };
  const [rows, cols] = [64, 1024];
  for (const kind of kinds.split(","))
    for (const form of forms.split(",")) {
      const id = KINDS.indexOf(kind);
      // Builds from before there were forms have one.
      if (k.choose_form && k.choose_form(id, FORMS.indexOf(form)) !== 0) continue;
      const [w, group] = [take(24), kind === "ternary" ? 256 : 32];
      new Int32Array(memory.buffer, w, 6).set([id, rows, cols, group, 0, 0]);
      const bytes = k.tensor_bytes(w);
      const data = take(bytes);
      new Int32Array(memory.buffer)[w / 4 + 4] = data;
      new Uint8Array(memory.buffer, data, bytes).fill(0x22);
      for (const n of tokens.split(",").map(Number)) {
        const x = take(4 * n * cols);
        new Float32Array(memory.buffer, x, n * cols).fill(0.5);
        const [q, scales, y] = [take(n * cols), take(n * cols), take(4 * n * rows)];
        const run = (times) => k.gemm_rows(w, x, q, scales, y, n, group, times);
        run(2);
        say(`of ${JSON.stringify({ kind, form, tokens: n, blocks: (rows / 8) * (cols / 32) })}`);
        // Twice, so that what a call does besides is known: the difference is four times the products alone.
        for (let sample = 0; sample < 3; sample++) {
          mark();
          run(1);
          mark();
          run(5);
          mark();
        }
      }
    }
}

async function token([path, dist, variant, form]) {
  const { load } = await import(dist);
  const model = await load(path, { threads: 1, worker: false, variant, ...(form === "-" ? {} : { form }), draft: false });
  const session = await model.session();
  await session.forward([1, 5, 6, 7, 8, 9, 10, 11]);
  for (let i = 0; i < 6; i++) await session.forward([20 + i]);
  say(`of ${JSON.stringify({ variant, form })}`);
  // What the runtime does around the kernels is in it.
  for (let i = 0; i < 12; i++) {
    mark();
    await session.forward([30 + i]);
    mark();
  }
  await model.dispose();
}

if (what === "kernels") kernels(args);
else await token(args);
