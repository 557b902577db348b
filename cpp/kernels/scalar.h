// Double-precision elementary functions of our own, so that RoPE angles are the same bits on every engine
// (JavaScript's Math.cos and Math.pow are not).
#pragma once

// ln x; -inf for 0, inf for inf, nan for what is below 0 or none.
static inline double log_f64(double x) {
  if (!(x > 0 && x < __builtin_inf())) return x == 0 ? -__builtin_inf() : x > 0 ? x : __builtin_nan("");
  int e = 0;
  while (x > 1.4142135623730951) x *= 0.5, e++;
  while (x < 0.7071067811865476) x *= 2.0, e--;
  double s = (x - 1) / (x + 1), z = s * s, sum = 0;
  for (int n = 25; n > 0; n -= 2) sum = sum * z + 1.0 / n;
  return 2 * s * sum + e * 0.6931471805599453;
}

// e^x for |x| < 700.
static inline double exp_f64(double x) {
  double n = __builtin_rint(x * 1.4426950408889634), r = x - n * 0.6931471803691238;
  r -= n * 1.9082149292705877e-10;
  double sum = 1;
  for (int i = 14; i > 0; i--) sum = 1 + sum * r / i;
  while (n > 0) sum *= 2, n--;
  while (n < 0) sum *= 0.5, n++;
  return sum;
}

// |x| up to 2^30: three-part reduction by pi/2, Taylor polynomials on [-pi/4, pi/4].
static inline void sincos_f64(double x, double* sine, double* cosine) {
  double n = __builtin_rint(x * 0.6366197723675814);
  double r = x - n * 1.5707963267341256;
  r -= n * 6.077100506303966e-11;
  r -= n * 2.0222662487959506e-21;
  double z = r * r, s = 1, c = 1;
  for (int i = 16; i > 0; i -= 2) s = 1 - s * z / (i * (i + 1)), c = 1 - c * z / (i * (i - 1));
  s *= r;
  switch ((long long)n & 3) {
    case 0: *sine = s, *cosine = c; break;
    case 1: *sine = c, *cosine = -s; break;
    case 2: *sine = -s, *cosine = -c; break;
    default: *sine = -c, *cosine = s;
  }
}
