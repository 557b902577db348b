// The number type of training and its vectors. Builds for use have float; a build for tests has double, so that every gradient can be
// held against central differences. Training may round otherwise than inference: multiply-adds are fused where the build has them.
#pragma once
#include "../kernels/scalar.h"
#include "../simd.h"

#ifndef CPM_REAL
#define CPM_REAL float
#endif
typedef CPM_REAL Real;

constexpr bool kDouble = sizeof(Real) == 8;
constexpr int kWide = 16 / sizeof(Real);  // numbers of a vector

static inline v128_t vload(const Real* p) { return wasm_v128_load(p); }
static inline void vstore(Real* p, v128_t a) { wasm_v128_store(p, a); }
static inline v128_t vadd(v128_t a, v128_t b) { return kDouble ? wasm_f64x2_add(a, b) : wasm_f32x4_add(a, b); }
static inline v128_t vsub(v128_t a, v128_t b) { return kDouble ? wasm_f64x2_sub(a, b) : wasm_f32x4_sub(a, b); }
static inline v128_t vmul(v128_t a, v128_t b) { return kDouble ? wasm_f64x2_mul(a, b) : wasm_f32x4_mul(a, b); }
static inline v128_t vdiv(v128_t a, v128_t b) { return kDouble ? wasm_f64x2_div(a, b) : wasm_f32x4_div(a, b); }
static inline v128_t vmax(v128_t a, v128_t b) { return kDouble ? wasm_f64x2_pmax(a, b) : wasm_f32x4_pmax(a, b); }
static inline v128_t vsplat(Real x) { return kDouble ? wasm_f64x2_splat((double)x) : wasm_f32x4_splat((float)x); }
static inline v128_t vload_splat(const Real* p) { return kDouble ? wasm_v128_load64_splat(p) : wasm_v128_load32_splat(p); }

// a * b + c.
static inline v128_t vmadd(v128_t a, v128_t b, v128_t c) {
#ifdef __wasm_relaxed_simd__
  return kDouble ? wasm_f64x2_relaxed_madd(a, b, c) : wasm_f32x4_relaxed_madd(a, b, c);
#else
  return vadd(vmul(a, b), c);
#endif
}

// e^x for |x| <= 690, 0 below: reduction by ln 2, the series to x^13, the exponent put in by its bits.
static inline double exp_clamped(double x) {
  if (!(x > -690)) return x != x ? x : 0;
  if (x > 690) x = 690;
  const double n = __builtin_rint(x * 1.4426950408889634);
  double r = x - n * 0.6931471803691238;
  r -= n * 1.9082149292705877e-10;
  double sum = 1.0 / 6227020800.0;
  constexpr double series[] = {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
                               1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
  for (double c : series) sum = sum * r + c;
  return sum * __builtin_bit_cast(double, ((int64_t)n + 1023) << 52);
}
static inline v128_t vexp(v128_t x, const Exp& e) {
  if (kDouble) return wasm_f64x2_make(exp_clamped(wasm_f64x2_extract_lane(x, 0)), exp_clamped(wasm_f64x2_extract_lane(x, 1)));
  // exp_f32 of simd.h with multiply-adds that may be fused.
  x = wasm_f32x4_pmin(x, wasm_f32x4_const_splat(88.0f));
  const v128_t whole = vmadd(x, e.log2e, e.round), n = vsub(whole, e.round), r = vmadd(n, e.low, vmadd(n, e.high, x));
  v128_t p = vmadd(vmadd(vmadd(vmadd(e.c6, r, e.c5), r, e.c4), r, e.c3), r, e.c2);
  p = vmadd(p, vmul(r, r), vadd(r, e.one));
  return wasm_v128_and(vmul(p, wasm_i32x4_add(wasm_i32x4_shl(whole, 23), e.one)), wasm_f32x4_gt(x, e.least));
}

// Of what is no positive number, nan: log_f64 would search for its exponent for ever. A run that has exploded is told so by its loss.
static inline double log_positive(double x) { return x > 0 && x < __builtin_inf() ? log_f64(x) : __builtin_nan(""); }

static inline int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }
