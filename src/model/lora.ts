// A LoRA adapter's files -> which linears it adds to: GGUF as llama.cpp's convert_lora_to_gguf.py writes it, and PEFT's folders.
import { CpmError, modelError } from "../errors.ts";
import { readGguf } from "../file/gguf.ts";
import { shown } from "../file/json.ts";
import { type ModelFiles, type Source, whereIs } from "../file/source.ts";
import { type FileTensor, isInteger } from "../file/tensor.ts";
import { LINEARS, type Linear, type ModelConfig } from "./config.ts";
import { type Family, familyNamed, familyOfGguf } from "./families/index.ts";
import { Fields } from "./fields.ts";
import { ggufNames, type LayerNames } from "./layers.ts";
import { type LoraPair, readPeft, refuse } from "./peft.ts";
import { linearShapes } from "./shapes.ts";

/** What is added to one linear: scale * B A. */
export interface LoraWeights {
  /** [rank, in] */
  readonly a: FileTensor;
  /** [out, rank] */
  readonly b: FileTensor;
  /** Heads whose rows B stores interleaved (GGUF); 0: none. */
  readonly ropeHeads: number;
  /** alpha / rank */
  readonly scale: number;
}

/** An adapter, understood and checked against its base. */
export interface LoraFile {
  /** By layer. */
  readonly layers: readonly { readonly [K in Linear]?: LoraWeights }[];
  readonly format: "GGUF" | "PEFT";
}

const MAX_RANK = 8192;

/**
 * Reads an adapter: a GGUF file, or a folder (or its files) with adapter_config.json and adapter_model.safetensors. Nothing of its
 * weights is read yet. Throws "unsupported" for what is no plain LoRA of the layers' linears (DoRA, biases, whole modules, embeddings),
 * and for another architecture; "bad-model" for what is damaged or does not fit the base, naming the tensor.
 */
export async function readLora(files: ModelFiles, base: ModelConfig, signal?: AbortSignal): Promise<LoraFile> {
  if (files.entry === "" || /\.(safetensors|json)$/.test(files.entry)) {
    const { pairs, names } = await readPeft(files, base, signal);
    return { layers: matched(pairs, base, names, 0, files.entry || "adapter_model.safetensors"), format: "PEFT" };
  }
  const source = await files.open(files.entry, signal);
  const where = whereIs(files, files.entry);
  if (!source) throw new CpmError("io", `${where}: no such file; check the path or address`, { file: where });
  const { pairs, family } = await readPairs(source, base, signal);
  return { layers: matched(pairs, base, ggufNames, family.interleaved ? 1 : 0, source.name), format: "GGUF" };
}

async function readPairs(
  source: Source,
  base: ModelConfig,
  signal: AbortSignal | undefined,
): Promise<{ pairs: LoraPair[]; family: Family }> {
  const gguf = await readGguf(source, signal);
  const f = new Fields(source.name, (key) => gguf.metadata.get(key));
  if (f.text("general.type") !== "adapter")
    f.fail("general.type", '"adapter"', f.raw("general.type"), "this is a model and no LoRA adapter");
  if (f.text("adapter.type") !== "lora") refuse(source.name, "adapter.type", `"${f.text("adapter.type")}"`, '"lora"');
  const architecture = f.text("general.architecture") ?? "";
  const family = familyOfGguf(source.name, architecture);
  // Llama and Mistral are one to converters.
  if (family.gguf !== familyNamed(base.architecture).gguf)
    throw modelError(
      {
        file: source.name,
        field: "general.architecture",
        expected: `"${base.architecture}", as the base's`,
        found: `"${architecture}"`,
      },
      "architecture",
      "load the adapter with the model that it was trained on",
    );
  if (f.raw("adapter.alora.invocation_tokens") !== undefined)
    refuse(source.name, "adapter.alora.invocation_tokens", "an activated LoRA", "a LoRA that is always on");
  const alpha = f.raw("adapter.lora.alpha");
  if (typeof alpha !== "number" || !Number.isFinite(alpha)) return f.fail("adapter.lora.alpha", "a finite number", alpha);
  const parts = new Map<string, Partial<Record<"a" | "b", FileTensor>>>();
  for (const tensor of gguf.tensors) {
    const [, name, part] = /^(.*)\.lora_([ab])$/.exec(tensor.name) ?? [];
    if (name === undefined) refuse(source.name, tensor.name, "a whole tensor", "pairs .lora_a and .lora_b");
    const pair = parts.get(name) ?? {};
    pair[part as "a" | "b"] = tensor;
    parts.set(name, pair);
  }
  const pairs = [...parts].map(([name, { a, b }]): LoraPair => {
    const [, layer, module] = /^blk\.(\d{1,6})\.(.+)\.weight$/.exec(name) ?? [];
    if (layer === undefined || module === undefined)
      refuse(source.name, name, "an adapter of it", "adapters of the layers' linears");
    if (!a || !b)
      throw modelError(
        {
          file: source.name,
          field: `${name}.lora_${a ? "b" : "a"}`,
          expected: `a tensor beside .lora_${a ? "a" : "b"}`,
          found: "none",
        },
        "tensor is missing",
        "convert the adapter again",
      );
    // As llama.cpp has it: no alpha is no division.
    const rank = b.shape[1] ?? 1;
    return { name, layer: Number(layer), module, a, b, scale: alpha === 0 ? 1 : alpha / rank };
  });
  return { pairs, family };
}

