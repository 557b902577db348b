#include "gather.h"

template <typename T>
static void copy_lane(uint8_t* to, const uint8_t* from, int a, int b, int count) {
  for (int k = 0; k < count; k++) ((T*)to)[k * kPanel + b] = ((const T*)from)[k * kPanel + a];
}

void gather_row(const Tensor& from, int row, const Tensor& to, int to_row) {
  uint8_t *source = panel_at(from, row / kPanel), *target = panel_at(to, to_row / kPanel), *from_scales, *to_scales;
  int a = row % kPanel, b = to_row % kPanel;
  for (int block = 0; block < padded_cols(from) / kBlock; block++) {
    const uint8_t* x = block_at(from, source, block, &from_scales);
    uint8_t* y = block_at(to, target, block, &to_scales);
    if (from.kind == kF32) {
      copy_lane<uint32_t>(y, x, a, b, kBlock);
    } else if (is_float(from.kind)) {
      copy_lane<uint16_t>(y, x, a, b, kBlock);
    } else {
      if (from.kind == kInt6) {
        ((uint16_t*)y)[b] = ((const uint16_t*)x)[a];
        x += 16, y += 16;
      }
      // Codes: a word of 4 bytes in every second chunk of 16 bytes.
      int words = (block_bytes(from.kind) - (from.kind == kTernary ? 0 : has_min(from.kind) ? 32 : 16)) / 32;
      for (int c = 0; c < words; c++) ((uint32_t*)y)[c * 8 + b] = ((const uint32_t*)x)[c * 8 + a];
      for (int m = 0; m <= has_min(from.kind); m++) ((uint16_t*)to_scales)[m * 8 + b] = ((const uint16_t*)from_scales)[m * 8 + a];
    }
  }
}
