#include "norm.h"
#include "scalar.h"

void rms_norm(const float* x, const float* w, float* y, int cols, float eps, float scale) {
  // Pairs of float64 lanes: a row of 4096 large values keeps its full precision for little cost.
  v128_t even = wasm_f64x2_const_splat(0), odd = wasm_f64x2_const_splat(0);
  int k = 0;
  for (; k + 4 <= cols; k += 4) {
    v128_t v = wasm_v128_load(x + k);
    v128_t a = wasm_f64x2_promote_low_f32x4(v), b = wasm_f64x2_promote_low_f32x4(wasm_i32x4_shuffle(v, v, 2, 3, 0, 1));
    even = wasm_f64x2_add(even, wasm_f64x2_mul(a, a)), odd = wasm_f64x2_add(odd, wasm_f64x2_mul(b, b));
  }
  v128_t both = wasm_f64x2_add(even, odd);
  double sum = wasm_f64x2_extract_lane(both, 0) + wasm_f64x2_extract_lane(both, 1);
  for (int i = k; i < cols; i++) sum += (double)x[i] * x[i];
  float factor = (float)(scale / __builtin_sqrt(sum / cols + eps));
  v128_t f = wasm_f32x4_splat(factor);
  for (k = 0; k + 4 <= cols; k += 4)
    wasm_v128_store(y + k, wasm_f32x4_mul(wasm_f32x4_mul(wasm_v128_load(x + k), f), wasm_v128_load(w + k)));
  for (; k < cols; k++) y[k] = x[k] * factor * w[k];
}

void rms_norm_ref(const float* x, const float* w, float* y, int cols, float eps, float scale) {
  double sum = 0;
  for (int k = 0; k < cols; k++) sum += (double)x[k] * x[k];
  for (int k = 0; k < cols; k++) y[k] = (float)(x[k] * (scale / __builtin_sqrt(sum / cols + eps)) * w[k]);
}

void silu_multiply(float* gate, const float* up, int cols) {
  const Exp held = held_exp();
  const v128_t least = held.least, most = wasm_f32x4_neg(least);
  for (int k = 0; k < cols; k += 4) {
    v128_t g = wasm_v128_load(gate + k);
    // Below -87, where e^-g leaves the range of floats, silu is 0 to 1e-35.
    v128_t e = exp_f32(wasm_f32x4_pmin(most, wasm_f32x4_neg(g)), held);
    v128_t y = wasm_v128_andnot(wasm_f32x4_div(g, wasm_f32x4_add(held.one, e)), wasm_f32x4_lt(g, least));
    wasm_v128_store(gate + k, wasm_f32x4_mul(y, wasm_v128_load(up + k)));
  }
}

void silu_multiply_ref(float* gate, const float* up, int cols) {
  for (int k = 0; k < cols; k++) {
    double g = gate[k];
    gate[k] = (float)(g / (1 + (g < -600 ? 1e300 : g > 600 ? 0 : exp_f64(-g))) * up[k]);
  }
}

void rope_angles(const double* frequency, int position, float scale, float* table, int dim) {
  for (int i = 0; i < dim / 2; i++) {
    double sine, cosine;
    sincos_f64(position * frequency[i], &sine, &cosine);
    table[i] = (float)(cosine * scale), table[dim / 2 + i] = (float)(sine * scale);
  }
}

void rope_rotate(float* x, const float* table, int dim, float scale) {
  int half = dim / 2;
  for (int i = 0; i < half; i++) {
    float a = x[i], b = x[half + i], c = table[i], s = table[half + i];
    x[i] = (a * c - b * s) * scale, x[half + i] = (b * c + a * s) * scale;
  }
}