/** The linears that a module stands for, in the order of its rows. */
function linearsOf(module: string, names: LayerNames, rows: number, base: ModelConfig): readonly Linear[] | undefined {
  const shapes = linearShapes(base);
  if (module === names.qkv && !Object.values(names.linears).includes(module)) return ["q", "k", "v"];
  // Phi-3's GGUF has gate and up in what is up alone elsewhere: the rows tell.
  if (module === names.gateUp && (module !== names.linears.up || rows === 2 * shapes.up[0])) return ["gate", "up"];
  const linear = LINEARS.find((l) => names.linears[l] === module);
  return linear && [linear];
}

/** Every pair at its linear, with shapes that fit. `interleaved`: rows of q and k are, of all their heads. */
function matched(
  pairs: readonly LoraPair[],
  base: ModelConfig,
  names: LayerNames,
  interleaved: 0 | 1,
  file: string,
): LoraFile["layers"] {
  const shapes = linearShapes(base);
  const layers = Array.from({ length: base.layers }, (): { [K in Linear]?: LoraWeights } => ({}));
  const fits = "load the adapter with the model that it was trained on";
  for (const { name, layer, module, a, b, scale } of pairs) {
    const linears = linearsOf(module, names, b.shape[0] ?? 0, base);
    if (!linears) refuse(file, name, "an adapter of it", "adapters of the layers' linears");
    const own = layers[layer];
    if (!own)
      throw modelError(
        { file, field: name, expected: `layers below ${base.layers}, as the base's`, found: String(layer) },
        "adapter's layer",
        fits,
      );
    const rank = a.shape[0] ?? 0;
    const rows = linears.reduce((sum, l) => sum + shapes[l][0], 0);
    const shape = (part: "A" | "B", tensor: FileTensor, wanted: readonly number[]) => {
      if (tensor.shape.length !== 2 || tensor.shape.some((size, i) => size !== wanted[i]))
        throw modelError(
          { file, field: `${name} (${part})`, expected: `[${wanted}], as the base's linear asks`, found: `[${tensor.shape}]` },
          "adapter's shape",
          fits,
        );
      if (isInteger(tensor.type))
        throw modelError({ file, field: tensor.name, expected: "a weight type", found: tensor.type }, "tensor type");
    };
    if (rank < 1 || rank > MAX_RANK)
      throw modelError({ file, field: name, expected: `a rank from 1 to ${MAX_RANK}`, found: shown(a.shape) }, "rank");
    shape("A", a, [rank, shapes[linears[0]!][1]]);
    shape("B", b, [rows, rank]);
    const bytes = b.bytes / rows;
    let first = 0;
    for (const linear of linears) {
      if (own[linear])
        throw modelError({ file, field: name, expected: "each linear once", found: "it twice" }, "adapter's tensors");
      const count = shapes[linear][0];
      const part = { ...b, shape: [count, rank], offset: b.offset + first * bytes, bytes: count * bytes };
      const heads = linear === "q" ? base.heads : linear === "k" ? base.kvHeads : 0;
      own[linear] = { a, b: part, scale, ropeHeads: linears.length === 1 ? interleaved * heads : 0 };
      first += count;
    }
  }
  if (pairs.length === 0)
    throw modelError({ file, expected: "pairs of tensors lora_a and lora_b", found: "none" }, "not an adapter");
  return layers;
}
