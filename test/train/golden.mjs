// Checks a folder that make_train_golden.py wrote: node test/train/golden.mjs DIR [--only NAME] [--relaxed]
// Every case runs in the module as published (float32, tolerances of the case's own file) and in the float64 build for tests (1e-9 on
// losses, 1e-7 on tensors stored in float32); gradients are computed with one thread and with two, which must agree to the bit.
// --relaxed takes the build with fused multiply-adds in place of the base build, within the same tolerances (Node 26).
// Prints one line a case, then "N passed, N failed".
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { rateAt } from "../../dist/train/schedule.js";
import { mupScales } from "../../dist/train/shape.js";
import { Trainer } from "../../dist/train/trainer.js";
import { machineOf, readTensors, shapeOf, useVariant } from "./support.mjs";
import { optimiserUnits } from "./units.mjs";

const args = process.argv.slice(2);
const only = args.includes("--only") ? args[args.indexOf("--only") + 1] : undefined;
if (args.includes("--relaxed")) useVariant("relaxed");
const here = fileURLToPath(new URL(".", import.meta.url));
const folder = args.find((a) => !a.startsWith("--") && a !== only) ?? join(here, "../../../shared/golden/train");
const json = (name) => JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"));
const tensors = (name) => readTensors(join(folder, name));

/** Collects what is out of bounds, and the largest share of a bound that was used. */
class Check {
  problems = [];
  worst = 0;
  within(what, value, limit) {
    if (!(value <= limit))
      this.problems.push(`${what}: ${Number(value).toExponential(2)} above ${Number(limit).toExponential(2)}`);
    this.worst = Math.max(this.worst, value / limit);
  }
}

const l2 = (a) => Math.sqrt(a.reduce((s, x) => s + x * x, 0));
const relative = (a, b) => {
  let [d, n] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    d += (a[i] - b[i]) ** 2;
    n += b[i] ** 2;
  }
  return n > 0 ? Math.sqrt(d / n) : Math.sqrt(d);
};

/** Values at stored places, and the norm, of a tensor that is not stored whole. */
function checkDigest(check, what, got, stored, tolerance) {
  check.within(`${what} norm`, Math.abs(l2(got) - stored.norm) / Math.max(stored.norm, 1e-300), tolerance);
  for (const [i, at] of stored.at.entries())
    check.within(`${what}[${at}]`, Math.abs(got[at] - stored.values[i]) / Math.max(stored.norm, 1e-300), tolerance);
}

function loadBatches(name) {
  const t = tensors(name);
  const [count, rows, length] = t.tokens.shape;
  const per = rows * length;
  const cut = (x, i, A) => A.from(x.data.subarray(i * per, (i + 1) * per));
  return Array.from({ length: count }, (_, i) => ({
    rows,
    length,
    tokens: cut(t.tokens, i, Int32Array),
    segments: cut(t.segments, i, Int32Array),
    labels: cut(t.labels, i, Int32Array),
    weights: cut(t.weights, i, Float32Array),
  }));
}

function objectiveOf(j, data) {
  const o = j.options;
  switch (j.kind) {
    case "lm":
      return { kind: "lm", zCoef: o.z_coef ?? 0 };
    case "qat":
      return { kind: "lm", ternaryGroup: o.group };
    case "eagle":
      return {
        kind: "eagle",
        valueWeight: o.v_w,
        probabilityWeight: o.p_w,
        window: o.window,
        vocabulary: data.vocab_ids && Int32Array.from(data.vocab_ids.data),
      };
    case "mtp":
      return { kind: "mtp", lambda: o.lambda };
    case "lora":
      return { kind: "lora", rank: o.rank, alpha: o.alpha };
    default:
      throw new Error(`kind ${j.kind}`);
  }
}

function loadCase(name) {
  const j = json(name);
  const data = existsSync(join(folder, `${name}.safetensors`)) ? tensors(`${name}.safetensors`) : {};
  const inputs = j.inputs ? Object.fromEntries(Object.entries(tensors(j.inputs)).filter(([k]) => k.startsWith("input."))) : {};
  const start = { ...tensors(j.weights) };
  for (const [k, v] of Object.entries({ ...data, ...inputs }))
    if (k.startsWith("input.") && k !== "input.noise") start[k.slice(6)] = v;
  return {
    name,
    j,
    data,
    start,
    noise: data["input.noise"],
    batches: loadBatches(j.batches),
    shape: shapeOf(j.config, j.options.tied),
  };
}

