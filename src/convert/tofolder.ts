// A GGUF of float weights -> a Hugging Face folder: config.json, safetensors, tokenizer files.
import { CpmError } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import type { FileTensor } from "../file/tensor.ts";
import type { OutputFolder, TensorWriter } from "../file/write/output.ts";
import { layoutSafetensors, type PlainType, safetensorsIndex, writeSafetensors } from "../file/write/safetensors.ts";
import type { ModelConfig, ModelFile } from "../model/config.ts";
import { readModel } from "../model/read.ts";
import { bytesAs, bytesOfType, type Copy, type FloatType, isFloat, readShort } from "./copy.ts";
import { folderName } from "./names.ts";
import { type Converted, type ConvertOptions, Copier, typesOf } from "./progress.ts";
import { tokenizerFiles } from "./tokenizerfiles.ts";

/** Bytes of one safetensors file, at most, as published folders have them. */
const SHARD = 5e9;

/** Names of transformers' dtypes. */
export const DTYPES = { F32: "float32", F16: "float16", BF16: "bfloat16" } as const;

/**
 * Writes the folder of a GGUF to what `open` gives (it is told the size). No value changes: matrices keep their type; norms, which GGUFs
 * keep in F32, get the matrices' type where it can hold every one of their values. What config.json must say is what this runtime reads
 * from the GGUF; numbers get the shortest decimals that mean the same float32.
 * Rejects with CpmError "unsupported" for quantised weights; "bad-model", "io", or the signal's reason.
 */
export async function toFolder(
  files: ModelFiles,
  open: (size: number) => Promise<OutputFolder>,
  options: ConvertOptions = {},
): Promise<Converted> {
  const { signal } = options;
  const model = await readModel(files, signal);
  const copies = await copiesOf(model, signal);
  const shards = shardsOf(copies);
  const metadata = model.metadata;
  const pad = metadata["tokenizer.ggml.padding_token_id"];
  const texts: Record<string, Uint8Array> = {
    "config.json": text(configOf(model, matrixType(copies), options.name, typeof pad === "number" ? pad : undefined)),
    "generation_config.json": text(generationOf(model)),
    ...tokenizerFiles(model.tokenizer, typeof pad === "number" ? pad : undefined),
  };
  const sizes = shards.map((shard) => layoutSafetensors(shard.map(planOf)).size);
  if (shards.length > 1) {
    const places = new Map(shards.flatMap((shard, i) => shard.map(({ name }) => [name, shardName(i, shards.length)] as const)));
    const total = copies.reduce((sum, copy) => sum + bytesOfType(copy), 0);
    texts["model.safetensors.index.json"] = new TextEncoder().encode(safetensorsIndex(places, total));
  }
  const bytes = [...sizes, ...Object.values(texts).map((t) => t.length)].reduce((a, b) => a + b, 0);
  const folder = await open(bytes);
  try {
    const copier = new Copier(copies, options);
    for (const [i, shard] of shards.entries()) {
      const writer: TensorWriter = await writeSafetensors(await folder.file(shardName(i, shards.length)), shard.map(planOf));
      try {
        for (const copy of shard) await copier.write(writer, copy);
        await writer.finish();
      } catch (error) {
        await writer.output.discard().catch(() => {});
        throw error;
      }
    }
    for (const [name, contents] of Object.entries(texts)) {
      const output = await folder.file(name);
      await output.write(0, contents);
      await output.commit();
    }
    signal?.throwIfAborted();
    await folder.commit();
  } catch (error) {
    await folder.discard().catch(() => {});
    throw error;
  }
  return { tensors: copies.length, bytes, types: typesOf(copies), notes: notesOf(model) };
}

const text = (value: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
const planOf = ({ name, type, shape }: Copy) => ({ name, type: type as PlainType, shape });
const shardName = (i: number, count: number): string => {
  const five = (n: number) => String(n).padStart(5, "0");
  return count === 1 ? "model.safetensors" : `model-${five(i + 1)}-of-${five(count)}.safetensors`;
};

function shardsOf(copies: readonly Copy[]): Copy[][] {
  const shards: Copy[][] = [[]];
  let bytes = 0;
  for (const copy of copies) {
    const more = bytesOfType(copy);
    if (bytes > 0 && bytes + more > SHARD) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)!.push(copy);
    bytes += more;
  }
  return shards;
}

