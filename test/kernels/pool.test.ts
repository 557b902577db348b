// The pool of lanes: one that is gone.
import { expect, test } from "vitest";
import { builds, workbench } from "../support/bench.ts";

for (const build of builds.filter((name) => name.endsWith(".mt")))
  test(`a lane that never comes to a barrier is given up, not waited for without end (${build})`, async () => {
    const { kernels, tensor, floats, bytes } = await workbench(build);
    const w = tensor("f32", 16, 32);
    const [x, y] = [floats(32), floats(16)];
    const [q, scales] = [bytes(32), bytes(64)];
    const product = () => kernels.gemm_rows(w.at, x.at, q.at, scales.at, y.at, 1, 32, 1);
    expect(product()).toBe(0);
    // Lane 1 of 2 does not exist, as if its worker had been ended from outside.
    kernels.pool_start(2);
    kernels.pool_patience(3);
    const started = performance.now();
    expect(product()).toBe(-3);
    expect(performance.now() - started).toBeGreaterThan(250);
    // What is broken stays so.
    expect(product()).toBe(-3);
  });