async function trainerOf(c, real, threads, extra = {}, rows = c.batches[0].rows) {
  const machine = await machineOf(real, threads);
  const trainer = await Trainer.create(machine, {
    shape: c.shape,
    objective: objectiveOf(c.j, c.data),
    rows,
    length: c.batches[0].length,
    chunk: c.j.options.chunk,
    ...extra,
  });
  for (const [name, { data }] of Object.entries(c.start)) if (trainer.graph.tensors.has(name)) trainer.set(name, data);
  if (c.noise) machine.reals(trainer.graph.noise, c.noise.data.length).set(c.noise.data);
  return trainer;
}

function checkOut(check, c, trainer, tolerance, f64) {
  const { graph, machine } = trainer;
  const count = graph.setting.count;
  for (const [key, { data }] of Object.entries(c.data)) {
    if (!key.startsWith("out.")) continue;
    const name = key.slice(4);
    const [kind, ...rest] = name.split(".");
    if (kind === "codes" || kind === "scales") {
      const tensor = `${rest.join(".")}.weight`;
      const [used, cols, group] = [
        trainer.get(tensor, "use"),
        graph.tensor(tensor).shape[1],
        c.j.options.group || graph.tensor(tensor).shape[1],
      ];
      const scales = c.data[`out.scales.${rest.join(".")}`];
      const per = scales.shape[1];
      const at = (i) => scales.data[Math.floor(i / cols) * per + Math.floor((i % cols) / group)];
      if (kind === "codes") check.within(name, data.filter((code, i) => code !== Math.round(used[i] / at(i))).length, 0.5);
      else
        check.within(
          name,
          Math.max(...used.map((x) => Math.abs(x)).map((x, i) => (x === 0 ? 0 : Math.abs(x - at(i)) / at(i)))),
          f64 ? 1e-7 : 2e-7,
        );
      continue;
    }
    const got =
      kind === "nll"
        ? machine.doubles(graph.nll, count)
        : machine.reals(
            { stream: graph.streams[Number(rest[0])], target_hidden: graph.hidden, head_hidden: graph.headOut }[kind],
            data.length,
          );
    check.within(name, relative(got, data), tolerance);
  }
}

/** Chosen blocks, bit by bit. */
function checkBlocks(check, c, trainer) {
  const { graph, machine } = trainer;
  if (!c.data["blocks.row"]) return;
  const list = c.data["blocks.list"];
  const most = list.shape[1];
  const kv = c.shape.kvHeads;
  const words = Math.ceil(Math.ceil(graph.setting.count / c.shape.sparse.blockSize) / 32);
  let wrong = 0;
  for (let n = 0; n < list.shape[0]; n++) {
    const [layer, row, first, head, query] = c.data["blocks.row"].data.subarray(5 * n, 5 * n + 5);
    const at = row * c.batches[0].length + first + query;
    const mask = machine.ints(graph.kept[layer].mask + 4 * ((at * kv + head) * words), words);
    const want = new Set([...list.data.subarray(most * n, most * (n + 1))].filter((b) => b >= 0));
    for (let b = 0; b < 32 * words; b++) if (((mask[b >> 5] >>> (b & 31)) & 1) !== (want.has(b) ? 1 : 0)) wrong++;
  }
  check.within("chosen blocks that differ", wrong, 0.5);
}

