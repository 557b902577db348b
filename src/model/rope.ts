// Rotations other than the plain one, as divisors of its frequencies f_i = theta^(-2i/n) and a factor of cos and sin.
// Source: the published rope functions of each kind; YaRN (arXiv 2309.00071), LongRoPE (arXiv 2402.13753), Llama 3.1's scaling.
import { CpmError } from "../errors.ts";
import type { ModelConfig } from "./config.ts";
import { exp, ln } from "./exact.ts";
import { Fields, LIMITS } from "./fields.ts";
import { attentionFactor } from "./longrope.ts";

/** How heads turn: what ModelConfig says of it. */
export type Rope = Pick<ModelConfig, "ropeTheta" | "ropeShort" | "ropeLong" | "ropeOriginalContext" | "ropeScale">;

/** Divisors of `dim` / 2 frequencies by YaRN: 1 for those that turn often within `original` tokens, `factor` for those that hardly do. */
export function yarnFactors(
  dim: number,
  theta: number,
  { factor, original, fast = 32, slow = 1, truncate = true }: YarnOptions,
): Float32Array {
  const at = (turns: number) => (dim * ln(original / (turns * 2 * Math.PI))) / (2 * ln(theta));
  const low = Math.max(0, truncate ? Math.floor(at(fast)) : at(fast));
  const high = Math.min(dim - 1, truncate ? Math.ceil(at(slow)) : at(slow));
  const width = high === low ? 0.001 : high - low;
  return Float32Array.from({ length: dim / 2 }, (_, i) => {
    const t = Math.min(1, Math.max(0, (i - low) / width));
    return 1 / (1 - t + t / factor);
  });
}

export interface YarnOptions {
  readonly factor: number;
  readonly original: number;
  /** Turns within the original context from which on a frequency stays, and below which it is divided. */
  readonly fast?: number | undefined;
  readonly slow?: number | undefined;
  /** Whole numbers as bounds of the ramp between them. */
  readonly truncate?: boolean | undefined;
}

/** What YaRN multiplies cos and sin by, where a file does not say. */
export const yarnScale = (factor: number, weight = 1): number => (factor <= 1 ? 1 : 0.1 * weight * ln(factor) + 1);

/** Divisors by Llama 3.1's rule: long waves are divided, short ones stay, those between are blended. */
export function llama3Factors(
  dim: number,
  theta: number,
  { factor, low, high, original }: { factor: number; low: number; high: number; original: number },
): Float32Array {
  return Float32Array.from({ length: dim / 2 }, (_, i) => {
    const wave = 2 * Math.PI * exp((2 * i * ln(theta)) / dim);
    if (wave < original / high) return 1;
    if (wave > original / low) return factor;
    const s = (original / wave - low) / (high - low);
    return 1 / ((1 - s) / factor + s);
  });
}

/** The plain rotation. */
export const plainRope = (theta: number, contextLength: number): Rope => ({
  ropeTheta: theta,
  ropeShort: undefined,
  ropeLong: undefined,
  ropeOriginalContext: contextLength,
  ropeScale: 1,
});

/** One rotation for contexts of any length. */
const rope = (theta: number, factors: Float32Array, contextLength: number, scale = 1): Rope => ({
  ...plainRope(theta, contextLength),
  ropeShort: factors,
  ropeLong: factors,
  ropeScale: scale,
});

/**
 * A rotation as config.json describes it: `scaling` is rope_scaling or rope_parameters, `outer` the configuration around it.
 * `dim`: dimensions that turn. Throws "unsupported" for other kinds, "bad-model" for what is missing.
 */
export function ropeOf(
  scaling: Record<string, unknown> | undefined,
  theta: number,
  dim: number,
  contextLength: number,
  outer: Fields,
): Rope {
  if (!scaling) return plainRope(theta, contextLength);
  const s = new Fields(outer.file, (key) => (Object.hasOwn(scaling, key) ? scaling[key] : undefined), "rope_scaling.");
  const kind = s.text("rope_type") ?? s.text("type") ?? "default";
  const original = () =>
    s.count(
      "original_max_position_embeddings",
      1,
      LIMITS.context,
      outer.count("original_max_position_embeddings", 1, LIMITS.context, contextLength),
    );
  switch (kind) {
    case "default":
      return plainRope(theta, contextLength);
    case "linear":
      return rope(theta, new Float32Array(dim / 2).fill(s.number("factor")), contextLength);
    case "llama3": {
      const [low, high] = [s.number("low_freq_factor"), s.number("high_freq_factor")];
      if (high <= low) s.fail("high_freq_factor", `more than low_freq_factor (${low})`, high);
      return rope(
        theta,
        llama3Factors(dim, theta, { factor: s.number("factor"), low, high, original: original() }),
        contextLength,
      );
    }
    case "yarn": {
      const factor = s.number("factor", contextLength / original());
      const optional = (key: string) => (s.raw(key) === undefined ? undefined : s.number(key));
      const [weight, all] = [optional("mscale"), optional("mscale_all_dim")];
      const own = weight && all ? yarnScale(factor, weight) / yarnScale(factor, all) : yarnScale(factor);
      const options = { factor, original: original(), fast: optional("beta_fast"), slow: optional("beta_slow") };
      const factors = yarnFactors(dim, theta, { ...options, truncate: s.flag("truncate", true) });
      return rope(theta, factors, contextLength, optional("attention_factor") ?? own);
    }
    case "longrope":
    case "su":
      return {
        ropeTheta: theta,
        ropeShort: factorList(s, "short_factor", dim),
        ropeLong: factorList(s, "long_factor", dim),
        ropeOriginalContext: original(),
        ropeScale:
          s.raw("attention_factor") === undefined ? attentionFactor(contextLength, original()) : s.number("attention_factor"),
      };
    default:
      throw new CpmError(
        "unsupported",
        `${outer.file}: rope_scaling type "${kind}" is not supported; "default", "linear", "llama3", "yarn" and "longrope" are`,
        { file: outer.file, field: "rope_scaling", found: kind },
      );
  }
}

function factorList(s: Fields, key: string, dim: number): Float32Array {
  const value = s.raw(key);
  if (
    !Array.isArray(value) ||
    value.length !== dim / 2 ||
    !value.every((x) => typeof x === "number" && Number.isFinite(x) && x > 0)
  )
    s.fail(key, `${dim / 2} positive numbers`, value);
  return Float32Array.from(value);
}

/** Whether two sets of factors turn alike. */
export const sameFactors = (a: Float32Array | undefined, b: Float32Array | undefined): boolean =>
  a === b || (a?.length === b?.length && (a?.every((x, i) => x === b?.[i]) ?? false));
