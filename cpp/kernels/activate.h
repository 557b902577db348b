// What some families put after a product: GELU in place of SiLU, and soft caps.
#pragma once
#include "../simd.h"

// gate[k] = gelu(gate[k]) * up[k] with the tanh form, gelu(g) = g / (1 + e^-2u), u = sqrt(2 / pi) (g + 0.044715 g^3). cols % 4 == 0.
void gelu_multiply(float* gate, const float* up, int cols);
void gelu_multiply_ref(float* gate, const float* up, int cols);

// x[k] = cap * tanh(x[k] / cap).
void soft_cap(float* x, int count, float cap);
void soft_cap_ref(float* x, int count, float cap);
