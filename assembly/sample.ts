// Draws one token. Order of the steps (as in Hugging Face transformers and vLLM; llama.cpp puts temperature last):
//   logit bias, penalties (logits.ts), temperature, top-k, top-p, min-p, draw.
// With w = exp((logit - max) / temperature), tokens in order of falling logit, lower index first:
//   top-k keeps the first k; top-p of those the fewest whose w reach top-p of their sum; min-p of those the ones with
//   w >= min-p. The draw takes the first token, by index, at which the kept w add up to more than u times their sum.
import { add4, load4, total } from "./lanes";
import { clean } from "./logits";
import { keyOf, uniform } from "./math";
import { KEPT, MIN_P, NO_TOKEN, POSITION, param, result, SEED, TEMPERATURE, TOP_K, TOP_P } from "./params";
import { BUCKETS, crossing, largest, nucleus, sumOfKeys } from "./select";
import { setTruncation, setWeights, weights } from "./weight";

// Tokens whose weights are summed as one, so that a draw walks few of them. A multiple of 4.
const BLOCK: i32 = 512;

export function sample_scratch_bytes(vocab: i32): usize {
  return (<usize>max(vocab, BUCKETS) + <usize>((vocab + BLOCK - 1) / BLOCK)) << 3;
}

// The last token, in the order, that top-k and top-p keep.
function lastKept(logits: usize, vocab: i32, k: f64, p: f64, scratch: usize): u64 {
  const few = k > 0 && k < <f64>vocab;
  if (few) largest(logits, vocab, <i32>k, scratch);
  if (p < 1) return few ? crossing(scratch, <i32>k, p * sumOfKeys(scratch, <i32>k)) : nucleus(logits, vocab, p, scratch);
  return few ? load<u64>(scratch) : keyOf(-Infinity, i32.MAX_VALUE);
}

// Writes the sum of each block's weights to sums (blocks) f64; returns the sum of all and counts those above 0.
function sumBlocks(logits: usize, vocab: i32, sums: usize, params: usize): f64 {
  let all: f64 = 0;
  let count = i32x4.splat(0);
  for (let begin = 0; begin < vocab; begin += BLOCK, sums += 8) {
    let sum = f64x2.splat(0);
    for (let i = begin, end = min(begin + BLOCK, vocab); i < end; i += 4) {
      const w = weights(load4(logits, i, vocab), i);
      count = i32x4.sub(count, f32x4.gt(w, f32x4.splat(0)));
      sum = add4(sum, w);
    }
    store<f64>(sums, total(sum));
    all += total(sum);
  }
  const pairs = i32x4.add(count, v128.shuffle<i32>(count, count, 2, 3, 0, 1));
  result(params, KEPT, i32x4.extract_lane(pairs, 0) + i32x4.extract_lane(pairs, 1));
  return all;
}

// The first token at which the weights exceed target; the last one with any weight if rounding keeps them below.
function draw(logits: usize, vocab: i32, sums: usize, target: f64): i32 {
  let block = 0;
  for (let b = 0; b * BLOCK < vocab; b++) {
    const sum = load<f64>(sums + ((<usize>b) << 3));
    if (sum == 0) continue;
    block = b;
    if (target < sum) break;
    target -= sum;
  }
  let token = -1;
  for (let i = block * BLOCK, end = min(i + BLOCK, vocab); i < end; i += 4) {
    let w = weights(load4(logits, i, vocab), i);
    for (let lane = 0; lane < 4; lane++, w = v128.shuffle<i32>(w, w, 1, 2, 3, 0)) {
      const one = <f64>f32x4.extract_lane(w, 0);
      if (one == 0) continue;
      token = i + lane;
      if (target < one) return token;
      target -= one;
    }
  }
  return token;
}

function indexOf(logits: usize, x: f32): i32 {
  let p = logits;
  while (load<f32>(p) != x) p += 4;
  return <i32>((p - logits) >> 2);
}

// The drawn token, or NO_TOKEN. logits (vocab) are cleaned in place; scratch: sample_scratch_bytes(vocab), aligned to 8.
export function sample(logits: usize, vocab: i32, params: usize, scratch: usize): i32 {
  const most = clean(logits, vocab);
  if (most == -Infinity) return NO_TOKEN;
  const temperature = param(params, TEMPERATURE);
  if (temperature == 0) {
    result(params, KEPT, 1);
    return indexOf(logits, most);
  }
  setWeights(most, temperature);
  setTruncation(lastKept(logits, vocab, param(params, TOP_K), param(params, TOP_P), scratch), <f32>param(params, MIN_P));
  const sums = scratch + ((<usize>max(vocab, BUCKETS)) << 3);
  const sum = sumBlocks(logits, vocab, sums, params);
  const u = uniform(<u64>param(params, SEED), <u64>param(params, POSITION));
  return draw(logits, vocab, sums, u * sum);
}
