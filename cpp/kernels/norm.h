// Row-wise operations between the matrix products.
#pragma once
#include "../simd.h"

// y[k] = x[k] * rsqrt(mean(x^2) + eps) * w[k] * scale. The mean is summed in four lanes, in float64 at the end.
void rms_norm(const float* x, const float* w, float* y, int cols, float eps, float scale);
void rms_norm_ref(const float* x, const float* w, float* y, int cols, float eps, float scale);

// gate[k] = silu(gate[k]) * up[k], silu(g) = g / (1 + e^-g). cols % 4 == 0.
void silu_multiply(float* gate, const float* up, int cols);
void silu_multiply_ref(float* gate, const float* up, int cols);

// cos and sin of position * frequency[i], times scale: table (dim / 2 cosines, then dim / 2 sines).
void rope_angles(const double* frequency, int position, float scale, float* table, int dim);

// Rotate-half RoPE of one head in place, times `scale`: x[i], x[i + dim/2] turn together. dim % 2 == 0.
void rope_rotate(float* x, const float* table, int dim, float scale);

// The first `turned` dimensions so, the others (all of them without a table) only times `scale`.
static inline void rope_turn(float* x, const float* table, int turned, int dim, float scale) {
  if (table) rope_rotate(x, table, turned, scale);
  for (int i = table ? turned : 0; i < dim; i++) x[i] *= scale;
}
