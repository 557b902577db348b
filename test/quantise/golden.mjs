// The quantiser against its definition: node test/quantise/golden.mjs DIR
//
// DIR is any folder that reference/make_quant_golden.py made: other seeds and shapes are as good. Prints a line a case and
// "N passed, N failed". Integers are to be equal but where rounding is a tie within 1e-6, which is counted; error feedback
// carries such a tie on through its row, so the row is followed along the expected codes. Losses within 1e-4 relative.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { bytesSource } from "../../dist/file/bytes.js";
import { readSafetensors } from "../../dist/file/safetensors.js";
import { quantiseModules } from "../../dist/host/quantise.node.js";
import { searchSmoothing } from "../../dist/quantise/awq.js";
import { Hessian, solved } from "../../dist/quantise/hessian.js";
import * as q from "../../dist/quantise/linear.js";
import { Machine } from "../../dist/quantise/module.js";
import { awqTensors, gptqTensors, int2Bytes, quantizeConfig } from "../../dist/quantise/packing.js";

const folder = process.argv[2] ?? fileURLToPath(new URL("../../../shared/golden/quant", import.meta.url));
/** Elements and bytes of a block, and the type of the file. */
const BLOCKS = {
  Q8_0: [32, 34, 8],
  Q4_0: [32, 18, 2],
  Q4_K: [256, 144, 12],
  Q6_K: [256, 210, 14],
  TQ1_0: [256, 54, 34],
  TQ2_0: [256, 66, 35],
};
let passed = 0;
let failed = 0;
const say = (ok, name, what) => {
  if (ok) passed++;
  else failed++;
  console.log(`${ok ? "ok  " : "FAIL"} ${name}: ${what}`);
};
const sha = (bytes) => createHash("sha256").update(bytes).digest("hex");
const machine = await Machine.open(quantiseModules, 2);
const plain = (c, rows, cols) => ({
  rows,
  cols,
  group: c.group,
  codes: machine.u8(c.codes.at, rows * cols).slice(),
  scales: machine.f64(c.scales.at, (rows * cols) / c.group).slice(),
  zeros: machine.f64(c.zeros.at, (rows * cols) / c.group).slice(),
});

/** A tensor of a safetensors file as numbers. */
async function tensorsOf(path) {
  const source = bytesSource(path, readFileSync(path));
  const { tensors, unreadable } = await readSafetensors(source);
  const raw = {};
  for (const t of tensors.values()) raw[t.name] = { ...t, raw: await source.read(t.offset, t.bytes) };
  // U8 and F64 are types that weights do not have: their bytes are taken by the header.
  const text = readFileSync(path);
  const header = JSON.parse(text.subarray(8, 8 + Number(text.readBigUInt64LE(0))).toString());
  for (const name of unreadable.keys()) {
    const [begin, end] = header[name].data_offsets;
    const at = 8 + Number(text.readBigUInt64LE(0));
    raw[name] = {
      name,
      type: header[name].dtype,
      shape: header[name].shape,
      raw: Uint8Array.from(text.subarray(at + begin, at + end)),
    };
  }
  return raw;
}
const half = (h) => {
  const [e, f] = [(h >> 10) & 31, h & 1023];
  return (h & 0x8000 ? -1 : 1) * (e ? (1 + f / 1024) * 2 ** (e - 15) : f * 2 ** -24);
};
function numbers({ type, raw }) {
  if (type === "F32") return new Float32Array(raw.buffer, raw.byteOffset, raw.length / 4).slice();
  if (type === "F64") return new Float64Array(raw.slice().buffer);
  if (type === "F16") return Float32Array.from(new Uint16Array(raw.slice().buffer), half);
  return raw;
}

/** Hessians of all positions but the first `skip` of each sequence, scaled by factors where they are given. */
async function inputsOf(X, shape, skip, factors) {
  const [n, T, K] = shape;
  const sums = new Hessian(machine, K);
  for (let i = 0; i < n; i++) await sums.add(X.subarray((i * T + skip) * K, (i + 1) * T * K));
  const meanAbs = sums.meanAbs();
  const importance = sums.importance();
  const done = sums.finish();
  sums.end(true);
  const diag = machine.f64(done.diag.at, K);
  if (factors) {
    const h = machine.f64(done.h.at, K * K);
    for (let i = 0; i < K; i++) for (let k = i + 1; k < K; k++) h[i * K + k] /= factors[i] * factors[k];
    const dead = machine.u8(done.dead.at, K);
    for (let k = 0; k < K; k++) if (!dead[k]) diag[k] /= factors[k] ** 2;
  }
  return { ...done, K, meanAbs, importance, trueDiag: diag.map((v, k) => (machine.u8(done.dead.at, K)[k] ? 0 : v)) };
}

