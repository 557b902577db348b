// Numbers as the quantiser's definition has them: float64, rounding as floor(x + 0.5), scales rounded to half.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "../simd.h"

static inline double rounded(double x) { return __builtin_floor(x + 0.5); }
static inline double clamped(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

// Nearest half of a float64, ties to even, in one rounding.
static inline uint16_t double_to_half(double x) {
  uint64_t u;
  __builtin_memcpy(&u, &x, 8);
  uint16_t sign = (uint16_t)(u >> 48 & 0x8000);
  double a = __builtin_fabs(x);
  if (!(a < 65520.0)) return (uint16_t)(sign | (a != a ? 0x7e00 : 0x7c00));
  // Adding 1.5 * 2^52 steps leaves the nearest whole number of steps of 2^-24, or of the exponent's own.
  int exponent = (int)(u >> 52 & 0x7ff) - 1023;
  if (exponent < -14) exponent = -14;
  double step = __builtin_bit_cast(double, (uint64_t)(exponent - 10 + 1023) << 52);
  double steps = __builtin_rint(a / step);
  // 1024 steps and more are normal; a carry into the next exponent is what the addition gives.
  return (uint16_t)(sign | ((uint32_t)steps + ((uint32_t)(exponent + 14) << 10)));
}
static inline double half_value(uint16_t h) { return half_to_float(h); }
static inline double to_half(double x) { return half_value(double_to_half(x)); }

// Sum of f(0) ... f(n - 1), n a multiple of 8, in numpy's order: eight sums side by side, halves above 128.
template <typename F>
static inline double sum_of(int n, F f, int from = 0) {
  if (n > 128) {
    int half = n / 2 - n / 2 % 8;
    return sum_of(half, f, from) + sum_of(n - half, f, from + half);
  }
  double r[8];
  for (int c = 0; c < 8; c++) r[c] = f(from + c);
  for (int i = 8; i < n; i += 8)
    for (int c = 0; c < 8; c++) r[c] += f(from + i + c);
  return ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
}

// A row of weights as the definition sees it: float32 as it lay in the file, times the smoothing factor of its column, if any.
struct RowsOf {
  const float* w;
  const double* factor;
  int rows, cols;
  double at(int row, int col) const { return factor ? w[(size_t)row * cols + col] * factor[col] : w[(size_t)row * cols + col]; }
  void read(int row, int from, int count, double* out) const {
    const float* p = w + (size_t)row * cols + from;
    for (int i = 0; i < count; i++) out[i] = factor ? p[i] * factor[from + i] : p[i];
  }
};
