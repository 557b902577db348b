// exp from exact operations only, so that every engine gives the same bits; log is the deciding module's.
export { log } from "../math";

// e^x within an ulp or two; 0 below -745, Infinity above 709.78.
export function exp(x: f64): f64 {
  if (x != x) return x;
  if (x > 709.782712893384) return Infinity;
  if (x < -745.1332191019411) return 0;
  const n = nearest(x * 1.4426950408889634);
  const r = x - n * 6.9314718036912381649e-1 - n * 1.90821492927058770002e-10;
  // Taylor's series, |r| <= 0.35: the 14th term is below 1e-18.
  let y: f64 = 1;
  for (let k = 14; k > 0; k--) y = 1 + (y * r) / <f64>k;
  const half = <i64>n >> 1;
  return y * power(half) * power(<i64>n - half);
}

function power(n: i64): f64 {
  return reinterpret<f64>((n + 1023) << 52);
}

// What fastText calls std_log: the logarithm of a float probability, kept away from zero.
export function logOf(p: f32): f32 {
  return <f32>log(<f64>p + 1e-5);
}

import { log } from "../math";
