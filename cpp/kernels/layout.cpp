// Reading packed weights one element or one row at a time.
#include "layout.h"

// Code of (row r of its panel, column k of its block), codes being the block's chunks.
static int code_at(int kind, const uint8_t* codes, int r, int k) {
  int half = r / 4, i = r % 4;
  if (kind == kInt4 || kind == kInt4Min) {
    int byte = codes[(k % 16 / 4 * 2 + half) * 16 + 4 * i + k % 4];
    return k < 16 ? byte & 15 : byte >> 4;
  }
  if (kind == kTernary) return codes[(k / 16 * 2 + half) * 16 + 4 * i + k % 4] >> (k % 16 / 4 * 2) & 3;
  return codes[(k / 4 * 2 + half) * 16 + 4 * i + k % 4];
}

float weight_ref(const Tensor& w, int row, int col) {
  uint8_t *panel = panel_at(w, row / kPanel), *scales;
  int r = row % kPanel, k = col % kBlock;
  const uint8_t* at = block_at(w, panel, col / kBlock, &scales);
  if (w.kind == kF32) return ((const float*)at)[k * kPanel + r];
  if (w.kind == kF16) return half_to_float(half_at(at, k * kPanel + r));
  if (w.kind == kBF16) return bfloat_to_float(half_at(at, k * kPanel + r));
  float scale = half_to_float(half_at(scales, r));
  int code = code_at(w.kind, at, r, k);
  if (has_min(w.kind)) return scale * (float)code + half_to_float(half_at(scales + 16, r));
  return scale * (float)(code - (w.kind == kInt4 ? 8 : w.kind == kInt8 ? 128 : 1));
}

void weight_row(const Tensor& w, int row, float* out) {
  for (int k = 0; k < w.cols; k++) out[k] = weight_ref(w, row, k);
}
