// The best tokens without sorting a vocabulary: keys (count) u64, see keyOf; a smaller key is a better token.
import { exp4, load4 } from "./lanes";
import { keyOf, logitOf } from "./math";
import { exponents, weightOf } from "./weight";

function keyAt(keys: usize, i: i32): u64 {
  return load<u64>(keys + ((<usize>i) << 3));
}

function setKey(keys: usize, i: i32, key: u64): void {
  store<u64>(keys + ((<usize>i) << 3), key);
}

// Puts key at root of a heap whose children are never worse placed: every parent's key exceeds its children's.
function sift(keys: usize, root: i32, count: i32, key: u64): void {
  for (let child = 2 * root + 1; child < count; child = 2 * root + 1) {
    if (child + 1 < count && keyAt(keys, child + 1) > keyAt(keys, child)) child++;
    if (keyAt(keys, child) < key) break;
    setKey(keys, root, keyAt(keys, child));
    root = child;
  }
  setKey(keys, root, key);
}

// keys becomes a heap of the k best tokens with the worst of them at its root; 0 < k <= vocab.
// A later token with the root's logit loses the tie, so only larger logits need a look.
export function largest(logits: usize, vocab: i32, k: i32, keys: usize): void {
  for (let i = 0; i < k; i++) setKey(keys, i, keyOf(load<f32>(logits + ((<usize>i) << 2)), i));
  for (let i = (k >> 1) - 1; i >= 0; i--) sift(keys, i, k, keyAt(keys, i));
  let least = logitOf(keyAt(keys, 0));
  for (let i = k; i < vocab; ) {
    if (i + 8 <= vocab) {
      const p = logits + ((<usize>i) << 2);
      const bound = f32x4.splat(least);
      const more = v128.or(f32x4.gt(v128.load(p), bound), f32x4.gt(v128.load(p, 16), bound));
      if (!v128.any_true(more)) {
        i += 8;
        continue;
      }
    }
    for (let end = min(i + 8, vocab); i < end; i++) {
      const x = load<f32>(logits + ((<usize>i) << 2));
      if (x <= least) continue;
      sift(keys, 0, k, keyOf(x, i));
      least = logitOf(keyAt(keys, 0));
    }
  }
}

// A heap into best-first order.
export function sortKeys(keys: usize, count: i32): void {
  for (let end = count - 1; end > 0; end--) {
    const last = keyAt(keys, end);
    setKey(keys, end, keyAt(keys, 0));
    sift(keys, 0, end, last);
  }
}

export function sumOfKeys(keys: usize, count: i32): f64 {
  let sum: f64 = 0;
  for (let i = 0; i < count; i++) sum += weightOf(keyAt(keys, i));
  return sum;
}

// The key at which the weights, added best first, reach target: a weighted quickselect. Reorders keys.
// Every second pivot halves the range of key values, so no order of logits takes more than 128 rounds.
export function crossing(keys: usize, count: i32, target: f64): u64 {
  let begin = 0,
    end = count,
    low: u64 = 0,
    high: u64 = u64.MAX_VALUE;
  for (let round = 0; end - begin > 1; round++) {
    const pivot = round & 1 ? low + ((high - low) >> 1) : keyAt(keys, (begin + end) >> 1);
    let middle = begin;
    let sum: f64 = 0;
    for (let i = begin; i < end; i++) {
      const key = keyAt(keys, i);
      if (key > pivot) continue;
      sum += weightOf(key);
      setKey(keys, i, keyAt(keys, middle));
      setKey(keys, middle++, key);
    }
    // All together may fall short of target by rounding; then the crossing is the worst key.
    if (sum >= target || middle == end) {
      end = middle;
      high = pivot;
    } else {
      begin = middle;
      target -= sum;
      low = pivot + 1;
    }
  }
  return keyAt(keys, begin);
}

// Buckets of the exponent, from 0 down to where weights become 0: 32 a unit.
const STEPS: f32 = -32;
export const BUCKETS: i32 = 87 * 32 + 1;

function buckets(exponent: v128): v128 {
  return i32x4.min_s(i32x4.trunc_sat_f32x4_s(f32x4.mul(exponent, f32x4.splat(STEPS))), i32x4.splat(BUCKETS - 1));
}

function addTo(histogram: usize, bucket: i32, w: f32): void {
  const sum = histogram + ((<usize>bucket) << 3);
  store<f64>(sum, load<f64>(sum) + w);
}

// The key at which the weights of all tokens, added best first, reach p of their sum. A histogram of the weights finds
// the bucket of the crossing, and only its tokens are put in order. scratch: max(vocab, BUCKETS) words of 8 bytes.
export function nucleus(logits: usize, vocab: i32, p: f64, scratch: usize): u64 {
  memory.fill(scratch, 0, (<usize>BUCKETS) << 3);
  for (let i = 0; i < vocab; i += 4) {
    const e = exponents(load4(logits, i, vocab));
    const w = exp4(e),
      bucket = buckets(e);
    addTo(scratch, i32x4.extract_lane(bucket, 0), f32x4.extract_lane(w, 0));
    addTo(scratch, i32x4.extract_lane(bucket, 1), f32x4.extract_lane(w, 1));
    addTo(scratch, i32x4.extract_lane(bucket, 2), f32x4.extract_lane(w, 2));
    addTo(scratch, i32x4.extract_lane(bucket, 3), f32x4.extract_lane(w, 3));
  }
  let sum: f64 = 0;
  for (let b = 0; b < BUCKETS; b++) sum += load<f64>(scratch + ((<usize>b) << 3));
  let target = p * sum;
  let bucket = 0;
  for (let b = 0; b < BUCKETS; b++) {
    const part = load<f64>(scratch + ((<usize>b) << 3));
    if (part == 0) continue;
    bucket = b;
    if (part >= target) break;
    target -= part;
  }
  return crossing(scratch, gather(logits, vocab, bucket, scratch), target);
}

// Keys of the tokens in a bucket; their number.
function gather(logits: usize, vocab: i32, bucket: i32, keys: usize): i32 {
  const wanted = i32x4.splat(bucket);
  let count = 0;
  for (let i = 0; i < vocab; i += 4) {
    const found = i32x4.eq(buckets(exponents(load4(logits, i, vocab))), wanted);
    for (let lanes = i32x4.bitmask(found); lanes; lanes &= lanes - 1) {
      const token = i + ctz(lanes);
      if (token >= vocab) break;
      setKey(keys, count++, keyOf(load<f32>(logits + ((<usize>token) << 2)), token));
    }
  }
  return count;
}