for (const file of readdirSync(folder).filter((name) => /^matrix-\d+x\d+\.json$/.test(name))) {
  const name = file.replace(/\.json$/, "");
  const want = JSON.parse(readFileSync(join(folder, file), "utf8"));
  const t = await tensorsOf(join(folder, `${name}.safetensors`));
  const [rows, cols] = t.W.shape;
  const W = numbers(t.W);
  const X = numbers(t.X);
  const w = machine.take("f32", rows * cols);
  machine.f32(w.at, rows * cols).set(W);
  const matrix = { at: w.at, rows, cols };
  const weights = machine.take("f64", cols);
  const setWeights = (values) => {
    machine.f64(weights.at, cols).set(values);
    return weights.at;
  };
  const factor = machine.take("f64", cols);
  const whole = await inputsOf(X, t.X.shape, 0);
  const later = await inputsOf(X, t.X.shape, 4);
  const bare = (h) => ({ ...h, diag: setDiag(h) });
  const diags = new Map();
  const setDiag = (h) => {
    if (!diags.has(h)) {
      const piece = machine.take("f64", cols);
      machine.f64(piece.at, cols).set(h.trueDiag);
      diags.set(h, piece);
    }
    return diags.get(h);
  };
  const solves = new Map();
  const solve = async (h, actOrder) => {
    const key = `${[whole, later].indexOf(h)} ${actOrder}`;
    if (!solves.has(key)) {
      const copy = await inputsOf(X, t.X.shape, h === later ? 4 : 0);
      solves.set(key, await solved(machine, cols, copy, { damp: want.damp, actOrder }));
    }
    return solves.get(key);
  };

  /** Compares codes, scales, zeros and losses of one method. */
  async function compare(method, coded, m = matrix, inputs = undefined) {
    const expected = want.methods[method];
    const got = plain(coded, rows, cols);
    const codes = numbers(t[`${method}.codes`]);
    const scales = numbers(t[`${method}.scales`]);
    const zeros = t[`${method}.zeros`] && numbers(t[`${method}.zeros`]);
    const feedback = method.includes("gptq");
    let [different, ties, widest] = [0, 0, 0];
    const f = m.factor ? machine.f64(m.factor, cols) : undefined;
    for (let i = 0; i < codes.length; i++) {
      if (codes[i] === got.codes[i]) continue;
      different++;
      if (feedback) {
        // Feedback carries a tie on through its row: followed along the expected codes, every choice must have been a tie.
        const row = Math.floor(i / cols);
        const [fork, distance] = followed(row, f, got, codes, inputs);
        widest = Math.max(widest, distance);
        different += codes.subarray(i + 1, (row + 1) * cols).filter((code, k) => code !== got.codes[i + 1 + k]).length;
        ties += fork;
        i = (row + 1) * cols - 1;
        continue;
      }
      const g = Math.floor(i / cols) * (cols / coded.group) + Math.floor((i % cols) / coded.group);
      const x = (W[i] * (f ? f[i % cols] : 1)) / got.scales[g] + got.zeros[g];
      if (Math.abs(x - Math.floor(x) - 0.5) < 1e-6) ties++;
    }
    const wrong =
      got.scales.filter((s, i) => s !== scales[i]).length + (zeros ? got.zeros.filter((z, i) => z !== zeros[i]).length : 0);
    const losses = [
      [expected.loss, await q.outputLoss(machine, m, bare(whole), coded)],
      [expected.loss_without_first_4, await q.outputLoss(machine, m, bare(later), coded)],
    ];
    const worst = Math.max(...losses.map(([a, b]) => Math.abs(a - b) / a));
    const few = different <= codes.length / 200;
    const ok = wrong === 0 && (feedback ? few && widest < 1e-6 : different === ties) && (worst <= 1e-4 || ties > 0);
    say(
      ok,
      `${name} ${method}`,
      `${different} of ${codes.length} codes differ (${ties} ties${feedback && ties ? `, within ${widest.toExponential(1)}, carried on` : ""}), ${wrong} scales or zeros, losses within ${worst.toExponential(1)}`,
    );
  }

  /** Feedback along expected codes: how often our rounding is another, and the greatest distance of those from a tie. */
  function followed(row, f, { scales, zeros, group }, codes, inputs) {
    const inverse = machine.f64(inputs.h.at, cols * cols);
    const order = machine.i32(inputs.order.at, cols);
    const dead = machine.u8(inputs.dead.at, cols);
    const x = Float64Array.from(order, (k) => (dead[k] ? 0 : W[row * cols + k] * (f ? f[k] : 1)));
    let [forks, distance] = [0, 0];
    for (let i = cols - 1; i >= 0; i--) {
      const k = order[i];
      const g = row * (cols / group) + Math.floor(k / group);
      const at = x[i] / scales[g] + zeros[g];
      const code = codes[row * cols + k];
      if (Math.min(15, Math.max(0, Math.floor(at + 0.5))) !== code) {
        forks++;
        distance = Math.max(distance, Math.abs(Math.abs(at - code) - 0.5));
      }
      const e = (x[i] - scales[g] * (code - zeros[g])) / inverse[i * cols + i];
      for (let c = 0; c < i; c++) x[c] -= e * inverse[i * cols + c];
    }
    return [forks, distance];
  }

  for (const method of Object.keys(want.methods)) {
    const group = Number(/-g(\d+)/.exec(method)[1]);
    const ternary = method.startsWith("ternary");
    const awq = /^(p?)awq/.exec(method);
    const h = method.startsWith("p") || method.includes("importance") ? later : whole;
    let m = matrix;
    if (awq) {
      const found = await searchSmoothing(machine, [matrix], h.meanAbs, bare(h), 128);
      const expected = want.methods[`${awq[1]}awq-g128`];
      if (!method.includes("gptq")) {
        const worst = Math.max(...found.losses.map((v, i) => Math.abs(v - expected.losses_per_alpha[i]) / v));
        say(
          found.alpha === expected.alpha && worst <= 1e-4,
          `${name} ${awq[0]} search`,
          `alpha ${found.alpha}, losses within ${worst.toExponential(1)}`,
        );
      }
      machine.f64(factor.at, cols).set(found.factors);
      m = { ...matrix, factor: factor.at };
    }
    const coded = q.takeCoded(machine, m, group, ternary ? 2 : 15);
    let inputs;
    if (ternary) await q.ternary(machine, m, coded, method.endsWith("fitted") ? "fitted" : "absmean");
    else {
      const feedback = method.includes("gptq");
      inputs = feedback
        ? awq
          ? await solved(machine, cols, await inputsOf(X, t.X.shape, h === later ? 4 : 0, machine.f64(factor.at, cols)), {
              damp: want.damp,
            })
          : await solve(h, method.includes("act-order"))
        : undefined;
      const diagonal = awq ? h.trueDiag.map((v, k) => v / machine.f64(factor.at, cols)[k] ** 2) : h.trueDiag;
      await q.gridInt4(machine, m, coded, {
        symmetric: !method.includes("asym"),
        search: !method.includes("largest"),
        weights: feedback || method.includes("importance") ? setWeights(diagonal) : 0,
      });
      if (inputs) await q.gptq(machine, m, coded, inputs);
      else await q.roundCodes(machine, m, coded);
    }
    await compare(method, coded, m, inputs);
    if (method === "pgptq-g128")
      for (const version of [1, 2]) await samePacked(`${name}-gptq-v${version}`, gptqTensors(plain(coded, rows, cols), version));
    if (method === "rtn-g128-asym") await samePacked(`${name}-awq`, awqTensors(plain(coded, rows, cols)));
    q.freeCoded(machine, coded);
  }

  for (const [tag, expected] of Object.entries(want.blocks)) {
    const [type, ,] = tag.split(" ");
    if (tag === "ternary_group") {
      for (const [g, value] of Object.entries(expected)) {
        const piece = machine.take("f32", rows * cols);
        const fake = { at: piece.at, rows, cols };
        machine.f32(fake.at, rows * cols).set(W);
        if (g !== "float") {
          const coded = q.takeCoded(machine, matrix, Number(g), 2);
          await q.ternary(machine, matrix, coded, "absmean");
          const p = plain(coded, rows, cols);
          machine.f32(fake.at, rows * cols).set(Array.from(p.codes, (c, i) => (c - 1) * p.scales[Math.floor(i / Number(g))]));
          q.freeCoded(machine, coded);
        }
        const got = q.ternaryGroup(machine, fake);
        say(got === value, `${name} ternary group of ${g}`, `${got}, expected ${value}`);
        machine.free(piece);
      }
      continue;
    }
    if (type === "int2") {
      const coded = q.takeCoded(machine, matrix, 64, 2);
      await q.ternary(machine, matrix, coded, "absmean");
      const got = sha(int2Bytes(plain(coded, rows, cols)));
      say(got === expected.sha256, `${name} ${tag}`, "bytes");
      q.freeCoded(machine, coded);
      continue;
    }
    const out = machine.take("u8", rows * cols * 4);
    const size = (BLOCKS[type][1] * rows * cols) / BLOCKS[type][0];
    if (type.startsWith("TQ")) {
      const coded = q.takeCoded(machine, matrix, 256, 2);
      await q.ternary(machine, matrix, coded, "absmean");
      await machine.run("blocks_put", BLOCKS[type][2], coded.codes.at, coded.scales.at, rows, cols, out.at);
      say(sha(machine.u8(out.at, size)) === expected.sha256, `${name} ${tag}`, "bytes");
      q.freeCoded(machine, coded);
    } else if (tag === "Q4_K GPTQ") {
      const coded = q.takeCoded(machine, matrix, 32, 15);
      await q.encode(machine, matrix, "Q4_K", true, setWeights(q.meanOne(later.trueDiag)), out.at);
      await machine.run("blocks_grid", 12, out.at, rows, cols, coded.scales.at, coded.zeros.at);
      await q.gptq(machine, matrix, coded, await solve(later, false));
      const loss = await q.outputLoss(machine, matrix, bare(later), coded);
      await q.roundCodes(machine, matrix, coded);
      const rounding = await q.outputLoss(machine, matrix, bare(later), coded);
      const [a, b] = [loss / expected.loss_without_first_4 - 1, rounding / expected.loss_of_rounding - 1];
      say(
        Math.abs(a) < 0.01 && Math.abs(b) < 0.01,
        `${name} ${tag}`,
        `loss ${(100 * a).toFixed(3)} % off, rounding ${(100 * b).toFixed(3)} % off`,
      );
      q.freeCoded(machine, coded);
    } else {
      const importance = tag.includes("importance") ? setWeights(q.meanOne(later.importance)) : 0;
      await q.encode(machine, matrix, type, !tag.includes("simple"), importance, out.at);
      if (expected.sha256) say(sha(machine.u8(out.at, size)) === expected.sha256, `${name} ${tag}`, "bytes");
      if (expected.mse !== undefined) {
        const { error } = await q.blocksError(machine, matrix, type, out.at, importance);
        const mse = error / (rows * cols);
        const llama = expected.llama_cpp_mse ?? Infinity;
        say(
          mse <= 1.01 * expected.mse && mse <= llama * (1 + 1e-9),
          `${name} ${tag}`,
          `mse ${(mse / expected.mse).toFixed(6)} of the definition's, ${(mse / llama).toFixed(4)} of llama.cpp's`,
        );
      }
    }
    machine.free(out);
  }

  async function samePacked(file, got) {
    const tensors = await tensorsOf(join(folder, `${file}.safetensors`));
    const different = Object.entries(got).filter(([key, value]) => {
      const { raw } = tensors[`linear.${key}`];
      const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
      return bytes.length !== raw.length || bytes.some((b, i) => b !== raw[i]);
    });
    say(different.length === 0, file, different.length ? `${different.map(([key]) => key)} differ` : "bytes of all tensors");
  }
}

const config = JSON.parse(readFileSync(join(folder, "quantize_config.json"), "utf8"));
const ours = quantizeConfig(128, 0.01, 1);
say(JSON.stringify(config) === JSON.stringify(ours), "quantize_config.json", "every field");
await machine.end();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
