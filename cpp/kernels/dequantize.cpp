// The definition of every file block type. Source: the GGUF format (ggml-common block structs).
#include "pack.h"

int file_block(int type) { return type == kFileF32 || type == kFileF16 || type == kFileBF16 ? 1 : type <= kFileQ8_0 ? 32 : 256; }

int file_block_bytes(int type) {
  switch (type) {
    case kFileF32: return 4;
    case kFileF16:
    case kFileBF16: return 2;
    case kFileQ4_0: return 18;
    case kFileQ4_1: return 20;
    case kFileQ5_0: return 22;
    case kFileQ5_1: return 24;
    case kFileQ8_0: return 34;
    case kFileQ2_K: return 84;
    case kFileQ3_K: return 110;
    case kFileQ4_K: return 144;
    case kFileQ5_K: return 176;
    case kFileQ6_K: return 210;
    case kFileTQ1_0: return 54;
    case kFileTQ2_0: return 66;
    default: return 0;
  }
}

static float half(const uint8_t* p) { return half_to_float(half_at(p, 0)); }

// Scale and minimum of sub-block j of Q4_K and Q5_K: 6 bits each in 12 bytes.
void k_scale(const uint8_t* s, int j, int* scale, int* least) {
  if (j < 4) *scale = s[j] & 63, *least = s[j + 4] & 63;
  else *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4, *least = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
}

static void q2_k(const uint8_t* p, float* x) {
  float d = half(p + 80), least = half(p + 82);
  for (int e = 0; e < 256; e++) {
    int n = e / 128, j = e % 128 / 32, h = e % 32 / 16, b = 8 * n + 2 * j + h;
    int q = p[16 + 32 * n + e % 32] >> 2 * j & 3;
    x[e] = d * (float)(p[b] & 15) * (float)q - least * (float)(p[b] >> 4);
  }
}

static void q3_k(const uint8_t* p, float* x) {
  const uint8_t *mask = p, *qs = p + 32, *s = p + 96;
  float d = half(p + 108);
  for (int e = 0; e < 256; e++) {
    int n = e / 128, j = e % 128 / 32, h = e % 32 / 16, b = 8 * n + 2 * j + h;
    int low = b < 8 ? s[b] & 15 : s[b - 8] >> 4, scale = (low | (s[8 + b % 4] >> 2 * (b / 4) & 3) << 4) - 32;
    int q = (qs[32 * n + e % 32] >> 2 * j & 3) - (mask[e % 32] >> (4 * n + j) & 1 ? 0 : 4);
    x[e] = d * (float)scale * (float)q;
  }
}

static void q45_k(const uint8_t* p, float* x, bool five) {
  float d = half(p), least = half(p + 2);
  const uint8_t *high = p + 16, *qs = p + (five ? 48 : 16);
  for (int e = 0; e < 256; e++) {
    int j = e / 32, scale, minimum, byte = qs[e / 64 * 32 + e % 32], q = j & 1 ? byte >> 4 : byte & 15;
    k_scale(p + 4, j, &scale, &minimum);
    if (five) q |= (high[e % 32] >> j & 1) << 4;
    x[e] = d * (float)scale * (float)q - least * (float)minimum;
  }
}

// 16 codes of 6 bits, less 32, times scale.
static void put_six(float* x, v128_t low, v128_t high, float scale) {
  v128_t q = wasm_i8x16_sub(wasm_v128_or(low, wasm_i8x16_shl(high, 4)), wasm_i8x16_const_splat(32)),
         unit = wasm_f32x4_splat(scale);
  v128_t a = wasm_i16x8_extend_low_i8x16(q), b = wasm_i16x8_extend_high_i8x16(q);
  wasm_v128_store(x, wasm_f32x4_mul(unit, wasm_f32x4_convert_i32x4(wasm_i32x4_extend_low_i16x8(a))));
  wasm_v128_store(x + 4, wasm_f32x4_mul(unit, wasm_f32x4_convert_i32x4(wasm_i32x4_extend_high_i16x8(a))));
  wasm_v128_store(x + 8, wasm_f32x4_mul(unit, wasm_f32x4_convert_i32x4(wasm_i32x4_extend_low_i16x8(b))));
  wasm_v128_store(x + 12, wasm_f32x4_mul(unit, wasm_f32x4_convert_i32x4(wasm_i32x4_extend_high_i16x8(b))));
}

