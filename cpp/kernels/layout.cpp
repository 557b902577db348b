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
    return word >> k % 4 * 8 & 63;
  }
  if (kind == kTernary) return codes[(k / 16 * 2 + half) * 16 + 4 * i + k % 4] >> (k % 16 / 4 * 2) & 3;
  return codes[(k / 4 * 2 + half) * 16 + 4 * i + k % 4];
}

int code_ref(const Tensor& w, int row, int col) {
  uint8_t* scales;
  int offset = w.kind == kInt4 ? 8 : w.kind == kInt6 ? 32 : w.kind == kInt8 ? 128 : w.kind == kTernary ? 1 : 0;
  return code_at(w.kind, block_at(w, panel_at(w, row / kPanel), col / kBlock, &scales), row % kPanel, col % kBlock) - offset;
}

float weight_ref(const Tensor& w, int row, int col) {
  uint8_t *panel = panel_at(w, row / kPanel), *scales;
  int r = row % kPanel, k = col % kBlock;
  const uint8_t* at = block_at(w, panel, col / kBlock, &scales);
  if (w.kind == kF32) return ((const float*)at)[k * kPanel + r];
  if (w.kind == kF16) return half_to_float(half_at(at, k * kPanel + r));
  if (w.kind == kBF16) return bfloat_to_float(half_at(at, k * kPanel + r));
  float scale = half_to_float(half_at(scales, r));
  if (w.kind == kInt6) scale *= (float)six_scale(at, r, k);
  float value = scale * (float)code_ref(w, row, col);
  return has_min(w.kind) ? value + half_to_float(half_at(scales + 16, r)) : value;
}

void weight_row(const Tensor& w, int row, float* out) {
  for (int k = 0; k < w.cols; k++) out[k] = weight_ref(w, row, k);
}
