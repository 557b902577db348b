// w = exp((logit - max) / temperature) of each token, 0 for the tokens that truncation drops.
import { exp4 } from "./lanes";
import { logitOf } from "./math";

// Set once per drawn token, the same value in all four lanes.
let shift: v128 = i32x4(0, 0, 0, 0); // the largest logit
let scale: v128 = i32x4(0, 0, 0, 0); // 1 / temperature
let bound: v128 = i32x4(0, 0, 0, 0); // logit of the last token kept
let last: v128 = i32x4(0, 0, 0, 0); // its index
let least: v128 = i32x4(0, 0, 0, 0); // min-p

// 1 / temperature stays finite and above 0, so that neither 0 nor -inf times it is NaN.
export function setWeights(most: f32, temperature: f64): void {
  shift = f32x4.splat(most);
  scale = f32x4.splat(<f32>min(max(1 / temperature, 1.2e-38), 3.4e38));
}

// Drops the tokens after `cut` in the order of keyOf, and those with w < minP.
export function setTruncation(cut: u64, minP: f32): void {
  bound = f32x4.splat(logitOf(cut));
  last = i32x4.splat(<i32>cut);
  least = f32x4.splat(minP);
}

// (logit - max) / temperature, <= 0.
export function exponents(x: v128): v128 {
  return f32x4.mul(f32x4.sub(x, shift), scale);
}

// Weights of tokens i to i + 3, whose logits are x.
export function weights(x: v128, i: i32): v128 {
  const index = i32x4.add(i32x4.splat(i), i32x4(0, 1, 2, 3));
  const tie = v128.and(f32x4.eq(x, bound), i32x4.le_s(index, last));
  const kept = v128.or(f32x4.gt(x, bound), tie);
  if (!v128.any_true(kept)) return i32x4.splat(0);
  const w = exp4(exponents(x));
  return v128.and(v128.and(w, kept), f32x4.ge(w, least));
}

// The weight of a key's token, truncated or not.
export function weightOf(key: u64): f64 {
  return f32x4.extract_lane(exp4(exponents(f32x4.splat(logitOf(key)))), 0);
}
