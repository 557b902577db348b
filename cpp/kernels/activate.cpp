#include "activate.h"
#include "scalar.h"

constexpr float kSlope = 1.5957691216057308f, kCubic = 0.07135481627159905f;  // 2 sqrt(2 / pi), and 0.044715 times that

void gelu_multiply(float* gate, const float* up, int cols) {
  const Exp held = held_exp();
  const v128_t least = held.least, most = wasm_f32x4_neg(least), slope = wasm_f32x4_splat(kSlope),
               cubic = wasm_f32x4_splat(kCubic);
  for (int k = 0; k < cols; k += 4) {
    v128_t g = wasm_v128_load(gate + k), w = wasm_f32x4_mul(g, madd_f32(wasm_f32x4_mul(g, g), cubic, slope));
    // Below -87, where e^-w leaves the range of floats, gelu is 0 to 1e-36.
    v128_t e = exp_f32(wasm_f32x4_pmin(most, wasm_f32x4_neg(w)), held);
    v128_t y = wasm_v128_andnot(wasm_f32x4_div(g, wasm_f32x4_add(held.one, e)), wasm_f32x4_lt(w, least));
    wasm_v128_store(gate + k, wasm_f32x4_mul(y, wasm_v128_load(up + k)));
  }
}

void gelu_multiply_ref(float* gate, const float* up, int cols) {
  for (int k = 0; k < cols; k++) {
    double g = gate[k], w = 2 * 0.7978845608028654 * (g + 0.044715 * g * g * g);
    gate[k] = (float)(g / (1 + (w < -600 ? 1e300 : w > 600 ? 0 : exp_f64(-w))) * up[k]);
  }
}

// tanh: x + x^3 P(x^2) below 0.625, else 1 - 2 / (e^2|x| + 1) with the sign of x. A nan stays one.
static inline v128_t tanh_f32(v128_t x, const Exp& e) {
  auto all = [](float f) { return wasm_f32x4_splat(f); };
  v128_t a = wasm_f32x4_abs(x), z = wasm_f32x4_mul(x, x);
  v128_t p = madd_f32(madd_f32(madd_f32(madd_f32(all(-5.70498872745e-3f), z, all(2.06390887954e-2f)), z, all(-5.37397155531e-2f)),
                               z, all(1.33314422036e-1f)),
                      z, all(-3.33332819422e-1f));
  v128_t low = madd_f32(wasm_f32x4_mul(x, z), p, x);
  v128_t power = exp_f32(wasm_f32x4_pmin(all(40), wasm_f32x4_add(a, a)), e);
  v128_t high = wasm_f32x4_sub(e.one, wasm_f32x4_div(all(2), wasm_f32x4_add(power, e.one)));
  high = wasm_v128_or(high, wasm_v128_and(x, wasm_i32x4_const_splat((int)0x80000000)));
  return wasm_v128_bitselect(high, low, wasm_f32x4_ge(a, all(0.625f)));
}

void soft_cap(float* x, int count, float cap) {
  const Exp held = held_exp();
  const v128_t c = wasm_f32x4_splat(cap), by = wasm_f32x4_splat(1.0f / cap);
  int k = 0;
  for (; k + 4 <= count; k += 4)
    wasm_v128_store(x + k, wasm_f32x4_mul(tanh_f32(wasm_f32x4_mul(wasm_v128_load(x + k), by), held), c));
  if (k == count) return;
  float rest[4] = {};
  for (int i = k; i < count; i++) rest[i - k] = x[i];
  wasm_v128_store(rest, wasm_f32x4_mul(tanh_f32(wasm_f32x4_mul(wasm_v128_load(rest), by), held), c));
  for (int i = k; i < count; i++) x[i] = rest[i - k];
}

void soft_cap_ref(float* x, int count, float cap) {
  for (int k = 0; k < count; k++) {
    double y = (double)x[k] / cap, e = __builtin_fabs(y) > 300 ? 0 : exp_f64(-2 * __builtin_fabs(y));
    // Below 0.01 the quotient loses digits that the series has.
    double t = __builtin_fabs(y) < 0.01 ? __builtin_fabs(y) * (1 - y * y / 3 + y * y * y * y * 2 / 15) : (1 - e) / (1 + e);
    x[k] = (float)(cap * (y < 0 ? -t : t));
  }
}
