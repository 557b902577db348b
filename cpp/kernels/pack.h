// From file blocks to packed weights. Block layouts: GGUF (ggml), see the table in file type order.
#pragma once
#include "layout.h"

// ggml type ids of the types that can be read.
enum FileType : int32_t {
  kFileF32 = 0,
  kFileF16 = 1,
  kFileQ4_0 = 2,
  kFileQ4_1 = 3,
  kFileQ5_0 = 6,
  kFileQ5_1 = 7,
  kFileQ8_0 = 8,
  kFileQ2_K = 10,
  kFileQ3_K = 11,
  kFileQ4_K = 12,
  kFileQ5_K = 13,
  kFileQ6_K = 14,
  kFileBF16 = 30,
  kFileTQ1_0 = 34,
  kFileTQ2_0 = 35,
};

int file_block(int type);  // elements
int file_block_bytes(int type);

// The kind that a file type is packed as without loss beyond half scales:
//   F32, F16, BF16 as they are; Q4_0 int4; Q4_1, Q4_K int4 with minima; Q8_0, Q5_0 int8; Q5_1, Q5_K int8 with minima;
//   Q6_K int6; Q3_K, Q2_K requantised to int8 in blocks of 32; TQ1_0, TQ2_0 ternary in groups of 256.
int packed_kind(int type);

// The definition of a file block: values[0 ... file_block(type)).
void dequantize_block(int type, const uint8_t* block, float* values);

// Packs one file row (w.cols elements) as row `row` of w, whose memory was zero. w.kind is packed_kind(type), or kInt8 for a
// float type and a multiple of 32 columns: requantised in blocks of 32.
void pack_row(const Tensor& w, int row, int type, const uint8_t* from);

// Packs `count` words of the k axis of a GPTQ weight: qweight (count, cols of words = rows of w), from input 8 * first on;
// scales (groups, rows) halves; zeros (groups, rows / 8) packed nibbles or null (then 8). plus_one: v1 files store zero - 1.
// Every input block of 32 must be given whole (first and count are multiples of 4).
void pack_gptq(const Tensor& w, const uint32_t* qweight, int first, int count, const uint16_t* scales, const uint32_t* zeros,
               int group, bool plus_one, int row_begin, int row_end);