async function copiesOf(model: ModelFile, signal?: AbortSignal): Promise<Copy[]> {
  const { config } = model;
  if (config.traits !== undefined || !["minicpm", "llama"].includes(config.architecture))
    throw new CpmError(
      "unsupported",
      `${config.name}: GGUF files of the family "${config.architecture}"${config.traits ? " with traits beyond Llama's" : ""} are not turned into folders; use the folder that the file was made from`,
      { file: config.name, field: "general.architecture", found: config.architecture },
    );
  const matrices = model.tensors.find(({ shape }) => shape.length > 1)?.type ?? "F32";
  const copies: Copy[] = [];
  for (const tensor of model.tensors) {
    const name = folderName(tensor.name);
    if (name === undefined) continue;
    if (!isFloat(tensor.type))
      throw new CpmError(
        "unsupported",
        `${tensor.name}: ${tensor.type} is a quantised type, which no Hugging Face folder holds as it is; convert the float GGUF (F16, BF16, F32)`,
        { file: tensor.source.name, field: tensor.name, expected: "F32, F16 or BF16", found: tensor.type },
      );
    const norm = tensor.shape.length === 1;
    const type = norm && isFloat(matrices) && (await holds(tensor, matrices, signal)) ? matrices : tensor.type;
    const heads = tensor.name.endsWith(".attn_q.weight")
      ? config.heads
      : tensor.name.endsWith(".attn_k.weight")
        ? config.kvHeads
        : 0;
    copies.push({ name, type, shape: tensor.shape, tensor, ...(heads ? { rows: { order: "halves", heads } } : {}) });
  }
  return copies;
}

/** Whether a type has every value of a short tensor. */
async function holds(tensor: FileTensor, type: keyof typeof DTYPES, signal?: AbortSignal): Promise<boolean> {
  return bytesAs(await readShort(tensor, signal), type) !== undefined;
}

/** The shortest decimal for which `means` gives the same float32. */
function shortest(value: number, means: (x: number) => number = (x) => x): number {
  const wanted = Math.fround(means(value));
  for (let digits = 1; digits < 17; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(means(short)) === wanted) return short;
  }
  return value;
}

const matrixType = (copies: readonly Copy[]): FloatType =>
  (copies.find(({ shape }) => shape.length > 1)?.type as FloatType | undefined) ?? "F32";

/** config.json's fields for a model whose matrices have type `matrix`. `pad`: the id of a padding token. */
export function configOf(
  { config, tokenizer }: ModelFile,
  matrix: FloatType,
  name: string | undefined,
  pad: number | undefined,
): Record<string, unknown> {
  const minicpm = config.architecture === "minicpm";
  const stops = [...new Set([...(tokenizer.eos === undefined ? [] : [tokenizer.eos]), ...tokenizer.stop])];
  const root = Math.sqrt(config.layers);
  return {
    _name_or_path: name ?? config.name,
    architectures: [minicpm ? "MiniCPMForCausalLM" : "LlamaForCausalLM"],
    model_type: config.architecture,
    ...(tokenizer.bos === undefined ? {} : { bos_token_id: tokenizer.bos }),
    eos_token_id: stops.length === 1 ? stops[0] : stops,
    ...(pad === undefined ? {} : { pad_token_id: pad }),
    hidden_act: "silu",
    hidden_size: config.hidden,
    intermediate_size: config.intermediate,
    max_position_embeddings: config.contextLength,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    num_hidden_layers: config.layers,
    ...(config.headDim * config.heads === config.hidden ? {} : { head_dim: config.headDim }),
    rms_norm_eps: shortest(config.rmsEps),
    rope_theta: shortest(config.ropeTheta),
    rope_scaling: ropeOf(config),
    tie_word_embeddings: config.tied,
    torch_dtype: DTYPES[matrix],
    use_cache: true,
    vocab_size: config.vocab,
    ...(minicpm
      ? {
          scale_emb: shortest(config.embeddingScale),
          scale_depth: shortest(config.residualScale * root, (x) => x / root),
          dim_model_base: shortest(config.logitScale * config.hidden, (x) => x / config.hidden),
        }
      : {}),
    ...(config.sparse ? { sparse_config: config.sparse } : {}),
  };
}

function ropeOf({ ropeLong, ropeShort, ropeOriginalContext, ropeScale }: ModelConfig): unknown {
  if (!ropeLong || !ropeShort) return null;
  if (ropeLong === ropeShort && ropeLong.every((factor) => factor === ropeLong[0]))
    return { rope_type: "linear", factor: shortest(ropeLong[0]!) };
  const list = (factors: Float32Array) => Array.from(factors, (factor) => shortest(factor));
  return {
    rope_type: "longrope",
    long_factor: list(ropeLong),
    short_factor: list(ropeShort),
    original_max_position_embeddings: ropeOriginalContext,
    attention_factor: shortest(ropeScale),
  };
}

/** generation_config.json's fields. */
export function generationOf({ tokenizer, metadata }: ModelFile): Record<string, unknown> {
  const number = (key: string) =>
    typeof metadata[key] === "number" ? { [key.split(".").at(-1)!]: shortest(metadata[key]) } : {};
  const { temp, ...rest }: Record<string, number> = {
    ...number("general.sampling.top_k"),
    ...number("general.sampling.top_p"),
    ...number("general.sampling.min_p"),
    ...number("general.sampling.temp"),
  };
  return {
    ...(tokenizer.bos === undefined ? {} : { bos_token_id: tokenizer.bos }),
    eos_token_id: tokenizer.stop,
    ...rest,
    ...(temp === undefined ? {} : { temperature: temp }),
  };
}

const notesOf = ({ config }: ModelFile): string[] =>
  config.architecture === "minicpm"
    ? ["transformers also needs the model's own configuration_minicpm.py and modeling_minicpm.py, which a GGUF does not hold"]
    : [];
