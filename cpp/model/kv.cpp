#include "kv.h"

static float quantize_vector(const float* x, int dim, int8_t* q, int stride) {
  float most = 0;
  for (int d = 0; d < dim; d++) most = larger(most, __builtin_fabsf(x[d]));
  float inverse = most > 1e-35f && most < 1e38f ? 127.0f / most : 0.0f;
  for (int d = 0; d < dim; d++) q[d * stride] = (int8_t)__builtin_rintf(x[d] * inverse);
  return most / 127.0f;
}

void kv_write(const Model& m, const Sequence& s, int layer, int head, int slot, const float* key, const float* value) {
  int dim = m.head_dim, j = slot % kTile;
  uint8_t *kt = kv_tile(m, s, layer, head, 0, slot), *vt = kv_tile(m, s, layer, head, 1, slot);
  if (m.kv_type == kKvF32) {
    for (int d = 0; d < dim; d++) ((float*)kt)[d * kTile + j] = key[d], ((float*)vt)[j * dim + d] = value[d];
  } else if (m.kv_type == kKvF16) {
    for (int d = 0; d < dim; d++)
      ((uint16_t*)kt)[d * kTile + j] = float_to_half(key[d]), ((uint16_t*)vt)[j * dim + d] = float_to_half(value[d]);
  } else {
    ((float*)(kt + dim * kTile))[j] = quantize_vector(key, dim, (int8_t*)kt + j, kTile);
    ((float*)(vt + dim * kTile))[j] = quantize_vector(value, dim, (int8_t*)vt + j * dim, 1);
  }
}

void kv_read(const Model& m, const Sequence& s, int layer, int head, int slot, float* key, float* value) {
  int dim = m.head_dim, j = slot % kTile;
  const uint8_t *kt = kv_tile(m, s, layer, head, 0, slot), *vt = kv_tile(m, s, layer, head, 1, slot);
  for (int d = 0; d < dim; d++) {
    int a = d * kTile + j, b = j * dim + d;
    if (m.kv_type == kKvF32) key[d] = ((const float*)kt)[a], value[d] = ((const float*)vt)[b];
    else if (m.kv_type == kKvF16)
      key[d] = half_to_float(((const uint16_t*)kt)[a]), value[d] = half_to_float(((const uint16_t*)vt)[b]);
    else
      key[d] = (float)((const int8_t*)kt)[a] * ((const float*)(kt + dim * kTile))[j],
      value[d] = (float)((const int8_t*)vt)[b] * ((const float*)(vt + dim * kTile))[j];
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

static inline v128_t four_codes(const uint8_t* from) {
  return wasm_f32x4_convert_i32x4(wasm_i32x4_extend_low_i16x8(wasm_i16x8_extend_low_i8x16(wasm_v128_load32_zero(from))));
}

// 32 int8 codes as floats, times scales: `each` of a code by itself (32), or one for all.
static inline void codes(const uint8_t* from, float* to, const float* each, v128_t all) {
  v128_t x[8];
#pragma clang loop unroll(full)
  for (int k = 0; k < 4; k++) {
    v128_t wide = wasm_i16x8_load8x8(from + 8 * k);
    x[2 * k] = wasm_i32x4_extend_low_i16x8(wide), x[2 * k + 1] = wasm_i32x4_extend_high_i16x8(wide);
  }
#pragma clang loop unroll(full)
  for (int k = 0; k < 8; k++) x[k] = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(x[k]), each ? wasm_v128_load(each + 4 * k) : all);
#pragma clang loop unroll(full)
  for (int k = 0; k < 8; k++) wasm_v128_store(to + 4 * k, x[k]);
}

const float* kv_keys(int type, const uint8_t* tile, int dim, float* scratch) {
  if (type == kKvF32) return (const float*)tile;
  if (type == kKvF16) return halves(tile, scratch, dim * kTile), scratch;
  const float* scales = (const float*)(tile + dim * kTile);
  float* to = scratch;
  for (int d = 0; d < dim; d++, tile += kTile, to += kTile)
    anchor(tile), anchor(to), codes(tile, to, scales, wasm_f32x4_const_splat(0));
  return scratch;
}

const float* kv_values(int type, const uint8_t* tile, int dim, float* scratch) {
  if (type == kKvF32) return (const float*)tile;
  if (type == kKvF16) return halves(tile, scratch, dim * kTile), scratch;
  const float* scales = (const float*)(tile + dim * kTile);
  float* to = scratch;
  for (int j = 0; j < kTile; j++) {
    const v128_t scale = wasm_v128_load32_splat(scales + j);
    int d = 0;
    for (; d + 32 <= dim; d += 32, tile += 32, to += 32) anchor(tile), anchor(to), codes(tile, to, nullptr, scale);
    for (; d + 4 <= dim; d += 4, tile += 4, to += 4) wasm_v128_store(to, wasm_f32x4_mul(four_codes(tile), scale));
    for (; d < dim; d++) *to++ = (float)(int8_t)*tile++ * scales[j];
  }
  return scratch;
}

template <typename T>
static void copy_strided(uint8_t* to, const uint8_t* from, int count, int stride) {
  for (int i = 0; i < count; i++) ((T*)to)[i * stride] = ((const T*)from)[i * stride];
}

void kv_copy_slot(const Model& m, const Sequence& a, int from, const Sequence& b, int to) {
  int dim = m.head_dim, size = m.kv_type == kKvF32 ? 4 : m.kv_type == kKvF16 ? 2 : 1, i = from % kTile, j = to % kTile;
  for (int layer = 0; layer < m.layers; layer++)
    for (int head = 0; head < m.kv_heads; head++)
      for (int which = 0; which < 2; which++) {
        const uint8_t* x = kv_tile(m, a, layer, head, which, from);
        uint8_t* y = kv_tile(m, b, layer, head, which, to);
        int stride = which ? 1 : kTile, step = (which ? dim : 1) * size;
        const uint8_t* source = x + i * step;
        uint8_t* target = y + j * step;
        size == 4   ? copy_strided<uint32_t>(target, source, dim, stride)
        : size == 2 ? copy_strided<uint16_t>(target, source, dim, stride)
                    : copy_strided<uint8_t>(target, source, dim, stride);
        if (m.kv_type == kKvQ8) ((float*)(y + dim * kTile))[j] = ((const float*)(x + dim * kTile))[i];
      }
}
