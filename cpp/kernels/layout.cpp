// Reading packed weights one element or one row at a time.
#include "layout.h"

static uint32_t word_at(const uint8_t* p) {
  uint32_t w;
  __builtin_memcpy(&w, p, 4);
  return w;
}

// Code of (row r of its panel, column k of its block), codes being the block's chunks.
static int code_at(int kind, const uint8_t* codes, int r, int k) {
  int half = r / 4, i = r % 4;
  if (kind == kInt4 || kind == kInt4Min) {
    int byte = codes[(k % 16 / 4 * 2 + half) * 16 + 4 * i + k % 4];
    return k < 16 ? byte & 15 : byte >> 4;
  }
  if (kind == kInt6) {
    const uint8_t* words = codes + 16 + k / 16 * 96 + half * 16 + 4 * i;
    int c = k % 16 / 4;
    uint32_t word = c < 3 ? word_at(words + 32 * c) : six_word(word_at(words), word_at(words + 32), word_at(words + 64));
    return (int)(word >> k % 4 * 8 & 63);
  }
  if (kind == kTernary) return codes[(k / 16 * 2 + half) * 16 + 4 * i + k % 4] >> (k % 16 / 4 * 2) & 3;
  return codes[(k / 4 * 2 + half) * 16 + 4 * i + k % 4];
}

static int offset_of(int kind) { return kind == kInt4 ? 8 : kind == kInt6 ? 32 : kind == kInt8 ? 128 : kind == kTernary ? 1 : 0; }

// Value of (row r of its panel, column k of its block), the block and its half scales being there.
static float value_at(int kind, const uint8_t* at, const uint8_t* scales, int r, int k) {
  if (kind == kF32) return ((const float*)at)[k * kPanel + r];
  if (kind == kF16) return half_to_float(half_at(at, k * kPanel + r));
  if (kind == kBF16) return bfloat_to_float(half_at(at, k * kPanel + r));
  float scale = half_to_float(half_at(scales, r));
  if (kind == kInt6) scale *= (float)six_scale(at, r, k);
  float value = scale * (float)(code_at(kind, at, r, k) - offset_of(kind));
  return has_min(kind) ? value + half_to_float(half_at(scales + 16, r)) : value;
}

int code_ref(const Tensor& w, int row, int col) {
  uint8_t *scales, *at = block_at(w, panel_at(w, row / kPanel), col / kBlock, &scales);
  return code_at(w.kind, at, row % kPanel, col % kBlock) - offset_of(w.kind);
}

float weight_ref(const Tensor& w, int row, int col) {
  uint8_t *scales, *at = block_at(w, panel_at(w, row / kPanel), col / kBlock, &scales);
  return value_at(w.kind, at, scales, row % kPanel, col % kBlock);
}

void weight_row(const Tensor& w, int row, float* out) {
  for (int col = 0; col < w.cols; col += kBlock) {
    uint8_t *scales, *at = block_at(w, panel_at(w, row / kPanel), col / kBlock, &scales);
    for (int k = 0; k < kBlock && col + k < w.cols; k++) out[col + k] = value_at(w.kind, at, scales, row % kPanel, k);
  }
}
