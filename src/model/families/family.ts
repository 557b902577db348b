// What a family of models is: how it is named, and how its files say what tells it apart.
import { CpmError } from "../../errors.ts";
import { shown } from "../../shown.ts";
import type { LayerKind, Linear, Traits } from "../config.ts";
import { type Fields, LIMITS } from "../fields.ts";
import { plainRope, type Rope } from "../rope.ts";

/** Sizes that every family's files give alike. */
export interface Sizes {
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly contextLength: number;
}

/** What a family's own fields say; what is absent is as in Llama. */
export interface Said {
  readonly traits?: Traits;
  /** In place of the rotation that was read. */
  readonly rope?: Rope;
  readonly embeddingScale?: number;
  readonly residualScale?: number;
  readonly logitScale?: number;
}

/** A rotation of `dim` dimensions as a folder's configuration describes it; `kind`: the part of it for one kind of layers. */
export type FolderRope = (dim: number, kind?: "full_attention" | "sliding_attention") => Rope;

export interface Family {
  /** Values of model_type in config.json; their classes end in "ForCausalLM". */
  readonly types: readonly string[];
  /** Values of general.architecture in GGUF. */
  readonly architectures: readonly string[];
  readonly norms?: "post" | "both";
  readonly qkNorm?: "head" | "whole";
  /** q, k and v in one tensor, gate and up in another. */
  readonly fused?: true;
  /** A folder's norms hold w - 1. */
  readonly lessOne?: true;
  /** GGUF stores rows of q and k interleaved. */
  readonly interleaved?: true;
  /** What config.json leaves out where it is as the family's configuration class has it. */
  readonly defaults?: Readonly<Record<string, unknown>>;
  /** Reads config.json; `rope` reads the rotation. */
  folder(f: Fields, sizes: Sizes, rope: FolderRope): Said;
  /** Reads the family's keys of a GGUF, whose names begin with the architecture; `rope` is what it says of the rotation. */
  gguf(f: Fields, sizes: Sizes, rope: Rope): Said;
}

/** layer_types, or what the family has by layer without it. True: a window. */
export function layerTypes(f: Fields, layers: number, otherwise: (layer: number) => boolean): boolean[] {
  const value = f.raw("layer_types");
  if (value === undefined) return Array.from({ length: layers }, (_, i) => otherwise(i));
  if (!Array.isArray(value) || value.length !== layers) f.fail("layer_types", `a list of ${layers} kinds`, value);
  return (value as unknown[]).map((kind) => {
    if (kind === "sliding_attention" || kind === "full_attention") return kind === "sliding_attention";
    throw new CpmError(
      "unsupported",
      `${f.file}: layer_types: layers of ${shown(kind)} are not supported; sliding_attention and full_attention are`,
      { file: f.file, field: "layer_types", found: shown(kind) },
    );
  });
}

/** A window's size; undefined for none (absent, null or 0). */
export const windowOf = (f: Fields, key: string): number | undefined =>
  f.raw(key) === undefined || f.raw(key) === 0 ? undefined : f.count(key, 1, LIMITS.context);

/** Traits of layers with windows; none of them: none at all. `kind`: by layer, with or without window. */
export function windowed(
  window: number | undefined,
  windows: readonly boolean[],
  kind: (window: boolean) => LayerKind["rope"] = () => 0,
): Traits {
  if (window === undefined || !windows.includes(true)) return {};
  return { window, layerKinds: windows.map((w) => ({ window: w, rope: kind(w) })) };
}

/** Windows that a GGUF says of: attention.sliding_window, by layer where it has a pattern of flags. */
export function ggufWindows(f: Fields, { layers }: Sizes, otherwise: (layer: number) => boolean = () => true) {
  const window = windowOf(f, "attention.sliding_window");
  const key = "attention.sliding_window_pattern";
  const value = f.raw(key);
  if (value === undefined || window === undefined)
    return { window, windows: Array.from({ length: layers }, (_, i) => otherwise(i)) };
  const list = Array.isArray(value) || ArrayBuffer.isView(value) ? Array.from(value as ArrayLike<unknown>) : undefined;
  if (list?.length !== layers) f.fail(key, `${layers} flags`, value);
  return { window, windows: list!.map((flag) => flag === true || flag === 1) };
}

/** Biases by the two keys that most families have: attention_bias of q, k, v and o, mlp_bias of gate, up and down. */
export function biases(f: Fields, mlp = true): Pick<Traits, "biases"> {
  const attention: Linear[] = f.flag("attention_bias", false) ? ["q", "k", "v", "o"] : [];
  const inner: Linear[] = mlp && f.flag("mlp_bias", false) ? ["gate", "up", "down"] : [];
  return attention.length + inner.length > 0 ? { biases: [...attention, ...inner] } : {};
}

/** A rotation for layers of their own kind. */
export const local = ({ ropeTheta, ropeShort, ropeScale }: Rope): NonNullable<Traits["ropeLocal"]> => ({
  theta: ropeTheta,
  factors: ropeShort,
  scale: ropeScale,
});

export { plainRope };
