// Families with traits: calibration computes what inference computes, smoothing folds into what they have, every form of theirs loads.
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import { LINEARS, type WeightFile } from "../../src/model/config.ts";
import { memoryDestination } from "../../src/quantise/destination.ts";
import { embedSequences } from "../../src/quantise/embedding.ts";
import { LayerRun, PLAIN_SETTINGS } from "../../src/quantise/layers.ts";
import type { Machine } from "../../src/quantise/module.ts";
import { Passes } from "../../src/quantise/passes.ts";
import { openSource, readVector } from "../../src/quantise/source.ts";
import { greedy, load, logitsOf } from "../support/engine.ts";
import { type Folder, familyFolder, familyNames, familySequences, randomFamily, traitFamilies } from "../support/families.ts";
import { divergence, largestDifference, row } from "../support/golden.ts";
import { openMachine, quantised, sequences } from "../support/quantise.ts";

const VOCAB = 320;
/** What a GGUF cannot say: see test/convert/families.test.ts. */
const FOLDER_ONLY = ["smollm3-odd", "gemma2-scalar", "gemma3-scalar"];
/** Longer than a chunk, than every window, and than the original context of the golden rotations. */
const tokens = sequences(1, 300, VOCAB)[0]!;
const calibration = sequences(8, 64, VOCAB);

/** Logits of the last tokens by the calibration's way through the layers, the head computed here. */
async function layerwise(folder: Folder, count: number): Promise<Float32Array> {
  const machine = await openMachine();
  const source = await openSource(memoryFiles("", folder));
  const { model } = source;
  const { hidden, rmsEps, logitScale, layers, vocab, traits } = model.config;
  const passes = new Passes(machine, model, [40, tokens.length], memoryDestination(), { onRows() {} });
  await embedSequences(machine, source, [tokens.slice(0, 40), tokens], await passes.store("0"));
  const hooks = { work() {}, warn() {}, put: async () => {}, putVector: async () => {} };
  const run = new LayerRun(machine, passes, model.config, PLAIN_SETTINGS, hooks);
  for (const [i, files] of model.layers.entries()) await run.forward(i, files, `${i}`, `${i + 1}`);
  const states = new Float32Array(count * hidden);
  const first = 40 + tokens.length - count;
  await (await passes.store(`${layers}`)).read(4 * first * hidden, new Uint8Array(states.buffer));
  const norm = await readVector(machine, model.norm.tensor);
  const file = model.head ?? model.embedding;
  if (file.kind !== "plain") throw new Error("packed");
  const head = await readVector(machine, file.tensor);
  passes.end();
  await machine.end();
  const cap = traits?.logitCap ?? 0;
  const out = new Float32Array(count * vocab);
  for (let t = 0; t < count; t++) {
    const h = Float64Array.from(states.subarray(t * hidden, (t + 1) * hidden));
    const scale = logitScale / Math.sqrt(h.reduce((sum, x) => sum + x * x, 0) / hidden + rmsEps);
    for (let k = 0; k < hidden; k++) h[k] = h[k]! * scale * (norm[k]! + (model.norm.plus ?? 0));
    for (let v = 0; v < vocab; v++) {
      const z = h.reduce((sum, x, k) => sum + x * head[v * hidden + k]!, 0);
      out[t * vocab + v] = cap ? cap * Math.tanh(z / cap) : z;
    }
  }
  return out;
}

for (const name of traitFamilies) {
  test(`${name}: the layers one by one are the model`, async () => {
    const folder = await randomFamily(name);
    const engine = await load(folder, { kvType: "f32", contextSize: 320 });
    const logits = await logitsOf(engine, tokens);
    const count = 150;
    const expected = logits.subarray((tokens.length - count) * VOCAB);
    const most = expected.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    expect(largestDifference(expected, await layerwise(folder, count))).toBeLessThan(2e-5 * most);
  });

  test(`${name}: smoothing changes no value, int4 loads and generates`, async () => {
    const folder = await randomFamily(name, {}, "F32");
    const own = await load(folder, { kvType: "f32", contextSize: 320 });
    const logits = await logitsOf(own, tokens);
    if (!FOLDER_ONLY.includes(name)) {
      const smoothed = await quantised(folder, { type: "Q8_0", method: "awq", calibration, keep: [["*", "F32"]] });
      const folded = await load(smoothed.get("")!, { kvType: "f32", contextSize: 320 });
      for (let at = 9; at < tokens.length; at += 29)
        expect(divergence(row(logits, VOCAB, at), row(await logitsOf(folded, tokens), VOCAB, at))).toBeLessThan(1e-6);
    }
    const files = await quantised(folder, { type: "int4", group: 32 });
    const packed = Object.fromEntries(files);
    const [before, after] = [await openSource(memoryFiles("", folder)), await openSource(memoryFiles("", packed))];
    const machine = await openMachine();
    for (const [i, layer] of before.model.layers.entries())
      for (const linear of LINEARS) {
        const [x, y] = [await values(machine, layer[linear]), await values(machine, after.model.layers[i]![linear])];
        const lost = x.reduce((sum, v, k) => sum + (v - y[k]!) ** 2, 0) / x.reduce((sum, v) => sum + v * v, 0);
        expect(lost, `${i} ${linear}`).toBeGreaterThan(1e-4);
        expect(lost, `${i} ${linear}`).toBeLessThan(0.02);
      }
    await machine.end();
    const again = Object.fromEntries(await quantised(folder, { type: "int4", group: 32, method: "awq+p-gptq", calibration }));
    for (const form of [packed, again]) {
      const engine = await load(form, { contextSize: 320 });
      expect(engine.info.config.traits).toEqual(own.info.config.traits);
      const session = await engine.open();
      const { tokens: text } = await engine.generate(session, greedy(tokens.slice(0, 20), 12), { onPart() {} });
      expect(text.length).toBeGreaterThan(0);
    }
  });
}

async function values(machine: Machine, file: WeightFile): Promise<Float32Array> {
  if (file.kind !== "plain") throw new Error("packed");
  return await readVector(machine, file.tensor);
}

for (const name of familyNames.filter((n) => !FOLDER_ONLY.includes(n)))
  test(`${name}: the mean divergence of its Q8_0 form from the published code is below 2e-3`, async () => {
    const file = (await quantised(familyFolder(name), { type: "Q8_0" })).get("")!;
    // The file's own values, multiplied in float32; and as its kernels run it, which round activations to 8 bits as well.
    const exact = (await quantised(file, { type: "F16", keep: [["*", "F32"]] })).get("")!;
    for (const [form, most] of [
      [exact, 2e-3],
      [file, 4e-3],
    ] as const) {
      const engine = await load(form, { kvType: "f32" });
      const found: number[] = [];
      for (const { tokens: text, positions, logits } of familySequences(name)) {
        const own = await logitsOf(engine, text);
        for (const [i, at] of positions.entries()) found.push(divergence(logits[i]!, row(own, engine.info.config.vocab, at)));
      }
      expect(found.reduce((a, b) => a + b, 0) / found.length).toBeLessThan(most);
    }
  });
