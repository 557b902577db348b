// The block that TypeScript fills and reads: f64 words in this order, then up to MAX_TOP tokens as i32.
// src/wasm/decide.ts lists the same order; param_words() lets a test compare them.
export const TEMPERATURE: i32 = 0;
export const TOP_K: i32 = 1;
export const TOP_P: i32 = 2;
export const MIN_P: i32 = 3;
export const REPETITION: i32 = 4;
export const FREQUENCY: i32 = 5;
export const PRESENCE: i32 = 6;
export const SEED: i32 = 7;
export const POSITION: i32 = 8;
export const TOP: i32 = 9;
// Results.
export const MAX: i32 = 10;
export const LOG_SUM: i32 = 11;
export const KEPT: i32 = 12;
export const WORDS: i32 = 13;

export const MAX_TOP: i32 = 64;

export const OK: i32 = 0;
export const NO_TOKEN: i32 = -1; // every logit is -inf or NaN
export const BAD_TOKEN: i32 = -2; // a token id outside the vocabulary

export function param(params: usize, word: i32): f64 {
  return load<f64>(params + ((<usize>word) << 3));
}

export function result(params: usize, word: i32, value: f64): void {
  store<f64>(params + ((<usize>word) << 3), value);
}
