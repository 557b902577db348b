// Blocks of GGUF types: scales found by search, codes put in and taken out.
// Layouts: ggml's block formats, as kernels/dequantize.cpp reads them.
#pragma once
#include "grid.h"

enum BlockType : int {
  kF32Type = 0,
  kF16Type = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16Type = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35
};

// Columns and bytes of a block; 0 for types that are not written here.
int block_cols(int type);
int block_bytes_of(int type);

// Columns that share (S, Z), and the largest code; 0 for types without a grid.
int grid_group(int type);
int grid_top(int type);

enum Search { kSimple = 0, kSearched = 1 };

// One block of columns from x (block_cols) and weights of mean 1 or null.
// kSimple: ggml's own rounding where that is a formula (Q4_0, Q4_1, Q8_0), else scales of the extremes.
// kSearched: least sum w (x - x^)^2 over starting scales, each refitted; then, for super-blocks, d, dmin and the 6- or 8-bit
// scales in turn. Ternary types: kSimple mean|x|, kSearched fitted; see also ternary_row.
void encode_block(int type, const double* x, const double* weights, Search search, uint8_t* out);

// (S, Z) of each group of a block.
void block_grid(int type, const uint8_t* block, double* scales, double* zeros);

// Replaces the codes of a block; its scales stay.
void put_codes(int type, const uint8_t* codes, uint8_t* block);

// A ternary block with this scale and these codes.
void put_ternary(int type, const uint8_t* codes, double scale, uint8_t* block);
