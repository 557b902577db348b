// What is done to and learnt from a row of logits (vocab) before a token is drawn.
import { add4, exp4, load4, total } from "./lanes";
import { log } from "./math";
import {
  BAD_TOKEN,
  FREQUENCY,
  LOG_SUM,
  MAX,
  MAX_TOP,
  NO_TOKEN,
  OK,
  PRESENCE,
  param,
  REPETITION,
  result,
  TOP,
  WORDS,
} from "./params";
import { largest, sortKeys } from "./select";

// NaN can never win, so it is -inf; +inf would make differences NaN, so it is the largest float; -0 is 0.
function cleaned(x: f32): f32 {
  return x == x ? min<f32>(x, f32.MAX_VALUE) + 0 : -Infinity;
}

// Cleans all logits in place; their maximum, -inf when no token is left.
export function clean(logits: usize, vocab: i32): f32 {
  const top = f32x4.splat(f32.MAX_VALUE),
    zero = f32x4.splat(0),
    none = f32x4.splat(-Infinity);
  let best = none;
  const whole = vocab & ~3;
  for (let p = logits, end = logits + ((<usize>whole) << 2); p < end; p += 16) {
    let x = v128.load(p);
    x = v128.bitselect(f32x4.add(f32x4.pmin(x, top), zero), none, f32x4.eq(x, x));
    v128.store(p, x);
    best = f32x4.pmax(best, x);
  }
  let most = max<f32>(
    max<f32>(f32x4.extract_lane(best, 0), f32x4.extract_lane(best, 1)),
    max<f32>(f32x4.extract_lane(best, 2), f32x4.extract_lane(best, 3)),
  );
  for (let i = whole; i < vocab; i++) {
    const p = logits + ((<usize>i) << 2);
    const x = cleaned(load<f32>(p));
    store<f32>(p, x);
    most = max<f32>(most, x);
  }
  return most;
}

// Statistics of the model's own distribution: call before anything changes the logits.
// log p(token) = logit - MAX - LOG_SUM; the TOP most likely tokens follow the words, best first.
export function logit_stats(logits: usize, vocab: i32, params: usize, scratch: usize): i32 {
  const most = clean(logits, vocab);
  if (most == -Infinity) return NO_TOKEN;
  let sum = f64x2.splat(0);
  const shift = f32x4.splat(most);
  for (let i = 0; i < vocab; i += 4) sum = add4(sum, exp4(f32x4.sub(load4(logits, i, vocab), shift)));
  result(params, MAX, most);
  result(params, LOG_SUM, log(total(sum)));
  const n = min(min(<i32>param(params, TOP), MAX_TOP), vocab);
  if (n < 1) return OK;
  largest(logits, vocab, n, scratch);
  sortKeys(scratch, n);
  const tokens = params + ((<usize>WORDS) << 3);
  for (let i = 0; i < n; i++) store<i32>(tokens + ((<usize>i) << 2), <i32>load<u64>(scratch + ((<usize>i) << 3)));
  return OK;
}

// Takes the tokens out whose bit of the mask (vocab bits, low bit first, in words of 32) is 0.
export function logit_mask(logits: usize, vocab: i32, mask: usize): void {
  const bits = i32x4(1, 2, 4, 8);
  const none = f32x4.splat(-Infinity);
  for (let begin = 0; begin < vocab; begin += 32, mask += 4) {
    const word = load<u32>(mask);
    const p = logits + ((<usize>begin) << 2);
    if (word == 0xffffffff) continue;
    if (begin + 32 <= vocab) {
      for (let i = 0; i < 8; i++) {
        const at = p + ((<usize>i) << 4);
        const off = i32x4.eq(v128.and(i32x4.splat(<i32>(word >> (i << 2))), bits), i32x4.splat(0));
        v128.store(at, v128.bitselect(none, v128.load(at), off));
      }
    } else {
      for (let i = 0; begin + i < vocab; i++) if (!((word >> i) & 1)) store<f32>(p + ((<usize>i) << 2), -Infinity);
    }
  }
}

// pairs (count, 2) f64: token, what is added to its logit.
export function logit_bias(logits: usize, vocab: i32, pairs: usize, count: i32): i32 {
  for (let i = 0; i < count; i++) {
    const pair = pairs + ((<usize>i) << 4);
    const token = <i32>load<f64>(pair);
    if (<u32>token >= <u32>vocab) return BAD_TOKEN;
    const p = logits + ((<usize>token) << 2);
    store<f32>(p, cleaned(<f32>(<f64>cleaned(load<f32>(p)) + load<f64>(pair, 8))));
  }
  return OK;
}

// For every distinct token of history (count) i32, c times in it: x > 0 ? x / repetition : x * repetition
// (Keskar et al. 2019), then - c * frequency - presence. The counts (vocab) i32 in scratch are set only where used.
export function logit_penalties(logits: usize, vocab: i32, history: usize, count: i32, params: usize, scratch: usize): i32 {
  const end = history + ((<usize>count) << 2);
  for (let h = history; h < end; h += 4) {
    const token = load<u32>(h);
    if (token >= <u32>vocab) return BAD_TOKEN;
    store<i32>(scratch + ((<usize>token) << 2), 0);
  }
  for (let h = history; h < end; h += 4) {
    const c = scratch + ((<usize>load<u32>(h)) << 2);
    store<i32>(c, load<i32>(c) + 1);
  }
  const repetition = param(params, REPETITION),
    frequency = param(params, FREQUENCY),
    presence = param(params, PRESENCE);
  for (let h = history; h < end; h += 4) {
    const at = (<usize>load<u32>(h)) << 2;
    const times = load<i32>(scratch + at);
    if (times == 0) continue;
    store<i32>(scratch + at, 0);
    const x = <f64>cleaned(load<f32>(logits + at));
    const y = x > 0 ? x / repetition : x * repetition;
    store<f32>(logits + at, cleaned(<f32>(y - <f64>times * frequency - presence)));
  }
  return OK;
}
