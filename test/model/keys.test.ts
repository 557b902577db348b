// What a GGUF leaves out of a family's keys and tensors: read as llama.cpp reads it, or refused by name where the model would be another one.
import { expect, test } from "vitest";
import { bytesSource } from "../../src/file/bytes.ts";
import { readGguf } from "../../src/file/gguf.ts";
import type { GgufValue } from "../../src/file/metadata.ts";
import type { ModelFile } from "../../src/model/config.ts";
import { modelOfGguf } from "../../src/model/gguf.ts";
import { familyGguf } from "../support/families.ts";

/** The golden GGUF of a family, with other metadata (null: absent), without the tensors whose names match. */
async function changed(name: string, own: Readonly<Record<string, GgufValue | null>>, without = /^$/): Promise<ModelFile> {
  const gguf = await readGguf(bytesSource(`${name}.gguf`, familyGguf(name)!));
  const all = [...gguf.metadata].filter(([key]) => !(key in own));
  const more = Object.entries(own).filter((pair): pair is [string, GgufValue] => pair[1] !== null);
  const metadata = new Map([...all, ...more]);
  return modelOfGguf(`${name}.gguf`, { ...gguf, metadata, tensors: gguf.tensors.filter((t) => !without.test(t.name)) });
}

const refusals: readonly [string, string, Readonly<Record<string, GgufValue | null>>, RegExp?][] = [
  ["llama.attention.layer_norm_rms_epsilon", "llama3", { "llama.attention.layer_norm_rms_epsilon": null }],
  ["qwen3.attention.layer_norm_rms_epsilon", "qwen3", { "qwen3.attention.layer_norm_rms_epsilon": null }],
  ["granite.logit_scale", "granite-odd", { "granite.logit_scale": null }],
  ["qwen3.rope.scaling.factor", "qwen3", { "qwen3.rope.scaling.type": "yarn" }],
  ["qwen3.rope.scaling.factor", "qwen3", { "qwen3.rope.scaling.type": "linear" }],
  ["rope_factors_short.weight", "qwen3", { "qwen3.rope.scaling.type": "longrope" }],
  ["rope_factors_long.weight", "phi4-mini", {}, /^rope_factors_long/],
  ["rope_factors_short.weight", "phi4-mini", {}, /^rope_factors_short/],
  ["phi3.context_length", "phi4-mini", {}, /^rope_factors_/],
  ["blk.0.attn_q_norm.weight", "qwen3", {}, /attn_q_norm/],
  ["blk.1.attn_k_norm.weight", "qwen3", {}, /^blk\.1\.attn_k_norm/],
  ["blk.1.attn_q.bias", "llama-odd", {}, /^blk\.1\.attn_q\.bias/],
  ["blk.0.post_attention_norm.weight", "gemma2-caps", {}, /post_attention_norm/],
  ["llama.expert_count", "llama3", { "llama.expert_count": 8 }],
];

for (const [field, name, own, without] of refusals)
  test(`${name} without ${without ?? Object.keys(own)[0]} as it should be is refused: ${field}`, async () => {
    await expect(changed(name, own, without)).rejects.toMatchObject({
      name: "CpmError",
      detail: { field },
      message: expect.stringContaining(field) as string,
    });
  });

test("a head that drafts is told from a model", async () => {
  const metadata = { "general.architecture": "eagle3" };
  await expect(changed("llama3", metadata)).rejects.toMatchObject({
    code: "unsupported",
    message: expect.stringMatching(/"eagle3" is a head that drafts.*--draft-eagle/) as string,
  });
});

test("a factor without a type, and under its first name, is a linear rotation's", async () => {
  const linear = (await changed("qwen3", { "qwen3.rope.scaling.type": "linear", "qwen3.rope.scaling.factor": 4 })).config;
  expect(linear.ropeShort).toEqual(new Float32Array(linear.headDim / 2).fill(4));
  for (const key of ["rope.scaling.factor", "rope.scale_linear"])
    expect((await changed("qwen3", { [`qwen3.${key}`]: 4 })).config).toEqual(linear);
  // A type says what it is.
  const none = { "qwen3.rope.scaling.type": "none", "qwen3.rope.scaling.factor": 4 };
  expect((await changed("qwen3", none)).config).toEqual((await changed("qwen3", {})).config);
});

test("what llama.cpp takes as usual where a file is silent", async () => {
  const caps = { "gemma2.attn_logit_softcapping": null, "gemma2.final_logit_softcapping": null };
  expect((await changed("gemma2-caps", caps)).config.traits).toMatchObject({ scoreCap: 50, logitCap: 30 });
  const near = (await changed("gemma3-linear", { "gemma3.rope.freq_base_swa": null })).config.traits?.ropeLocal;
  expect(near).toMatchObject({ theta: 10000, factors: undefined });
  const open = (await changed("gemma3-linear", { "gemma3.attention.sliding_window": null })).config.traits;
  expect(open?.window).toBeUndefined();
  expect((await changed("llama3", { "llama.rope.freq_base": null })).config.ropeTheta).toBe(10000);
});
