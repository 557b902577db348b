// All families that this runtime runs, and the reasons for those that it does not.
import { CpmError } from "../../errors.ts";
import { exaone4 } from "./exaone4.ts";
import type { Family } from "./family.ts";
import { gemma2, gemma3 } from "./gemma.ts";
import { granite } from "./granite.ts";
import { llama, mistral } from "./llama.ts";
import { minicpm } from "./minicpm.ts";
import { olmo2, olmo3 } from "./olmo.ts";
import { phi3 } from "./phi3.ts";
import { qwen2, qwen3 } from "./qwen.ts";
import { smollm3 } from "./smollm3.ts";

const FAMILIES: readonly Family[] = [
  minicpm,
  llama,
  mistral,
  qwen2,
  qwen3,
  smollm3,
  phi3,
  gemma2,
  gemma3,
  olmo2,
  olmo3,
  granite,
  exaone4,
];

/** What models of these names need that is not here; names as either container has them. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/^deepseek_?(v)?[23]|^deepseek-?[23]|^minicpm3|^kimi|^plm$|^longcat/, "multi-head latent attention (MLA)"],
  [
    /mamba|jamba|rwkv|hybrid|^falcon[-_]?h1|^lfm2|^nemotron[-_]?h|^plamo-?2|^bamba|^zamba|^qwen3[-_]?next|^qwen35|^qwen3_5|recurrent|^kimi[-_]linear|^minicpm[-_]?sala/,
    "state-space or recurrent layers",
  ],
  [
    /moe|^mixtral|^gpt[-_]?oss|^dbrx|^llama4|^grok|^arctic|^minimax|^bailing|^glm4v?[-_]moe|^hunyuan[-_](a13b|v1_moe)|^phimoe|^granitemoe|^ernie4[-_]5[-_]moe|^dots1|^afmoe|^solar_open|^step3/,
    "a mixture of experts",
  ],
  [/^gemma3n/, "per-layer embeddings and alternating updates"],
  [/_vl$|^qwen2vl|^qwen3vl|vl(_text)?$|^mllama|^llava|^idefics|^mistral3|^pixtral|^whisper/, "images or sound"],
  [/^t5|^bart|^bert|^modern-?bert|^roberta|^nomic-bert|^jina-bert/, "an encoder"],
  [
    /^gpt2|^gptj|^gptneox|^gpt_neox|^gpt_bigcode|^bloom|^mpt|^opt$|^phi2?$|^starcoder|^stablelm|^falcon$|^persimmon/,
    "layer norms with a mean",
  ],
];

const known = (): string => [...new Set(FAMILIES.flatMap(({ architectures }) => architectures))].join(", ");

/** The error for a family that is not here: it says what is missing, where that is known. */
export function unsupported(file: string, field: string, name: string): CpmError {
  const reason = REASONS.find(([pattern]) => pattern.test(name.toLowerCase()))?.[1];
  if (/eagle3?$/.test(name.toLowerCase()))
    return new CpmError(
      "unsupported",
      `${file}: ${field}: "${name}" is a head that drafts for a model, not a model; give it as draft: { eagle } (--draft-eagle), as the folder of safetensors that it was published in`,
      { file, field, found: name },
    );
  const needs = reason ? `: such models need ${reason}, which this runtime does not have` : "";
  return new CpmError("unsupported", `${file}: ${field}: "${name}" is not supported${needs}; it runs the families ${known()}`, {
    file,
    field,
    found: name,
  });
}

/** The family that a GGUF's general.architecture names. @throws CpmError "unsupported", saying what is missing. */
export function familyOfGguf(file: string, architecture: string): Family {
  const family = FAMILIES.find(({ architectures }) => architectures.includes(architecture));
  if (!family) throw unsupported(file, "general.architecture", architecture);
  return family;
}

/** The family that a loaded model's configuration names, by the name of either container. */
export function familyNamed(architecture: string): Family {
  const family = FAMILIES.find(
    ({ architectures, types }) => architectures.includes(architecture) || types.includes(architecture),
  );
  if (!family) throw unsupported("model", "architecture", architecture);
  return family;
}

/**
 * The family of config.json's model_type, and of the class that `architectures` names where there is no such field.
 * @throws CpmError "unsupported", saying what is missing.
 */
export function familyOfFolder(type: string | undefined, named: string | undefined): Family {
  // What a class is called: Qwen3ForCausalLM is qwen3.
  const byClass = named?.replace(/For(CausalLM|ConditionalGeneration)$/, "").toLowerCase();
  const name = type ?? byClass ?? "minicpm";
  const family = FAMILIES.find(({ types }) => types.includes(name));
  if (!family) throw unsupported("config.json", "model_type", name);
  // A class of another name computes something else: a classifier, an embedder, or a variant in code of its own.
  const fits =
    named === undefined || family.types.some((t) => byClass === t.replace(/[-_]/g, "") || byClass === t.replace(/_text$/, ""));
  if (!fits)
    throw new CpmError(
      "unsupported",
      `config.json: architectures: ${named} is not supported for model_type "${name}"; a model of causal language (…ForCausalLM) is`,
      { file: "config.json", field: "architectures", found: named! },
    );
  return family;
}

export type { Family };
