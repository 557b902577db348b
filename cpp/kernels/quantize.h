// Activations as int8 with one scale per block of `block` columns (32 ... 256):
//   scale = max|x| / 127,  q = nearest_even(x / scale),  sum8 = 8 * sum of q over the block
// A block of zeros, or one that is not finite in its maximum, has scale 0 and codes 0 (nan stays visible in `scale`).
#pragma once
#include "../simd.h"

// Beside each block's codes: its scale and eight times the sum of its codes (an offset of 8 is the commonest).
struct BlockScale {
  float scale;
  int32_t sum8;
};

// x (cols) -> q (cols), scales (cols / block). cols % block == 0, block % 32 == 0.
void quantize(const float* x, int cols, int block, int8_t* q, BlockScale* scales);
void quantize_ref(const float* x, int cols, int block, int8_t* q, BlockScale* scales);
