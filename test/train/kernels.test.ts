// Vector code against its scalar definition, in float32, at sizes that no tile divides.
import { expect, test } from "vitest";
import { BatchSpace } from "../../src/train/batch.ts";
import { OP_BYTES, Program, rows, turned } from "../../src/train/program.ts";
import { Trainer } from "../../src/train/trainer.ts";
import { batchOf, machineOf, normal, SMALL } from "./rig.ts";

const largest = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let [most, size] = [0, 1e-30];
  for (let i = 0; i < a.length; i++) {
    most = Math.max(most, Math.abs(a[i]! - b[i]!));
    size = Math.max(size, Math.abs(b[i]!));
  }
  return most / size;
};

test("matrix products in all layouts, with what they are added to", async () => {
  for (const [m, n, k] of [
    [1, 1, 1],
    [7, 9, 3],
    [6, 8, 256],
    [100, 37, 300],
    [97, 1030, 19],
    [13, 16, 513],
  ] as const)
    for (const layout of ["NN", "NT", "TN"] as const) {
      const machine = await machineOf();
      const scratch = machine.takeReals(machine.exports.matmul_scratch(1));
      const [a, b] = [machine.takeReals(m * k), machine.takeReals(k * n)];
      const [c, d, e] = [machine.takeReals(m * n), machine.takeReals(m * n), machine.takeReals(m * n)];
      const program = new Program(machine, () => scratch);
      const left = layout === "TN" ? turned(rows(a, m)) : rows(a, k);
      const right = layout === "NT" ? turned(rows(b, k)) : rows(b, n);
      for (const [to, reference] of [
        [c, false],
        [d, true],
      ] as const)
        program.matmul([m, n, k], left, right, rows(to, n), { alpha: 0.5, plus: rows(e, n) }, reference);
      program.place();
      machine.commit();
      program.write();
      const next = normal(m + n + k);
      for (const [at, count] of [
        [a, m * k],
        [b, k * n],
        [e, m * n],
      ] as const)
        machine.reals(at, count).forEach((_, i, all) => {
          all[i] = next();
        });
      await program.run();
      expect(largest(machine.reals(c, m * n), machine.reals(d, m * n)), `${layout} ${m} ${n} ${k}`).toBeLessThan(3e-6);
    }
});

test("attention and its gradients: dense, windowed, and with chosen blocks", async () => {
  // Few documents are cut into tiles; of many a lane takes one whole.
  for (const [window, block, dim, batchRows] of [
    [0, 0, 10, 3],
    [9, 0, 6, 3],
    [0, 32, 16, 3],
    [0, 64, 8, 3],
    [0, 0, 16, 9],
    [0, 0, 10, 9],
    [70, 0, 8, 9],
    [9, 0, 6, 9],
    [0, 32, 16, 9],
    [0, 64, 8, 9],
  ] as const) {
    const sparse = {
      kernelSize: 8,
      kernelStride: 4,
      blockSize: block,
      initBlocks: 1,
      windowSize: block,
      topk: 1,
      denseLen: 60,
      exactLse: true,
    };
    const shape = { ...SMALL, headDim: dim, ropeFactors: undefined, sparse: block ? sparse : undefined };
    const length = 150;
    const count = batchRows * length;
    const machine = await machineOf();
    const space = new BatchSpace(machine, count, shape.sparse);
    const [heads, kv, words] = [shape.heads, shape.kvHeads, 1];
    const [q, kvs] = [count * heads * dim, count * kv * dim];
    const take = (n: number) => machine.takeReals(n);
    const inputs = [take(q), take(kvs), take(kvs)] as const;
    const [dout, scratch, mask] = [
      take(q),
      take(machine.exports.attention_scratch(dim, 1)),
      machine.take(4 * count * kv * words),
    ];
    const outputs = [0, 1].map(() => ({
      o: take(q),
      lse: take(count * heads),
      delta: take(count * heads),
      dq: take(q),
      dk: take(kvs),
      dv: take(kvs),
    }));
    const program = new Program(machine, () => 0);
    for (const [i, to] of outputs.entries()) {
      const outs = [dout, to.delta, to.dq, to.dk, to.dv];
      for (const name of ["attendForward", "attendBackward"] as const)
        program.add(
          name,
          [heads, kv, dim, window, block, words, count, space.keyTiles - space.queryTiles, space.firstTiles - space.queryTiles],
          [...inputs, to.o, to.lse, space.queryTiles, space.counts, scratch, mask, ...outs],
          [1 / Math.sqrt(dim)],
          i === 1,
        );
    }
    program.place();
    machine.commit();
    program.write();
    const batch = batchOf(shape, batchRows, length, 7);
    space.write(batch, { first: 1, second: 1 });
    const next = normal(11);
    for (const [at, n] of [
      [inputs[0], q],
      [inputs[1], kvs],
      [inputs[2], kvs],
      [dout, q],
    ] as const)
      machine.reals(at, n).forEach((_, i, all) => {
        all[i] = next();
      });
    // Any choice serves; a query's own block is always among them.
    const bits = machine.ints(mask, count * kv);
    const positions = machine.ints(space.positions, count);
    for (let i = 0; i < count && block; i++)
      for (let h = 0; h < kv; h++) bits[i * kv + h] = 1 | (1 << Math.floor(positions[i]! / block)) | (((i >> 3) % 2) << 1);
    await program.run();
    const [got, want] = outputs as [(typeof outputs)[0], (typeof outputs)[0]];
    for (const [key, n] of Object.entries({ o: q, lse: count * heads, dq: q, dk: kvs, dv: kvs }) as [keyof typeof got, number][])
      expect(
        largest(machine.reals(got[key], n), machine.reals(want[key], n)),
        `${key} ${window} ${block} ${dim} ${batchRows}`,
      ).toBeLessThan(2e-6);
  }
});

