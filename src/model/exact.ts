// e^x and ln x out of additions, multiplications and divisions alone: engines' Math functions differ in their last bits, and what
// is computed from a model file must be the same on every runtime.

/** ln x for finite x > 0, to within a few units of the last place. */
export function ln(x: number): number {
  let e = 0;
  for (; x > Math.SQRT2; x /= 2) e++;
  for (; x < Math.SQRT1_2; x *= 2) e--;
  const s = (x - 1) / (x + 1);
  const z = s * s;
  let sum = 0;
  for (let n = 27; n > 0; n -= 2) sum = sum * z + 1 / n;
  return 2 * s * sum + e * Math.LN2;
}

/** e^x for |x| < 700, to within a few units of the last place. */
export function exp(x: number): number {
  const n = Math.round(x / Math.LN2);
  const r = x - n * 0.6931471803691238 - n * 1.9082149292705877e-10;
  let sum = 1;
  for (let i = 16; i > 0; i--) sum = 1 + (sum * r) / i;
  for (let i = 0; i < n; i++) sum *= 2;
  for (let i = 0; i > n; i--) sum /= 2;
  return sum;
}
