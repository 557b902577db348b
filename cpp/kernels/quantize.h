// Activations as int8 with one scale per block of `block` columns (32 ... 256):
//   scale = max|x| / 127,  q = nearest_even(x / scale),  sum8 = 8 * sum of q over the block
//   centre[h][p] = -32 * sum of q over columns 16h + 4c + 2p and the next of the block's last 32, c = 0 ... 3
// A block of zeros, or one that is not finite in its maximum, has scale 0 and codes 0 (nan stays visible in `scale`).
#pragma once
#include "../simd.h"

// Beside each block's codes: its scale and eight times the sum of its codes (an offset of 8 is the commonest).
struct BlockScale {
  float scale;
  int32_t sum8;
};
// What the 16-bit sums of kInt6 start from, a lane each: their codes lie 32 too high. Apart, so that other kinds have more room in
// the nearest cache.
struct BlockCentre {
  int16_t centre[2][2];
};

// x (cols) -> q (cols), scales (cols / block), and, where asked for, centres (cols / block). cols % block == 0, block % 32 == 0.
void quantize(const float* x, int cols, int block, int8_t* q, BlockScale* scales, BlockCentre* centres);
void quantize_ref(const float* x, int cols, int block, int8_t* q, BlockScale* scales, BlockCentre* centres);