test("the loss over logits, and SwiGLU's gradient", async () => {
  const [count, vocab] = [9, 1031];
  const machine = await machineOf();
  const take = (n: number) => machine.takeReals(n);
  const [logits, labels, weights, inverse] = [
    [take(count * vocab), take(count * vocab)],
    machine.take(4 * count),
    take(count),
    machine.take(8),
  ] as const;
  const rest = [0, 1].map(() => [machine.take(8 * count), machine.take(8 * count)] as const);
  const gates = [0, 1].map(() => [take(777), take(777)] as const);
  const made = [take(777), take(777)];
  const ds = take(777);
  const program = new Program(machine, () => 0);
  for (const i of [0, 1] as const) {
    program.add("crossEntropy", [count, vocab, 1], [logits[i], labels, weights, inverse, ...rest[i]!], [0.01, 0.7], i === 1);
    program.add("swigluBackward", [777], [...gates[i]!, ds, made[i]!], [], i === 1);
  }
  program.place();
  machine.commit();
  program.write();
  const next = normal(2);
  const same = (places: readonly number[], n: number, scale: number) => {
    const values = Array.from({ length: n }, () => scale * next());
    for (const at of places) machine.reals(at, n).set(values);
  };
  same(logits, count * vocab, 4);
  same(
    gates.map(([g]) => g),
    777,
    5,
  );
  same(
    gates.map(([, u]) => u),
    777,
    1,
  );
  same([ds], 777, 1);
  machine.reals(weights, count).set([1, 0, 2, 0.5, 1, 1, 0, 1, 1]);
  machine.ints(labels, count).set([3, -1, 1030, 0, 5, 6, -1, 7, 8]);
  machine.doubles(inverse, 1)[0] = 1 / 7.5;
  await program.run();
  expect(largest(machine.reals(logits[0], count * vocab), machine.reals(logits[1], count * vocab))).toBeLessThan(1e-6);
  for (const part of [0, 1] as const)
    expect(largest(machine.doubles(rest[0]![part], count), machine.doubles(rest[1]![part], count))).toBeLessThan(1e-6);
  expect(largest(machine.reals(made[0]!, 777), machine.reals(made[1]!, 777))).toBeLessThan(1e-6);
  for (const part of [0, 1] as const)
    expect(largest(machine.reals(gates[0]![part], 777), machine.reals(gates[1]![part], 777))).toBeLessThan(1e-6);
});

test("records are as large as the module's", async () => {
  const machine = await machineOf();
  expect(machine.exports.train_op_bytes()).toBe(OP_BYTES);
  expect(machine.exports.train_run(0, 0)).toBe(0);
});

test("a run that does not fit says so before anything is taken; threads and numbers are checked", async () => {
  const machine = await machineOf("train", 1 << 20);
  await expect(Trainer.create(machine, { shape: SMALL, objective: { kind: "lm" }, rows: 3, length: 13 })).rejects.toMatchObject({
    code: "out-of-memory",
  });
  const trainer = await Trainer.create(await machineOf(), { shape: SMALL, objective: { kind: "lm" }, rows: 3, length: 13 });
  const batch = batchOf(SMALL, 3, 13, 1);
  await expect(trainer.gradients({ ...batch, tokens: batch.tokens.map(() => 19) })).rejects.toMatchObject({ code: "bad-input" });
  await expect(trainer.gradients({ ...batch, weights: new Float32Array(39) })).rejects.toMatchObject({ code: "bad-input" });
  await expect(trainer.step(batch)).rejects.toMatchObject({ code: "bad-option" });
  await expect(trainer.gradients(batch, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
});

test("a loss that is no number stops the run before the weights change", async () => {
  const optimiser = { schedule: { kind: "constant" as const, peak: 0.01, warmup: 0 } };
  const trainer = await Trainer.create(await machineOf(), {
    shape: SMALL,
    objective: { kind: "lm" },
    rows: 3,
    length: 13,
    optimiser,
  });
  trainer.initialise(normal(1));
  const name = "model.layers.0.mlp.up_proj.weight";
  const values = trainer.get(name);
  values[3] = Number.NaN;
  trainer.set(name, values);
  const before = trainer.get("model.norm.weight");
  await expect(trainer.step(batchOf(SMALL, 3, 13, 1))).rejects.toMatchObject({ code: "bad-input", message: /update 1/ });
  expect(trainer.get("model.norm.weight")).toEqual(before);
});
