// Folders of every family: the golden ones with a tokenizer for any text, and larger ones of random weights in their image.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { memoryFiles } from "../../src/file/bytes.ts";
import { readModel } from "../../src/model/read.ts";
import { jsonBytes, type StoredTensor, writeSafetensors, writeSentencePiece } from "./folder.ts";
import { shared } from "./golden.ts";
import { noise } from "./noise.ts";
import { type FloatType, floatBytes, pieces } from "./tiny.ts";

export type Folder = Record<string, Uint8Array>;

export const familiesAt = shared("golden/families") ?? fileURLToPath(new URL("../golden/families", import.meta.url));

export const familyNames = readdirSync(familiesAt).filter((name) => existsSync(`${familiesAt}/${name}/config.json`));

/** The golden GGUF of a family, where it has one. */
export function familyGguf(name: string): Uint8Array | undefined {
  const path = `${familiesAt}/${name}.gguf`;
  return existsSync(path) ? readFileSync(path) : undefined;
}

export interface FamilySequences {
  readonly sequences: readonly { readonly tokens: number[]; readonly positions: number[]; readonly logits: number[][] }[];
}

/** What the published code computes in float64. */
export const familySequences = (name: string): FamilySequences["sequences"] =>
  (JSON.parse(readFileSync(`${familiesAt}/${name}.json`, "utf8")) as FamilySequences).sequences;

const configOf = (name: string, config: string): Record<string, unknown> =>
  JSON.parse(readFileSync(`${familiesAt}/${name}/${config}`, "utf8")) as Record<string, unknown>;

function withTokenizer(config: Record<string, unknown>, weights: Uint8Array): Folder {
  const { pieces: names, scores, types } = pieces(config["vocab_size"] as number);
  return {
    "config.json": jsonBytes(config),
    "model.safetensors": weights,
    "tokenizer.model": writeSentencePiece(names, scores, types),
    "tokenizer_config.json": jsonBytes({ bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>", add_bos_token: true }),
  };
}

/** `own`: fields of the configuration that are otherwise. */
export const familyFolder = (name: string, config = "config.json", own: Readonly<Record<string, unknown>> = {}): Folder =>
  withTokenizer({ ...configOf(name, config), ...own }, readFileSync(`${familiesAt}/${name}/model.safetensors`));

/** The number of layers of a family's pattern, and what of its configuration has an entry for each. */
const PER_LAYER = ["layer_types", "no_rope_layers"];

/**
 * A family's configuration with sizes that blocks of 32 divide, and random weights of about the size that trained ones have.
 * `sizes` overrides fields of config.json (an undefined one is left out).
 */
export async function randomFamily(
  name: string,
  sizes: Readonly<Record<string, unknown>> = {},
  dtype: FloatType = "F16",
  seed = 11,
): Promise<Folder> {
  const own = configOf(name, "config.json");
  const rope = JSON.stringify(own["rope_parameters"] ?? {});
  // Rotations with a list of factors are made for one size of head.
  const headDim = rope.includes("long_factor")
    ? Number(own["head_dim"] ?? (own["hidden_size"] as number) / (own["num_attention_heads"] as number))
    : 16;
  const heads = 128 / headDim;
  const config: Record<string, unknown> = {
    ...own,
    hidden_size: 128,
    intermediate_size: 192,
    head_dim: headDim,
    num_attention_heads: heads,
    num_key_value_heads: Math.max(1, heads / 4),
    vocab_size: 320,
    // Converters take it for the size of a head.
    ...(own["query_pre_attn_scalar"] === undefined ? {} : { query_pre_attn_scalar: headDim }),
    ...sizes,
  };
  const layers = config["num_hidden_layers"] as number;
  for (const key of PER_LAYER) if (Array.isArray(config[key])) config[key] = (config[key] as unknown[]).slice(0, layers);
  const random = noise(seed);
  const gauss = () => {
    let sum = 0;
    for (let i = 0; i < 6; i++) sum += random();
    return (sum - 3) * Math.SQRT2;
  };
  const stored = new Map<string, StoredTensor>();
  // The reader asks for what the configuration needs: each tensor is made when it is found missing.
  for (;;) {
    const folder = withTokenizer(config, writeSafetensors([...stored.values()]));
    const error = await readModel(memoryFiles("", folder)).then(
      () => undefined,
      (e: { message: string; detail?: { field?: string; expected?: string } }) => e,
    );
    if (!error) return folder;
    const shape = /^a tensor \[(.*)\]$/
      .exec(error.detail?.expected ?? "")?.[1]
      ?.split(",")
      .map(Number);
    const field = error.detail?.field;
    if (!shape || !field || stored.has(field)) throw error;
    const count = shape.reduce((a, b) => a * b, 1);
    const norm = /norm\.weight$/.test(field);
    const less = /^gemma/.test(String(config["model_type"]));
    const scale = norm || shape.length === 1 ? 0.1 : /embed|lm_head/.test(field) ? 0.5 : 1 / Math.sqrt(shape[1]!);
    const values = Float32Array.from({ length: count }, () => (norm && !less ? 1 : 0) + scale * gauss());
    stored.set(field, { name: field, dtype, shape, bytes: floatBytes(values, dtype) });
  }
}

/** Families that stand for every trait, of those that test/golden has. */
export const traitFamilies = [
  "qwen2-window",
  "qwen3-bias",
  "llama-odd",
  "mistral-window",
  "smollm3-odd",
  "phi4-mini",
  "gemma2-caps",
  "gemma3-linear",
  "olmo3",
  "granite-odd",
  "exaone4-window",
];
