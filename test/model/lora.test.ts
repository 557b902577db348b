// Files of LoRA adapters: what is one is understood, what is another thing or another model's is refused by name.
import { expect, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { memoryFiles } from "../../src/file/bytes.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { readLora } from "../../src/model/lora.ts";
import { readModel } from "../../src/model/read.ts";
import { load } from "../support/engine.ts";
import { jsonBytes } from "../support/folder.ts";
import { f32, type GgufParts, list, TYPE_IDS, text, u32, writeGguf } from "../support/gguf.ts";
import { loraFolder, loraGguf, loraParts, tinyLora } from "../support/lora.ts";
import { noise } from "../support/noise.ts";
import { tinyFolder, tinyGguf, tinyModel } from "../support/tiny.ts";

const model = tinyModel();
const { config } = await readModel(memoryFiles("m.gguf", { "m.gguf": tinyGguf(model) }));
const lora = tinyLora(model, 4);
const parts = loraParts(model, lora);

const readGguf = (given: GgufParts | Uint8Array, base: ModelConfig = config) => {
  const bytes = given instanceof Uint8Array ? given : writeGguf(given);
  return readLora(memoryFiles("a.gguf", { "a.gguf": bytes }), base);
};
const readFolder = (files: Record<string, Uint8Array>, entry = "") => readLora(memoryFiles(entry, files), config);
const with_ = (key: string, value: GgufParts["metadata"][number][1] | undefined): GgufParts => ({
  ...parts,
  metadata: [...parts.metadata.filter(([name]) => name !== key), ...(value ? [[key, value] as const] : [])].map(([k, v]) => [
    k,
    v,
  ]),
});

test("alpha over rank is the scale; no alpha is none", async () => {
  const { layers, format } = await readGguf(parts);
  expect([layers.length, format, layers[1]!.q!.scale, layers[1]!.q!.ropeHeads, layers[1]!.v!.ropeHeads]).toEqual([
    2,
    "GGUF",
    2,
    4,
    0,
  ]);
  expect((await readGguf(with_("adapter.lora.alpha", f32(0)))).layers[0]!.down!.scale).toBe(1);
});

test.each([
  ["general.type", text("model"), "bad-model", "general.type"],
  ["adapter.type", text("control_vector"), "unsupported", "adapter.type"],
  ["general.architecture", text("qwen2"), "bad-model", "general.architecture"],
  ["general.architecture", text("mamba"), "unsupported", "general.architecture"],
  ["adapter.lora.alpha", undefined, "bad-model", "adapter.lora.alpha"],
  ["adapter.lora.alpha", f32(Number.NaN), "bad-model", "adapter.lora.alpha"],
  ["adapter.alora.invocation_tokens", list(4, [u32(1)]), "unsupported", "adapter.alora.invocation_tokens"],
] as const)("%s %o is refused", async (key, value, code, field) => {
  await expect(readGguf(with_(key, value))).rejects.toMatchObject({ code, detail: { field } });
});

test("Llama's adapters fit Mistral models, as converters name both alike", async () => {
  const llama = { ...config, architecture: "llama" };
  const adapter = loraGguf(model, lora, "F32", "llama");
  expect((await readGguf(adapter, llama)).layers[0]!.q!.ropeHeads).toBe(4);
  expect((await readGguf(adapter, { ...config, architecture: "mistral" })).layers[0]!.q!.ropeHeads).toBe(4);
  await expect(readGguf(adapter)).rejects.toMatchObject({ code: "bad-model" });
});

test.each([
  ["token_embd.weight.lora_a", "unsupported", "token_embd.weight"],
  ["output.weight.lora_a", "unsupported", "output.weight"],
  ["blk.0.attn_norm.weight.lora_a", "unsupported", "blk.0.attn_norm.weight"],
  ["blk.0.ffn_gate_exps.weight.lora_a", "unsupported", "blk.0.ffn_gate_exps.weight"],
  ["blk.0.attn_norm.weight", "unsupported", "blk.0.attn_norm.weight"],
  ["blk.2.attn_q.weight.lora_a", "bad-model", "blk.2.attn_q.weight"],
] as const)("a pair for %s is refused by its name", async (name, code, field) => {
  const more = [name, name.replace("lora_a", "lora_b")].map((own, i) => ({
    name: own,
    type: TYPE_IDS.F32,
    shape: i ? [64, 4] : [4, 64],
    bytes: new Uint8Array(4 * 256),
  }));
  const tensors = [...parts.tensors, ...more.slice(0, name.includes("lora") ? 2 : 1)];
  await expect(readGguf({ ...parts, tensors })).rejects.toMatchObject({ code, detail: { field } });
});

test("a tensor without its other half, and one of another model's shape, are named", async () => {
  const name = "blk.1.ffn_down.weight";
  const half = parts.tensors.filter((t) => t.name !== `${name}.lora_b`);
  await expect(readGguf({ ...parts, tensors: half })).rejects.toMatchObject({
    code: "bad-model",
    detail: { field: `${name}.lora_b` },
  });
  const other = tinyModel({ intermediate: 128 });
  const wide = loraParts(other, tinyLora(other, 4));
  await expect(readGguf(wide)).rejects.toMatchObject({
    code: "bad-model",
    message: expect.stringMatching(/blk\.0\.ffn_gate\.weight \(B\).*\[96,4\].*\[128,4\]/s),
  });
  await expect(readGguf({ ...parts, tensors: [] })).rejects.toMatchObject({ code: "bad-model" });
});

test("fused projections are taken apart by their rows", async () => {
  const phi = { ...config, architecture: "phi3" };
  const pair = (module: string, rows: number, cols: number) => [
    { name: `blk.1.${module}.weight.lora_a`, type: TYPE_IDS.F32, shape: [4, cols], bytes: new Uint8Array(16 * cols) },
    { name: `blk.1.${module}.weight.lora_b`, type: TYPE_IDS.F32, shape: [rows, 4], bytes: new Uint8Array(16 * rows) },
  ];
  const metadata = with_("general.architecture", text("phi3")).metadata;
  const { layers } = await readGguf({ metadata, tensors: [...pair("attn_qkv", 128, 64), ...pair("ffn_up", 192, 64)] }, phi);
  const own = layers[1]!;
  const at = (linear: "q" | "k" | "v" | "gate" | "up") => [own[linear]!.b.shape[0], own[linear]!.b.offset];
  const [q, gate] = [own.q!.b.offset, own.gate!.b.offset];
  expect([at("q"), at("k"), at("v"), at("gate"), at("up")]).toEqual([
    [64, q],
    [32, q + 1024],
    [32, q + 1536],
    [96, gate],
    [96, gate + 1536],
  ]);
  expect([own.q!.ropeHeads, own.o, layers[0]!.q]).toEqual([0, undefined, undefined]);
});

test("PEFT: the folder, its weights' file, or its configuration name one adapter", async () => {
  const files = loraFolder(lora);
  for (const entry of ["", "adapter_model.safetensors", "adapter_config.json"]) {
    const { layers, format } = await readFolder(files, entry);
    expect([format, layers[0]!.k!.scale, layers[0]!.k!.ropeHeads]).toEqual(["PEFT", 2, 0]);
  }
});

test("PEFT: rank-stabilised scales, and patterns of ranks and alphas", async () => {
  expect((await readFolder(loraFolder(lora, { use_rslora: true }))).layers[0]!.q!.scale).toBe(4);
  const mixed = tinyLora(model, (name) => (/q_proj/.test(name) ? 2 : 4));
  const { layers } = await readFolder(
    loraFolder(mixed, { r: 4, rank_pattern: { q_proj: 2 }, alpha_pattern: { "layers.1.mlp.up_proj": 32, k_proj: 1 } }),
  );
  expect([layers[0]!.q, layers[0]!.k, layers[0]!.up, layers[1]!.up].map((own) => own!.scale)).toEqual([4, 0.25, 2, 8]);
  await expect(readFolder(loraFolder(mixed, { r: 4 }))).rejects.toMatchObject({ code: "bad-model", detail: { field: "r" } });
});

test.each([
  ["peft_type", "LOHA"],
  ["use_dora", true],
  ["bias", "all"],
  ["lora_bias", true],
  ["fan_in_fan_out", true],
  ["modules_to_save", ["lm_head"]],
  ["target_parameters", ["experts.gate_up_proj"]],
  ["trainable_token_indices", [1, 2]],
  ["layer_replication", [[0, 2]]],
  ["init_lora_weights", "pissa_niter_4"],
  ["alora_invocation_tokens", [5]],
])("PEFT: %s %o is refused by that name", async (key, value) => {
  await expect(readFolder(loraFolder(lora, { [key]: value }))).rejects.toMatchObject({
    code: "unsupported",
    detail: { field: key },
  });
});

test("PEFT: what is missing is named, and pickled weights are not read", async () => {
  const { "adapter_config.json": json, "adapter_model.safetensors": weights } = loraFolder(lora);
  await expect(readFolder({ "adapter_model.safetensors": weights! })).rejects.toMatchObject({
    detail: { file: "adapter_config.json" },
  });
  await expect(readFolder({ "adapter_config.json": json! })).rejects.toMatchObject({
    detail: { file: "adapter_model.safetensors" },
  });
  const pickled = { "adapter_config.json": json!, "adapter_model.bin": new Uint8Array(8) };
  await expect(readFolder(pickled)).rejects.toMatchObject({ code: "unsupported", detail: { file: "adapter_model.bin" } });
  await expect(readFolder({ ...loraFolder(lora), "adapter_config.json": jsonBytes([]) })).rejects.toMatchObject({
    code: "bad-model",
  });
});

test("numbers that are none are found while loading, at their place", async () => {
  const bad = tinyLora(model, 4);
  bad.pairs.get("model.layers.1.mlp.up_proj.weight")!.b.values[37] = Number.NaN;
  await expect(
    load(tinyGguf(model), { lora: [{ name: "bad", scale: 1 }] }, {}, undefined, false, [loraGguf(model, bad)]),
  ).rejects.toMatchObject({
    code: "bad-model",
    detail: { field: "blk.1.ffn_up.weight.lora_b", found: "another at element 37" },
  });
});

test("truncated and damaged adapters are refused or load, and nothing else happens", async () => {
  const inputs = [writeGguf(parts), loraFolder(lora)["adapter_model.safetensors"]!];
  const random = noise(3);
  for (const [kind, whole] of inputs.entries()) {
    const open = (bytes: Uint8Array) =>
      load(kind === 0 ? tinyGguf(model) : tinyFolder(model), { lora: [{ name: "x", scale: 1 }] }, {}, undefined, false, [
        kind === 0
          ? bytes
          : { "adapter_config.json": loraFolder(lora)["adapter_config.json"]!, "adapter_model.safetensors": bytes },
      ]);
    for (let i = 0; i < 40; i++) {
      const cut = whole.slice(0, Math.floor(random() * whole.length));
      await expect(open(cut)).rejects.toBeInstanceOf(CpmError);
      const flipped = whole.slice();
      flipped[Math.floor(random() * 3000)]! ^= 1 << Math.floor(random() * 8);
      await open(flipped).catch((error: unknown) => expect(error).toBeInstanceOf(CpmError));
    }
  }
});
