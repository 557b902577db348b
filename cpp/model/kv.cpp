#include "kv.h"

// Vectors are walked an element at a time, whatever the kind: that is little beside what is done with them.
#define EACH_DIMENSION _Pragma("clang loop vectorize(disable) unroll(disable)") for (int d = 0; d < dim; d++)

void kv_write(const Model& m, const Sequence& s, int layer, int head, int slot, const float* key, const float* value) {
  const int dim = m.head_dim, j = slot % kTile, type = m.kv_type;
  for (int which = 0; which < 2; which++) {
    uint8_t* tile = kv_tile(m, s, layer, head, which, slot);
    const float* x = which ? value : key;
    float inverse = 0;
    if (type == kKvQ8) {
      float most = 0;
      EACH_DIMENSION most = larger(most, __builtin_fabsf(x[d]));
      inverse = most > 1e-35f && most < 1e38f ? 127.0f / most : 0.0f;
      kv_scales(tile, dim)[j] = most / 127.0f;
    }
    EACH_DIMENSION {
      int i = kv_at(type, dim, which, d, j);
      if (type == kKvF32) ((float*)tile)[i] = x[d];
      else if (type == kKvF16) ((uint16_t*)tile)[i] = float_to_half(x[d]);
      else ((int8_t*)tile)[i] = (int8_t)__builtin_rintf(x[d] * inverse);
    }
  }
}

void kv_read(const Model& m, const Sequence& s, int layer, int head, int slot, float* key, float* value) {
  for (int which = 0; which < 2; which++)
    kv_vector(m.kv_type, kv_tile(m, s, layer, head, which, slot), m.head_dim, which, slot % kTile, which ? value : key, 1);
}

void kv_vector(int type, const uint8_t* tile, int dim, int which, int j, float* out, int stride) {
  EACH_DIMENSION {
    int i = kv_at(type, dim, which, d, j);
    if (type == kKvF32) out[d * stride] = ((const float*)tile)[i];
    else if (type == kKvF16) out[d * stride] = half_to_float(((const uint16_t*)tile)[i]);
    else out[d * stride] = ((const int8_t*)tile)[i] * kv_scales(tile, dim)[j];
  }
}

void window_write(int type, uint8_t* tile, int dim, int j, const float* x) {
  for (int d = 0; d < dim; d++) {
    if (type == kKvF32) ((float*)tile)[d * kTile + j] = x[d];
    else ((uint16_t*)tile)[d * kTile + j] = float_to_half(x[d]);
  }
}

// Loads come before stores, which they could overlap with for all that V8's re-vectoriser knows.
static void halves(const uint8_t* from, float* to, int count) {
  const v128_t up = held(kRaise112), mask = held(kHalfMask);
#pragma clang loop unroll(disable)
  for (int i = 0; i < count; i += 32, from += 64, to += 32) {
    anchor(from), anchor(to);
    v128_t x[8];
#pragma clang loop unroll(full)
    for (int k = 0; k < 8; k++) x[k] = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(from + 8 * k), mask), up);
#pragma clang loop unroll(full)
    for (int k = 0; k < 8; k++) wasm_v128_store(to + 4 * k, x[k]);
  }
}

const float* kv_floats(int type, const uint8_t* tile, int dim, float* scratch) {
  if (type == kKvF32) return (const float*)tile;
  return halves(tile, scratch, dim * kTile), scratch;
}

const float* kv_keys(int type, const uint8_t* tile, int dim, float* scratch) {
  if (type != kKvQ8) return kv_floats(type, tile, dim, scratch);
  for (int j = 0; j < kTile; j++) kv_vector(type, tile, dim, 0, j, scratch + j, kTile);
  return scratch;
}

void kv_copy_vector(int type, int dim, int which, const uint8_t* from, int i, uint8_t* to, int j) {
  EACH_DIMENSION {
    int x = kv_at(type, dim, which, d, i), y = kv_at(type, dim, which, d, j);
    if (type == kKvF32) ((uint32_t*)to)[y] = ((const uint32_t*)from)[x];
    else if (type == kKvF16) ((uint16_t*)to)[y] = ((const uint16_t*)from)[x];
    else to[y] = from[x];
  }
  if (type == kKvQ8) kv_scales(to, dim)[j] = kv_scales(from, dim)[i];
}

void kv_copy_slot(const Model& m, const Sequence& a, int from, const Sequence& b, int to) {
  for (int layer = 0; layer < m.layers; layer++)
    for (int head = 0; head < m.kv_heads; head++)
      for (int which = 0; which < 2; which++)
        kv_copy_vector(m.kv_type, m.head_dim, which, kv_tile(m, a, layer, head, which, from), from % kTile,
                       kv_tile(m, b, layer, head, which, to), to % kTile);
}