// The largest part of most published files is of this type, hence by vectors.
static void q6_k(const uint8_t* p, float* x) {
  const v128_t nibble = wasm_i8x16_const_splat(15), pair = wasm_i8x16_const_splat(3);
  const int8_t* scales = (const int8_t*)p + 192;
  float d = half(p + 208);
  for (int n = 0; n < 2; n++)
    for (int h = 0; h < 2; h++) {
      const uint8_t* from = p + 64 * n + 16 * h;
      v128_t low[] = {wasm_v128_load(from), wasm_v128_load(from + 32)}, high = wasm_v128_load(p + 128 + 32 * n + 16 * h);
      for (int part = 0; part < 4; part++) {
        v128_t l = wasm_v128_and(part < 2 ? low[part & 1] : wasm_u16x8_shr(low[part & 1], 4), nibble);
        put_six(x + 128 * n + 32 * part + 16 * h, l, wasm_v128_and(wasm_u16x8_shr(high, 2 * part), pair),
                d * (float)scales[8 * n + h + 2 * part]);
      }
    }
}

// Trit n of byte v, most significant first.
static int trit(int v, int n) {
  static const uint8_t power[] = {1, 3, 9, 27, 81};
  return (uint8_t)(v * power[n]) * 3 >> 8;
}

static int tq1_code(const uint8_t* p, int e) {
  if (e < 160) return trit(p[e % 32], e / 32);
  if (e < 240) return trit(p[32 + (e - 160) % 16], (e - 160) / 16);
  return trit(p[48 + (e - 240) % 4], (e - 240) / 4);
}

void dequantize_block(int type, const uint8_t* p, float* x) {
  switch (type) {
    case kFileF32: __builtin_memcpy(x, p, 4); return;
    case kFileF16: x[0] = half(p); return;
    case kFileBF16: x[0] = bfloat_to_float(half_at(p, 0)); return;
    case kFileQ4_0:
    case kFileQ4_1: {
      bool plus = type == kFileQ4_1;
      float d = half(p), m = plus ? half(p + 2) : 0;
      const uint8_t* qs = p + (plus ? 4 : 2);
      for (int i = 0; i < 32; i++) {
        int q = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
        x[i] = plus ? d * (float)q + m : d * (float)(q - 8);
      }
      return;
    }
    case kFileQ5_0:
    case kFileQ5_1: {
      bool plus = type == kFileQ5_1;
      float d = half(p), m = plus ? half(p + 2) : 0;
      const uint8_t *high = p + (plus ? 4 : 2), *qs = high + 4;
      for (int i = 0; i < 32; i++) {
        int q = (i < 16 ? qs[i] & 15 : qs[i - 16] >> 4) | (high[i / 8] >> i % 8 & 1) << 4;
        x[i] = plus ? d * (float)q + m : d * (float)(q - 16);
      }
      return;
    }
    case kFileQ8_0:
      for (int i = 0; i < 32; i++) x[i] = half(p) * (float)(int8_t)p[2 + i];
      return;
    case kFileQ2_K: return q2_k(p, x);
    case kFileQ3_K: return q3_k(p, x);
    case kFileQ4_K: return q45_k(p, x, false);
    case kFileQ5_K: return q45_k(p, x, true);
    case kFileQ6_K: return q6_k(p, x);
    case kFileTQ1_0:
      for (int i = 0; i < 256; i++) x[i] = half(p + 52) * (float)(tq1_code(p, i) - 1);
      return;
    case kFileTQ2_0:
      for (int i = 0; i < 256; i++) x[i] = half(p + 64) * (float)((p[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) - 1);
      return;
    default: return;  // file_block_bytes() is 0
  }
}
