// Checks the objective on a folder that make_train_golden.py wrote: node test/train/rollout/golden.mjs DIR. The definition in TypeScript
// within 1e-12, the kernel in the float64 build within 1e-9 and as published within 1e-6 of the gradients that logits give.
// Prints "N passed, N failed".
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Program } from "../../../dist/train/program.js";
import { advantagesOf, policyLoss } from "../../../dist/train/rollout/objective.js";
import { machineOf, readTensors } from "../support.mjs";

const folder = process.argv[2] ?? fileURLToPath(new URL("../../../../shared/golden/train", import.meta.url));
const t = readTensors(join(folder, "grpo.safetensors"));
const { groups } = JSON.parse(readFileSync(join(folder, "grpo.json"), "utf8"));
const start = Array.from(t.start.data);
const cases = start.length - 1;
let [passed, failed] = [0, 0];
const check = (name, worst, bound) => {
  if (worst <= bound) passed++;
  else failed++;
  console.log(`${worst <= bound ? "ok  " : "FAIL"} ${name}: ${worst.toExponential(2)} of at most ${bound.toExponential(0)}`);
};
const optionsOf = (i) => {
  const [low, high, dual, beta] = t.params.data.subarray(4 * i, 4 * i + 4);
  return { low, high, dual, beta };
};
const tokensOf = (i) => {
  const part = (name) => t[name].data.subarray(start[i], start[i + 1]);
  return {
    logp: part("logp"),
    behaviour: part("behaviour"),
    reference: part("ref"),
    advantage: part("advantage"),
    mask: part("mask"),
  };
};

let [loss, gradient] = [0, 0];
for (let i = 0; i < cases; i++) {
  const found = policyLoss(tokensOf(i), optionsOf(i));
  for (const [j, value] of [found.loss, found.policy, found.kl].entries())
    loss = Math.max(loss, Math.abs(value - t.loss.data[3 * i + j]) / Math.max(1, Math.abs(value)));
  for (const [j, value] of found.gradient.entries())
    gradient = Math.max(gradient, Math.abs(value - t.grad.data[start[i] + j]) / Math.max(1, Math.abs(value)));
}
check(`${cases} cases, loss, policy and KL term`, loss, 1e-12);
check(`${cases} cases, ${start[cases]} gradients`, gradient, 1e-12);

/** Two logits whose first has the wanted log-probability. */
const logitsOf = (logp) => [logp, Math.log(-Math.expm1(Math.min(logp, -1e-300)))];
for (const [real, bound] of [
  ["float64", 1e-9],
  ["float32", 1e-6],
]) {
  let [worst, worstLoss, counted] = [0, 0, 0];
  for (const reference of [false, true]) {
    const machine = await machineOf(real);
    const longest = Math.max(...start.slice(1).map((end, i) => end - start[i]));
    const at = {
      logits: machine.takeReals(2 * longest),
      labels: machine.take(4 * longest),
      mask: machine.takeReals(longest),
      inverse: machine.take(8),
    };
    const rows = Array.from({ length: 6 }, () => machine.take(8 * longest));
    const programs = Array.from({ length: cases }, (_, i) => {
      const { low, high, dual, beta } = optionsOf(i);
      const program = new Program(machine, () => 0);
      program.add(
        "policy",
        [start[i + 1] - start[i], 2, 1],
        [at.logits, at.labels, at.mask, at.inverse, ...rows],
        [low, high, dual, beta],
        reference,
      );
      return program.place();
    });
    machine.commit();
    for (const [i, program] of programs.entries()) {
      program.write();
      const tokens = tokensOf(i);
      const n = tokens.logp.length;
      // A policy's log-probability is below 0: cases above it have no logits.
      const logits = Array.from(tokens.logp, (logp) => (logp < -1e-6 && logp > -30 ? logitsOf(logp) : undefined));
      const mask = Array.from(tokens.mask, (m, j) => (logits[j] ? m : 0));
      const mass = mask.reduce((a, b) => a + b, 0);
      if (mass === 0) continue;
      machine.reals(at.logits, 2 * n).set(logits.flatMap((pair) => pair ?? [0, 0]));
      machine.ints(at.labels, n).fill(0);
      machine.reals(at.mask, n).set(mask);
      machine.doubles(at.inverse, 1)[0] = 1 / mass;
      // The rounding of float32 logits is not the kernel's: what it read is what is wanted.
      const seen = Array.from(tokens.logp);
      const read = machine.reals(at.logits, 2 * n);
      for (let j = 0; j < n; j++)
        if (logits[j])
          seen[j] =
            read[2 * j] - Math.max(read[2 * j], read[2 * j + 1]) - Math.log1p(Math.exp(-Math.abs(read[2 * j] - read[2 * j + 1])));
      for (const [k, name] of ["behaviour", "reference", "advantage"].entries())
        machine.doubles(rows[3 + k], n).set(tokens[name]);
      const want = policyLoss({ ...tokens, logp: seen, mask }, optionsOf(i));
      await program.run();
      const got = machine.reals(at.logits, 2 * n);
      for (let j = 0; j < n; j++) {
        if (mask[j] === 0) continue;
        counted++;
        const expected = want.gradient[j] * -Math.expm1(seen[j]);
        const scale = Math.max(1, Math.abs(want.gradient[j]));
        worst = Math.max(worst, Math.abs(got[2 * j] - expected) / scale, Math.abs(got[2 * j + 1] + expected) / scale);
      }
      const sums = [1, 2].map((k) => machine.doubles(rows[k], n).reduce((a, b) => a + b, 0));
      worstLoss = Math.max(
        worstLoss,
        Math.abs(sums[0] - want.policy) / Math.max(1, Math.abs(want.policy)),
        Math.abs(sums[1] - want.kl),
      );
    }
  }
  check(`kernel and its definition, ${real}: ${counted} gradients through logits`, worst, bound);
  check(`kernel and its definition, ${real}: losses`, worstLoss, bound);
}

let worst = 0;
for (const { rewards, advantages, used } of groups) {
  const found = advantagesOf(rewards);
  worst = Math.max(worst, found.used === used ? 0 : 1, ...advantages.map((a, i) => Math.abs(a - found.advantages[i])));
}
check(`${groups.length} groups: advantages, and whether they are used`, worst, 1e-12);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
