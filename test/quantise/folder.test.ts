// Folders straight to GGUF: the bytes of converting first and quantising then, and packed folders again.
import { expect, test } from "vitest";
import { type MemoryOutput, memoryOutput, toGguf } from "../../src/convert/index.ts";
import { bytesSource, memoryFiles } from "../../src/file/bytes.ts";
import { readGguf } from "../../src/file/gguf.ts";
import { memoryDestination } from "../../src/quantise/destination.ts";
import type { QuantizeOptions } from "../../src/quantise/quantize.ts";
import { load, logitsOf } from "../support/engine.ts";
import { type Folder, randomFamily } from "../support/families.ts";
import { divergence, row } from "../support/golden.ts";
import { door, quantised, sequences } from "../support/quantise.ts";
import { tinyFolder, tinyModel } from "../support/tiny.ts";

const calibration = sequences(6, 100);
const folder = tinyFolder(tinyModel({ layers: 2, hidden: 64, intermediate: 96, heads: 4, kvHeads: 2, headDim: 16 }), "BF16");

async function converted(files: Folder): Promise<Uint8Array> {
  let output: MemoryOutput | undefined;
  await toGguf(memoryFiles("", files), async () => (output = memoryOutput("x.gguf")));
  return output!.bytes();
}

const gguf = async (model: Folder | Uint8Array, options: QuantizeOptions) => (await quantised(model, options)).get("")!;

const runs: readonly QuantizeOptions[] = [
  { type: "Q4_0", method: "rtn" },
  { type: "Q4_K" },
  { type: "Q8_0" },
  { type: "F16" },
  { type: "Q4_0", method: "gptq", calibration },
  { type: "Q4_1", method: "awq+p-gptq", calibration },
  { type: "Q4_0", keep: [["blk.0.attn_q", "Q8_0"]] },
];
for (const options of runs)
  test(`${options.type} ${options.method ?? ""}: the bytes of the file that was converted first`, async () => {
    expect(await gguf(folder, options)).toEqual(await gguf(await converted(folder), options));
  });

test("families with fused projections, biases and norms less one go the same way", async () => {
  for (const name of ["phi4-mini", "gemma3-linear", "granite-odd"]) {
    const files = await randomFamily(name, { num_hidden_layers: 2 });
    const options: QuantizeOptions = { type: "Q4_0", method: "gptq", calibration };
    expect(await gguf(files, options), name).toEqual(await gguf(await converted(files), options));
  }
});

test("killed at any moment, a folder's run goes on to the same bytes", async () => {
  const options: QuantizeOptions = { type: "Q4_0", method: "p-gptq", calibration };
  const whole = await gguf(folder, options);
  const out = memoryDestination();
  let [kills, done] = [0, false];
  for (let stop = 3; !done; stop += 4) {
    const control = new AbortController();
    let steps = 0;
    const run = door.quantize(folder, out, {
      ...options,
      signal: control.signal,
      onProgress() {
        if (++steps >= stop) control.abort(new Error("killed"));
      },
    });
    done = await run.then(
      () => true,
      (error: Error) => {
        expect(error.message).toBe("killed");
        kills++;
        return false;
      },
    );
  }
  expect(kills).toBeGreaterThan(3);
  expect(out.files().get("")).toEqual(whole);
});

test("a folder of GPTQ weights is a source like others, with a warning", async () => {
  const packed = Object.fromEntries(await quantised(folder, { type: "int4", group: 32, calibration }));
  const warnings: string[] = [];
  const onWarning = (message: string) => warnings.push(message);
  const file = await gguf(packed, { type: "Q8_0", method: "rtn", onWarning });
  expect(warnings.join()).toMatch(/14 tensors were quantised before/);
  const { tensors } = await readGguf(bytesSource("x", file));
  expect(tensors.filter(({ type }) => type === "Q8_0").length).toBeGreaterThanOrEqual(14);
  const [a, b] = [await load(packed, { kvType: "f32" }), await load(file, { kvType: "f32" })];
  const [x, y] = [await logitsOf(a, calibration[0]!), await logitsOf(b, calibration[0]!)];
  for (let at = 0; at < 100; at += 9) expect(divergence(row(x, 320, at), row(y, 320, at))).toBeLessThan(2e-3);
  const again = await quantised(packed, { type: "int4", group: 32, calibration });
  expect([...again.keys()].sort()).toEqual(Object.keys(packed).sort());
});

test("importance of a folder goes by the names of its GGUF", async () => {
  const found = await door.imatrix(folder, memoryDestination(), { calibration });
  const other = await door.imatrix(await converted(folder), memoryDestination(), { calibration });
  expect(found.entries).toEqual(other.entries);
  expect([...found.entries.keys()]).toContain("blk.1.ffn_down.weight");
});
