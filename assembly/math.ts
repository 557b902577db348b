// Logarithm, uniform numbers and the order of tokens, from exact operations only, so every engine gives the same bits.

// ln of a normal x > 0. x = 2^e f, f in [0.7, 1.41]; ln f = 2 atanh(s), s = (f - 1) / (f + 1), |s| < 0.1716.
export function log(x: f64): f64 {
  const bits = reinterpret<u64>(x);
  let e = <i32>(bits >> 52) - 1023;
  let f = reinterpret<f64>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (f > 1.4142135623730951) {
    f *= 0.5;
    e += 1;
  }
  const s = (f - 1) / (f + 1);
  let sum: f64 = 0;
  for (let k = 23; k > 0; k -= 2) sum = sum * s * s + 1 / <f64>k;
  return <f64>e * 0.6931471805599453 + 2 * s * sum;
}

// A bijection of u64 that flips about half of the bits for any change (the finaliser of SplitMix64, Steele et al. 2014).
function mix(x: u64): u64 {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Uniform in [0, 1) with 53 bits; depends on (seed, position) alone, so draws may come in any order or again.
export function uniform(seed: u64, position: u64): f64 {
  const start = mix(seed + 0x9e3779b97f4a7c15);
  return <f64>(mix(start + (position + 1) * 0x9e3779b97f4a7c15) >> 11) * (1.0 / 9007199254740992.0);
}

// Total order of tokens as u64, best first: larger logit, then lower index. Logits are clean: no NaN, no -0.
export function keyOf(logit: f32, token: i32): u64 {
  const bits = reinterpret<u32>(logit);
  const rising = bits ^ (<u32>(<i32>bits >> 31) | 0x80000000);
  return ((<u64>~rising) << 32) | <u64>(<u32>token);
}

export function logitOf(key: u64): f32 {
  const rising = ~(<u32>(key >> 32));
  return reinterpret<f32>(rising & 0x80000000 ? rising ^ 0x80000000 : ~rising);
}
