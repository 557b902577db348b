// Sums of products of inputs: the kernel has the definition's bits, whatever the shape and the lanes; rounded inputs give nearly the same.
import { readFile } from "node:fs/promises";
import { afterAll, expect, test } from "vitest";
import { HESSIANS, Hessian, type HessianForm } from "../../src/quantise/hessian.ts";
import { Machine } from "../../src/quantise/module.ts";
import { wasmPath } from "../support/bench.ts";
import { host } from "../support/engine.ts";
import { openMachine } from "../support/quantise.ts";

const several = {
  host: async () => host,
  module: async () => WebAssembly.compile(await readFile(wasmPath("quantise.mt"))),
};
const machines = [await openMachine(), await Machine.open(several, 3)];
afterAll(async () => {
  for (const machine of machines) await machine.end();
});

/** Rows of inputs as models have them: channels of very different size, a massive first position, one channel that is always 0, one of tiny values. */
function inputs(rows: number, cols: number): Float32Array {
  let state = 5;
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1;
  return Float32Array.from({ length: rows * cols }, (_, at) => {
    const [row, col] = [Math.floor(at / cols), at % cols];
    const x = random() * random() * (1 + (col % 7));
    return col === 2 ? 0 : col === 3 ? x * 1e-38 : row === 0 && col === 1 ? 900 : x;
  });
}

/** Rows that are summed at once. */
const CHUNK = 128;

/** H with its diagonal, 0 where inputs are. */
function whole(machine: Machine, cols: number, h: number, diag: number, dead: number): Float64Array {
  const values = machine.f64(h, cols * cols).slice();
  for (let i = 0; i < cols; i++) values[i * cols + i] = machine.u8(dead, cols)[i] ? 0 : machine.f64(diag, cols)[i]!;
  return values;
}

async function summed(machine: Machine, x: Float32Array, cols: number, form: HessianForm): Promise<Float64Array> {
  const sums = new Hessian(machine, cols, form);
  await sums.add(x);
  const { h, diag, dead } = sums.finish();
  const values = whole(machine, cols, h.at, diag.at, dead.at);
  sums.end(true);
  machine.free(dead, diag, h);
  return values;
}

for (const form of HESSIANS)
  test(`${form}: the kernel has the definition's bits on one lane and on several`, async () => {
    for (const [rows, cols] of [
      [1, 1],
      [3, 5],
      [128, 64],
      [77, 136],
      [127, 203],
      [300, 37],
    ] as const) {
      const x = inputs(rows, cols);
      const [one, three] = [await summed(machines[0]!, x, cols, form), await summed(machines[1]!, x, cols, form)];
      const machine = machines[0]!;
      const expected = await machine.scope(async (take) => {
        const [h, at, diag, dead] = [take("f64", cols * cols), take("f32", rows * cols), take("f64", cols), take("u8", cols)];
        machine.f32(at.at, rows * cols).set(x);
        for (let row = 0; row < rows; row += CHUNK) {
          const count = Math.min(CHUNK, rows - row);
          machine.exports.hessian_add_ref(h.at, at.at + 4 * row * cols, form === "int16" ? 1 : 0, count, cols);
        }
        machine.exports.hessian_finish(h.at, cols, 2 / rows, diag.at, dead.at);
        return whole(machine, cols, h.at, diag.at, dead.at);
      });
      for (let i = 0; i < cols; i++)
        for (let k = i; k < cols; k++)
          if (one[i * cols + k] !== expected[i * cols + k])
            expect.fail(`${rows} x ${cols}: (${i}, ${k}) ${one[i * cols + k]}, expected ${expected[i * cols + k]}`);
      expect(three, `${rows} x ${cols}`).toEqual(one);
    }
  });

test("inputs rounded to 12 bits and a sign give products that are right to 3 in 10,000 of the columns' sizes", async () => {
  const [rows, cols] = [300, 40];
  const x = inputs(rows, cols);
  const got = await summed(machines[1]!, x, cols, "int16");
  const float = await summed(machines[1]!, x, cols, "float");
  expect(got).not.toEqual(float);
  const exact = (i: number, k: number) => {
    let sum = 0;
    for (let t = 0; t < rows; t++) sum += x[t * cols + i]! * x[t * cols + k]!;
    return (2 / rows) * sum;
  };
  for (let i = 0; i < cols; i++)
    for (let k = i; k < cols; k++) {
      const size = Math.sqrt(exact(i, i) * exact(k, k));
      if (i === 3 || k === 3) expect(got[i * cols + k], "tiny inputs count as none").toBe(0);
      else {
        expect(Math.abs(got[i * cols + k]! - exact(i, k)), `(${i}, ${k})`).toBeLessThanOrEqual(3e-4 * size);
        expect(Math.abs(float[i * cols + k]! - exact(i, k)), `(${i}, ${k})`).toBeLessThanOrEqual(1e-5 * size);
      }
    }
});
