// Optimisers on single tensors, in the float64 build, against optimiser-units.safetensors.
import { Optimiser } from "../../dist/train/optimiser.js";
import { Program } from "../../dist/train/program.js";
import { machineOf } from "./support.mjs";

/** An optimiser over one layer matrix, on a machine of its own. */
async function optimiserOf(out, of, options) {
  const machine = await machineOf("float64");
  const count = out * of;
  const tensor = {
    name: "model.layers.0.mlp.up_proj.weight",
    shape: [out, of],
    at: machine.takeReals(count),
    grad: machine.takeReals(count),
    use: 0,
  };
  const scratch = machine.takeReals(machine.exports.matmul_scratch(1));
  const graph = { machine, trained: [tensor], shape: { width: 1 }, program: () => new Program(machine, () => scratch) };
  const optimiser = new Optimiser(graph, { schedule: { kind: "constant", peak: 0.01, warmup: 0 }, clip: 1e30, ...options });
  machine.commit();
  optimiser.write();
  return { optimiser, values: machine.reals(tensor.at, count), gradient: machine.reals(tensor.grad, count) };
}

export async function optimiserUnits(t, check) {
  const furthest = (a, b) => a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);
  for (const [tag, options] of [
    ["adamw", {}],
    ["muon_rms", { kind: "muon" }],
    ["muon_spectral", { kind: "muon", scale: "spectral" }],
  ]) {
    const [out, of] = t["step.p"].shape;
    const { optimiser, values, gradient } = await optimiserOf(out, of, options);
    values.set(t["step.p"].data);
    for (let step = 0; step < 3; step++) {
      gradient.set(t["step.g"].data.subarray(step * out * of, (step + 1) * out * of));
      await optimiser.update(await optimiser.norm());
      const want = t[`step.${tag}`].data.subarray(step * out * of, (step + 1) * out * of);
      check.within(`${tag} step ${step + 1}`, furthest(values, want), 1e-12);
    }
  }
  // Newton-Schulz alone: a first update from zero momentum is -lr c NS(g (1 - mu^2)), and NS does not see the factor.
  for (const name of Object.keys(t).filter((key) => /^ns\..*\.g$/.test(key))) {
    const [out, of] = t[name].shape;
    const { optimiser, values, gradient } = await optimiserOf(out, of, { kind: "muon", weightDecay: 0, momentum: 0 });
    gradient.set(t[name].data);
    await optimiser.update(0);
    const c = -0.01 * 0.2 * Math.sqrt(Math.max(out, of));
    check.within(
      name,
      furthest(
        values.map((x) => x / c),
        t[name.replace(/g$/, "out")].data,
      ),
      1e-12,
    );
  }
  return "AdamW, Muon, Newton-Schulz";
}
