// The deciding layer's exports. No allocation, no strings; the caller's memory holds everything.
import { uniform } from "./math";
import { WORDS } from "./params";

export { logit_bias, logit_mask, logit_penalties, logit_stats } from "./logits";
export { lookup_at, lookup_bytes, lookup_find, lookup_open, lookup_push, lookup_truncate } from "./lookup";
export { sample, sample_scratch_bytes } from "./sample";

export function decide_abi_version(): i32 {
  return 3;
}

export function param_words(): i32 {
  return WORDS;
}

// seed and position: integers below 2^53.
export function random_uniform(seed: f64, position: f64): f64 {
  return uniform(<u64>seed, <u64>position);
}
