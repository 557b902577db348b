// Which type each tensor gets: llama.cpp's recipes (llama-quant.cpp), less what they do for architectures that are not run here.
import { CpmError, didYouMean } from "../errors.ts";
import { TENSOR_TYPES } from "../file/tensor.ts";
import type { Linear } from "../model/config.ts";
import type { BlockType } from "./linear.ts";

/** Files that can be written: GGUF mixtures by their usual names, and "int4", a folder of GPTQ safetensors. */
export const TARGETS = [
  "F16",
  "BF16",
  "Q8_0",
  "Q6_K",
  "Q5_K",
  "Q5_K_M",
  "Q5_K_S",
  "Q4_K",
  "Q4_K_M",
  "Q4_K_S",
  "Q4_1",
  "Q4_0",
  "TQ1_0",
  "TQ2_0",
  "int4",
] as const;
export type Target = (typeof TARGETS)[number];

/** Types that --keep may name. */
export const KEPT_TYPES: readonly BlockType[] = [
  "F32",
  "F16",
  "BF16",
  "Q8_0",
  "Q6_K",
  "Q5_K",
  "Q4_K",
  "Q4_1",
  "Q4_0",
  "TQ1_0",
  "TQ2_0",
];

/** general.file_type of each mixture. */
export const FILE_TYPE_IDS: Readonly<Record<Exclude<Target, "int4">, number>> = {
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q8_0: 7,
  Q4_K_S: 14,
  Q4_K: 15,
  Q4_K_M: 15,
  Q5_K_S: 16,
  Q5_K: 17,
  Q5_K_M: 17,
  Q6_K: 18,
  BF16: 32,
  TQ1_0: 36,
  TQ2_0: 37,
};

/** True for types that errors can be fed back on; so have mixtures, of which some tensors are of others. */
export const hasGrid = (type: string): boolean => !["F32", "F16", "BF16", "Q8_0"].includes(type.toUpperCase());

/** What a tensor is to a recipe. */
export interface Role {
  readonly kind: "embedding" | "head" | Linear | "qkv" | "gateUp" | "other";
  readonly layer: number;
  /** Of a layer's linears, fused or not: which one. */
  readonly part?: Linear;
}

/** Layers whose values and down projections get two bits more: the first and last eighth, and every third between. */
const moreBits = (layer: number, layers: number): boolean => {
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
};

/** The type of a matrix under a recipe, before its columns are looked at. `weighted`: an importance matrix or calibration is there. */
export function recipeType(target: Exclude<Target, "int4">, role: Role, layers: number, weighted: boolean): BlockType {
  const base = target.replace(/_[MS]$/, "") as BlockType;
  const { kind, layer } = role;
  if (base === "F16" || base === "BF16" || base === "Q8_0") return base;
  if (kind === "head") return "Q6_K";
  if (kind === "embedding" && (base === "TQ1_0" || base === "TQ2_0")) return "Q4_K";
  const small = target === "Q4_K_S";
  const medium = !small && target !== "Q5_K_S" && (base === "Q4_K" || base === "Q5_K");
  if (kind === "qkv" && medium) return base === "Q4_K" ? "Q5_K" : "Q6_K";
  if (kind === "v" || kind === "down") {
    if (medium && moreBits(layer, layers)) return "Q6_K";
    if (small && (kind === "v" ? layer < 4 : layer < Math.floor(layers / 8))) return "Q5_K";
  }
  if (kind === "down" && base === "Q4_0" && weighted && layer < Math.floor(layers / 8)) return "Q4_1";
  return base;
}

/** The type that rows of `cols` can have: Q8_0 where they are no whole blocks, F16 where they are not even multiples of 32. */
export function fittingType(type: BlockType, cols: number): BlockType {
  if (cols % TENSOR_TYPES[type].block === 0) return type;
  return cols % 32 === 0 ? "Q8_0" : "F16";
}

/** PATTERN=TYPE: a name with * for any characters, with or without ".weight"; the first that fits decides. */
export class Keeps {
  readonly #rules: readonly { readonly pattern: RegExp; readonly type: BlockType; readonly text: string }[];
  readonly #used = new Set<string>();
  /** Rules that fit a tensor which an earlier one had taken, and that one. */
  readonly #hidden = new Map<string, string>();

  /** @throws CpmError "bad-option" */
  constructor(rules: readonly (readonly [pattern: string, type: string])[]) {
    this.#rules = rules.map(([pattern, type]) => {
      const known = KEPT_TYPES.find((name) => name.toLowerCase() === type.toLowerCase());
      if (!known || pattern === "")
        throw new CpmError(
          "bad-option",
          `keep: expected PATTERN=TYPE with a type of ${KEPT_TYPES.join(", ")}, found "${pattern}=${type}"${didYouMean(type, KEPT_TYPES)}`,
          { field: "keep", found: `${pattern}=${type}` },
        );
      const body = pattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
      return { pattern: new RegExp(`^${body}(\\.weight)?$`), type: known, text: `${pattern}=${type}` };
    });
  }

  typeOf(name: string): BlockType | undefined {
    const fitting = this.#rules.filter(({ pattern }) => pattern.test(name));
    const [rule, ...later] = fitting;
    if (rule) this.#used.add(rule.text);
    for (const { text } of later) if (!this.#hidden.has(text)) this.#hidden.set(text, rule!.text);
    return rule?.type;
  }

  /** @throws CpmError "bad-option" for a pattern that no tensor has. */
  checkUsed(): void {
    const unused = this.#rules.find(({ text }) => !this.#used.has(text));
    const before = unused && this.#hidden.get(unused.text);
    if (before)
      throw new CpmError(
        "bad-option",
        `keep: "${unused.text}" comes too late: "${before}" stands before it and takes its tensors; the first that fits decides`,
        { field: "keep", found: unused.text },
      );
    if (unused)
      throw new CpmError("bad-option", `keep: no tensor is called as in "${unused.text}"; cpm inspect lists the names`, {
        field: "keep",
        found: unused.text,
      });
  }
}
