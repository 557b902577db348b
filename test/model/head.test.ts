// Files of draft heads: what belongs to one is used, what does not is refused by name.
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import { readHead } from "../../src/model/eagle.ts";
import { readModel } from "../../src/model/read.ts";
import { type StoredTensor, writeSafetensors } from "../support/folder.ts";
import { headTensors, offsets, tinyHead } from "../support/head.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";

const target = tinyModel({ layers: 4 });
const { config } = await readModel(memoryFiles("m.gguf", { "m.gguf": tinyGguf(target) }));
const extra = (name: string, rows: number): StoredTensor => ({
  name,
  dtype: "F32",
  shape: [rows],
  bytes: new Uint8Array(4 * rows),
});

function read(version: 2 | 3, more: readonly StoredTensor[]) {
  const head = tinyHead(version, target.shape);
  const bytes = writeSafetensors([...headTensors(head), ...offsets(head), ...more]);
  return readHead(memoryFiles("head.safetensors", { "head.safetensors": bytes }), config);
}

test.each([2, 3] as const)("EAGLE-%i: copies of what the target has are left alone", async (version) => {
  const copies = ["embed_tokens.weight", "t2d", `${version === 2 ? "layers.0" : "midlayer"}.self_attn.rotary_emb.inv_freq`];
  expect((await read(version, [...copies.map((name) => extra(name, 8))])).version).toBe(version);
});

test.each([
  [2, "layers.0.self_attn.q_proj.bias"],
  [2, "layers.1.mlp.up_proj.weight"],
  [2, "medusa_head.weight"],
  [3, "midlayer.self_attn.q_norm.weight"],
  [3, "fc_norm.weight"],
] as const)("EAGLE-%i with %s is refused by that name", async (version, name) => {
  await expect(read(version, [extra(name, 8)])).rejects.toMatchObject({ code: "unsupported", detail: { field: name } });
});