async function gradientCase(name, check) {
  const c = loadCase(name);
  const { results, tolerance, grad_digest: digest } = c.j;
  const notes = [];
  for (const real of ["float32", "float64"]) {
    const f64 = real === "float64";
    const trainer = await trainerOf(c, real, 1);
    const losses = await trainer.gradients(c.batches[0]);
    const got = { loss: losses.loss, vloss: losses.parts[0], ploss: losses.parts[1], ntp: losses.parts[0], mtp: losses.parts[1] };
    for (const [key, value] of Object.entries(results))
      check.within(`${real} ${key}`, Math.abs(got[key] - value), f64 ? 1e-9 * Math.abs(value) : tolerance.loss_abs);
    let worst = 0;
    for (const { name: tensor } of trainer.trained) {
      const gradient = trainer.get(tensor, "grad");
      const stored = c.data[`grad.${tensor}`];
      if (stored) {
        const distance = relative(gradient, stored.data);
        worst = Math.max(worst, distance);
        check.within(`${real} gradient of ${tensor}`, distance, f64 ? 1e-7 : tolerance.grad_rel_l2);
      } else if (digest?.[tensor])
        checkDigest(check, `${real} gradient of ${tensor}`, gradient, digest[tensor], f64 ? 1e-9 : tolerance.grad_rel_l2);
      else check.problems.push(`${tensor}: no expected gradient`);
    }
    const evaluated = await trainer.evaluate(c.batches[0]);
    check.within(`${real} loss without gradients`, Math.abs(evaluated.loss - losses.loss), 1e-12 + 1e-7 * Math.abs(losses.loss));
    await trainer.gradients(c.batches[0]);
    checkOut(check, c, trainer, f64 ? 1e-7 : tolerance.out_rel_l2, f64);
    checkBlocks(check, c, trainer);
    if (worst) notes.push(`${real} ${worst.toExponential(1)}`);
    // Activations computed again give the same bits.
    const again = await trainerOf(c, real, 1, { recompute: true });
    await again.gradients(c.batches[0]);
    sameBits(check, `${real} recomputed`, trainer, again);
    await again.close();
    if (!f64) {
      const two = await trainerOf(c, real, 2);
      const twice = await two.gradients(c.batches[0]);
      if (twice.loss !== losses.loss) check.problems.push("two threads: another loss");
      sameBits(check, "two threads", trainer, two);
      await two.close();
    }
    await trainer.close();
  }
  return `loss ${results.loss.toFixed(6)}${notes.length ? `, worst gradient ${notes.join(", ")}` : ""}`;
}

function sameBits(check, what, a, b) {
  for (const { name } of a.trained) {
    const [x, y] = [a.get(name, "grad"), b.get(name, "grad")].map((v) => new Int32Array(v.buffer));
    if (x.some((bits, i) => bits !== y[i])) check.problems.push(`${what}: other bits in the gradient of ${name}`);
  }
}

async function fitCase(name, check) {
  const j = json(name);
  const c = loadCase(j.base);
  const o = j.optimiser;
  const s = o.schedule;
  const schedule = {
    kind: s.kind,
    peak: s.peak,
    warmup: s.warmup,
    stableEnd: s.stable_end,
    floor: s.floor,
    halfLife: s.half_life,
    decaySteps: s.decay_steps,
  };
  for (const key of Object.keys(schedule)) if (schedule[key] === undefined) delete schedule[key];
  const optimiser = {
    kind: o.kind,
    schedule,
    clip: o.clip,
    weightDecay: o.wd,
    betas: o.betas,
    eps: o.eps,
    momentum: o.mu,
    scale: o.scale,
    mup: Boolean(o.mup),
  };
  let worst = 0;
  for (const real of ["float32", "float64"]) {
    const f64 = real === "float64";
    const trainer = await trainerOf(c, real, 1, { optimiser }, o.accumulate ? 1 : undefined);
    const split = (batch) =>
      o.accumulate
        ? Array.from({ length: batch.rows }, (_, r) => {
            const cut = (x) => x.subarray(r * batch.length, (r + 1) * batch.length);
            return {
              rows: 1,
              length: batch.length,
              tokens: cut(batch.tokens),
              segments: cut(batch.segments),
              labels: cut(batch.labels),
              weights: cut(batch.weights),
            };
          }).filter((part) => part.weights.some((w) => w > 0))
        : batch;
    const start = Object.fromEntries(trainer.trained.map(({ name: n }) => [n, trainer.get(n)]));
    for (let step = 1; step <= j.steps; step++) {
      const result = await trainer.step(split(c.batches[(step - 1) % c.batches.length]));
      const evaluated = await trainer.evaluate(split(c.batches[0]));
      const limit = f64
        ? 1e-9 * Math.abs(j.losses[step - 1])
        : (j.tolerance.loss_abs_by_step?.[step - 1] ?? j.tolerance.loss_abs);
      check.within(`${real} loss of step ${step}`, Math.abs(result.loss - j.losses[step - 1]), limit);
      check.within(`${real} loss after step ${step}`, Math.abs(evaluated.loss - j.eval[step - 1]), limit);
      check.within(`${real} learning rate ${step}`, Math.abs(result.rate - j.lrs[step - 1]), 1e-15);
      check.within(
        `${real} norm ${step}`,
        Math.abs(result.norm - j.norms[step - 1]) / j.norms[step - 1],
        f64 ? 1e-8 : j.tolerance.norm_rel,
      );
      if (!f64) worst = Math.max(worst, Math.abs(result.loss - j.losses[step - 1]));
    }
    const stored = existsSync(join(folder, `${name}.safetensors`)) ? tensors(`${name}.safetensors`) : undefined;
    for (const { name: tensor } of trainer.trained) {
      const now = trainer.get(tensor);
      const update = now.map((x, i) => x - start[tensor][i]);
      const limit = f64 ? 1e-6 : j.tolerance.update_rel_l2;
      if (stored)
        check.within(
          `${real} update of ${tensor}`,
          relative(
            update,
            stored[`final.${tensor}`].data.map((x, i) => x - start[tensor][i]),
          ),
          limit,
        );
      else checkDigest(check, `${real} update of ${tensor}`, update, j.update_digest[tensor], f64 ? 1e-7 : limit);
    }
    await trainer.close();
  }
  return `${j.losses[0].toFixed(4)} -> ${j.losses.at(-1).toFixed(4)}, worst loss ${worst.toExponential(1)}`;
}

