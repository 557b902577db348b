// Compressed keys of InfLLM v2: C[c] = mean(K[c * stride ... c * stride + kernel - 1]), full windows only.
// Level 0 is fine (kernel, stride), level 1 coarse (4 x both; it serves the log-sum-exp only).
// Source: InfLLM-V2 (arXiv 2509.24663), eq. 4 and 8.
#pragma once
#include "../abi.h"

static inline int window_size(const Sparse& p, int level) { return level ? 4 * p.kernel : p.kernel; }
static inline int window_stride(const Sparse& p, int level) { return level ? 4 * p.stride : p.stride; }

// Windows that lie wholly in the first n slots; none where the model is dense.
static inline int windows_of(const Sparse& p, int level, int n) {
  int size = window_size(p, level);
  return p.block == 0 || n < size ? 0 : (n - size) / window_stride(p, level) + 1;
}

// out (dim): mean of slots [begin, begin + size) of the tiles of keys, summed in slot order in float32.
// scratch: 32 * dim floats.
void compress_window(int type, const uint8_t* keys, int dim, int begin, int size, float* out, float* scratch);
void compress_window_ref(int type, const uint8_t* keys, int dim, int begin, int size, float* out, float* scratch);
