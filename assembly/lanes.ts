// Four floats at a time, from IEEE operations only, so every engine gives the same bits.

const LN2_HIGH: f32 = 0.693359375; // 9 bits: n * LN2_HIGH is exact for |n| < 2^15
const LN2_LOW: f32 = -2.12194440054690583e-4;

// exp of four values <= 0; 0 below -87 (where f32 would go subnormal). Relative error < 2e-7.
// x = n ln2 + r, |r| <= ln2 / 2; Taylor series to r^7, whose rest is below 6e-9.
export function exp4(x: v128): v128 {
  const live = f32x4.ge(x, f32x4.splat(-87));
  const c = f32x4.max(x, f32x4.splat(-87));
  const n = f32x4.nearest(f32x4.mul(c, f32x4.splat(1.4426950408889634)));
  const r = f32x4.sub(f32x4.sub(c, f32x4.mul(n, f32x4.splat(LN2_HIGH))), f32x4.mul(n, f32x4.splat(LN2_LOW)));
  let y = f32x4.add(f32x4.mul(r, f32x4.splat(1.0 / 5040.0)), f32x4.splat(1.0 / 720.0));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1.0 / 120.0));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1.0 / 24.0));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1.0 / 6.0));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(0.5));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23);
  return v128.and(f32x4.mul(y, power), live);
}

// Four logits from token i on; -inf beyond the end.
export function load4(logits: usize, i: i32, vocab: i32): v128 {
  const p = logits + ((<usize>i) << 2);
  if (i + 4 <= vocab) return v128.load(p);
  let x = f32x4.replace_lane(f32x4.splat(-Infinity), 0, load<f32>(p));
  if (i + 1 < vocab) x = f32x4.replace_lane(x, 1, load<f32>(p, 4));
  if (i + 2 < vocab) x = f32x4.replace_lane(x, 2, load<f32>(p, 8));
  return x;
}

// a (2 f64) plus four floats, pairwise.
export function add4(a: v128, x: v128): v128 {
  const high = v128.shuffle<i32>(x, x, 2, 3, 2, 3);
  return f64x2.add(f64x2.add(a, f64x2.promote_low_f32x4(x)), f64x2.promote_low_f32x4(high));
}

export function total(a: v128): f64 {
  return f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1);
}