function schedules(check) {
  const t = json("schedules");
  for (const { arguments: s, lr } of t.wsd) {
    const schedule = {
      kind: s.kind,
      peak: s.peak,
      warmup: s.warmup,
      stableEnd: s.stable_end,
      floor: s.floor,
      halfLife: s.half_life,
      decaySteps: s.decay_steps,
    };
    for (const [i, value] of lr.entries())
      check.within(`${s.kind} step ${i + 1}`, Math.abs(rateAt(i + 1, schedule) - value), 1e-15);
  }
  const of = {
    layer_matrix: ["model.layers.0.mlp.up_proj.weight", 2],
    embedding: ["model.embed_tokens.weight", 2],
    head: ["lm_head.weight", 2],
    norm: ["model.norm.weight", 1],
  };
  for (const row of t.mup)
    for (const [key, [name, dims]] of Object.entries(of)) {
      const [factor, std] = mupScales({ name, shape: dims === 2 ? [4, 4] : [4] }, row.hidden / row.dim_model_base);
      check.within(`muP ${key}`, Math.abs(factor - row[key].lr_factor) + Math.abs((std ?? 0) - (row[key].init_std ?? 0)), 1e-15);
    }
  return `${t.wsd.length} schedules, ${t.mup.length} widths`;
}

const cases = readdirSync(folder)
  .filter((n) => n.endsWith(".json"))
  .map((n) => n.slice(0, -5))
  .filter((n) => !only || n === only);
if (!only || only === "optimiser-units") cases.push("optimiser-units");
let [passed, failed] = [0, 0];
for (const name of cases.sort()) {
  const check = new Check();
  let told;
  try {
    if (name === "schedules") told = schedules(check);
    else if (name === "optimiser-units") told = await optimiserUnits(tensors("optimiser-units.safetensors"), check);
    else if (["grpo", "tunnel"].includes(name)) {
      console.log(`${name.padEnd(28)} not of this wing: no training kernel computes it`);
      continue;
    } else if (name === "story-run") {
      console.log(`${name.padEnd(28)} 450 updates: node test/train/story.mjs DIR`);
      continue;
    } else if (name.startsWith("fit-")) told = await fitCase(name, check);
    else told = await gradientCase(name, check);
  } catch (error) {
    check.problems.push(error.stack ?? String(error));
  }
  if (check.problems.length > 0) failed++;
  else passed++;
  console.log(
    `${name.padEnd(28)} ${check.problems.length > 0 ? `FAILED ${check.problems.slice(0, 6).join("; ")}` : `ok, ${told}, ${(100 * check.worst).toFixed(0)} % of the tolerance`}`,
  );
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
