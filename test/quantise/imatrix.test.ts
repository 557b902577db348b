// Importance matrices in llama.cpp's two formats, and what they do; int4 folders.
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { bytesSource } from "../../src/file/bytes.ts";
import { memoryOutput } from "../../src/file/write/output.ts";
import { diskDestination } from "../../src/host/node.destination.ts";
import { pathFiles } from "../../src/host/node.files.ts";
import { readModel } from "../../src/model/read.ts";
import { memoryDestination } from "../../src/quantise/destination.ts";
import { legacyImatrix, readImatrix, writeImatrix } from "../../src/quantise/imatrix.ts";
import { door } from "../support/quantise.ts";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const model = here("../golden/sparse-f32.gguf");
const folder = await mkdtemp(join(tmpdir(), "cpm-imatrix-"));
afterAll(() => rm(folder, { recursive: true }));
const calibration = [0, 1, 2, 3].map((s) => Array.from({ length: 130 }, (_, i) => 3 + ((i * 31 + s * 97) % 250)));

test("collected, written in both formats and read back the same; it weights the search", async () => {
  const found = await door.imatrix(model, memoryDestination(), { calibration });
  expect(found.rows).toBe(520);
  expect(found.entries.size).toBeGreaterThanOrEqual(7);
  for (const [name, values] of found.entries) {
    expect(name).toMatch(/^blk\.\d+\.(attn_(q|k|v|output)|ffn_(gate|up|down))\.weight$/);
    expect(values.every((v) => v >= 0 && Number.isFinite(v))).toBe(true);
  }
  // What reads one input weighs the same.
  expect(found.entries.get("blk.0.attn_q.weight")).toEqual(found.entries.get("blk.0.attn_v.weight"));
  expect(found.entries.get("blk.0.attn_q.weight")).not.toEqual(found.entries.get("blk.0.ffn_up.weight"));
  const output = memoryOutput("m.gguf");
  await writeImatrix(output, found);
  const gguf = output.bytes();
  const legacy = legacyImatrix(found);
  for (const [i, bytes] of [gguf, legacy].entries()) {
    const again = await readImatrix(bytesSource(`m${i}`, bytes));
    expect([...again.entries.keys()].sort()).toEqual([...found.entries.keys()].sort());
    for (const [name, values] of again.entries) {
      const want = found.entries.get(name)!;
      for (let k = 0; k < values.length; k++) expect(Math.abs(values[k]! - want[k]!)).toBeLessThanOrEqual(3e-7 * want[k]!);
    }
  }
  const of = async (bytes: Uint8Array | undefined) => {
    const out = memoryDestination();
    return await door.quantize(model, out, { type: "Q4_0", imatrix: bytes });
  };
  expect((await of(gguf)).tensors.filter(({ how }) => how === "weighted").length).toBe(found.entries.size);
  expect((await of(undefined)).tensors.some(({ how }) => how === "weighted")).toBe(false);
});

test("damaged importance matrices are refused where they are wrong", async () => {
  const found = { entries: new Map([["a.weight", new Float64Array([1, 2, 3])]]), rows: 10 };
  const bytes = legacyImatrix(found);
  for (const cut of [0, 3, 4, 9, 14, 22, 30])
    await expect(readImatrix(bytesSource("x", bytes.subarray(0, cut)))).rejects.toMatchObject({ code: "bad-model" });
  const negative = bytes.slice();
  new DataView(negative.buffer).setFloat32(4 + 4 + 8 + 8, -1, true);
  await expect(readImatrix(bytesSource("x", negative))).rejects.toMatchObject({ code: "bad-model" });
  const other = { entries: new Map([["blk.0.attn_q.weight", new Float64Array(7).fill(1)]]), rows: 1 };
  const wrong = door.quantize(model, memoryDestination(), { type: "Q4_0", imatrix: legacyImatrix(other) });
  await expect(wrong).rejects.toMatchObject({ code: "bad-input", message: /another model/ });
  // Of a model with other names; of one with more layers.
  const cols = 128;
  const named = (...names: string[]) =>
    legacyImatrix({ entries: new Map(names.map((name) => [name, new Float64Array(cols).fill(1)])), rows: 1 });
  const strange = door.quantize(model, memoryDestination(), { type: "Q4_0", imatrix: named("blk.77.attn_q.weight") });
  await expect(strange).rejects.toMatchObject({ code: "bad-input", message: /none of its 1 tensors .* another model/ });
  const warnings: string[] = [];
  const onWarning = (message: string) => warnings.push(message);
  await door.quantize(model, memoryDestination(), {
    type: "Q4_0",
    imatrix: named("blk.0.attn_q.weight", "blk.77.attn_q.weight"),
    onWarning,
  });
  expect(warnings).toContainEqual(expect.stringMatching(/has 1 tensors that this model has not \(blk\.77\.attn_q\.weight\)/));
  // Calibration that nothing is chosen by takes time: that is said.
  const idle = { type: "Q8_0", calibration: calibration.slice(0, 1), onWarning } as const;
  await door.quantize(model, memoryDestination(), idle);
  expect(warnings).toContainEqual(expect.stringMatching(/^Q8_0 has no grid .* leave it out$/));
});

for (const checkpointVersion of [1, 2] as const)
  test(`a folder becomes int4 safetensors, version ${checkpointVersion}, that are a model again`, async () => {
    const out = join(folder, `int4-${checkpointVersion}`);
    const source = here("../cases/model-files/03-chat-template-list");
    const options = { type: "int4", group: 32, calibration, checkpointVersion } as const;
    const named = door.quantize(source, await diskDestination(`${out}.gguf`), options);
    await expect(named).rejects.toMatchObject({ code: "bad-input", message: /a folder of safetensors is written/ });
    const report = await door.quantize(source, await diskDestination(out), options);
    expect((await readdir(folder)).filter((name) => name.startsWith("."))).toEqual([]);
    expect(report.tensors.filter(({ how }) => how === "feedback")).toHaveLength(7);
    const config = JSON.parse(await readFile(join(out, "config.json"), "utf8"));
    expect(config.quantization_config).toMatchObject({
      bits: 4,
      group_size: 32,
      sym: true,
      desc_act: false,
      checkpoint_format: checkpointVersion === 1 ? "gptq" : "gptq_v2",
    });
    const files = await pathFiles(out);
    const again = await readModel(files);
    expect(again.format).toBe("safetensors, GPTQ int4");
    expect(again.layers[0]!.q.kind).toBe("gptq");
    await files.close();
  });
