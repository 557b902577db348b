#include "pack.h"

void k_scale(const uint8_t* s, int j, int* scale, int* least);

int packed_kind(int type) {
  switch (type) {
    case kFileF32: return kF32;
    case kFileF16: return kF16;
    case kFileBF16: return kBF16;
    case kFileQ4_0: return kInt4;
    case kFileQ4_1:
    case kFileQ4_K: return kInt4Min;
    case kFileQ5_1:
    case kFileQ5_K: return kInt8Min;
    case kFileQ6_K: return kInt6;
    case kFileTQ1_0:
    case kFileTQ2_0: return kTernary;
    default: return kInt8;
  }
}

static void put_half(uint8_t* p, int i, uint16_t h) { __builtin_memcpy(p + 2 * i, &h, 2); }

static inline uint32_t word_at(const uint8_t* p, int i) {
  uint32_t w;
  __builtin_memcpy(&w, p + 4 * i, 4);
  return w;
}
static inline void put_word(uint8_t* p, uint32_t w) { __builtin_memcpy(p, &w, 4); }

// One block of 32 codes of one row, at its place among the 8 rows of the panel: four codes (or bytes of codes) at a time.
static void put_codes(int kind, uint8_t* at, int r, const uint8_t* q) {
  at += r / 4 * 16 + r % 4 * 4;
  if (kind == kInt4 || kind == kInt4Min) {
    for (int i = 0; i < 4; i++) put_word(at + 32 * i, word_at(q, i) | word_at(q, i + 4) << 4);
  } else if (kind == kTernary) {
    for (int c = 0; c < 2; c++, q += 16)
      put_word(at + 32 * c, word_at(q, 0) | word_at(q, 1) << 2 | word_at(q, 2) << 4 | word_at(q, 3) << 6);
  } else {
    for (int i = 0; i < 8; i++) put_word(at + 32 * i, word_at(q, i));
  }
}

// A block of 32 of a row: codes, scale and minimum as halves.
static void put_block(const Tensor& w, int row, int block, const uint8_t* q, uint16_t d, uint16_t m) {
  uint8_t *scales, *at = block_at(w, panel_at(w, row / kPanel), block, &scales);
  put_half(scales, row % kPanel, d);
  if (has_min(w.kind)) put_half(scales + 16, row % kPanel, m);
  put_codes(w.kind, at, row % kPanel, q);
}

// Types without a kernel of their own, and floats where asked for: nearest int8 codes per 32 values. The definition: the scale
// is the half nearest to the largest magnitude / 127; a code is the whole number nearest to value / scale (ties to even),
// within -127 ... 127; where the scale rounds to zero, so do the values.
static void requantize(const Tensor& w, int row, int block, const float* x) {
  v128_t top = wasm_f32x4_abs(wasm_v128_load(x));
  for (int i = 4; i < kBlock; i += 4) top = wasm_f32x4_pmax(top, wasm_f32x4_abs(wasm_v128_load(x + i)));
  uint16_t d = float_to_half(max_f32(top) / 127.0f);
  float scale = half_to_float(d);
  const v128_t unit = wasm_f32x4_splat(scale), most = wasm_f32x4_const_splat(127), zero = wasm_i8x16_const_splat((int8_t)0x80);
  auto codes = [&](int i) {
    v128_t v = wasm_f32x4_nearest(wasm_f32x4_div(wasm_v128_load(x + i), unit));
    return wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_max(wasm_f32x4_min(v, most), wasm_f32x4_neg(most)));
  };
  alignas(16) uint8_t q[kBlock];
  for (int i = 0; i < kBlock; i += 16) {
    v128_t low = wasm_i16x8_narrow_i32x4(codes(i), codes(i + 4)), high = wasm_i16x8_narrow_i32x4(codes(i + 8), codes(i + 12));
    v128_t all = wasm_v128_xor(wasm_i8x16_narrow_i16x8(low, high), zero);
    wasm_v128_store(q + i, scale > 0 ? all : zero);
  }
  put_block(w, row, block, q, d, 0);
}

static void pack_k_block(const Tensor& w, int row, int type, int super, const uint8_t* p) {
  bool five = type == kFileQ5_K;
  const uint8_t *high = p + 16, *qs = p + (five ? 48 : 16);
  float d = half_to_float(half_at(p, 0)), least = half_to_float(half_at(p, 1));
  for (int j = 0; j < 8; j++) {
    int scale, minimum;
    uint8_t q[kBlock];
    k_scale(p + 4, j, &scale, &minimum);
    for (int l = 0; l < kBlock; l++) {
      int byte = qs[j / 2 * 32 + l];
      q[l] = (j & 1 ? byte >> 4 : byte & 15) | (five ? (high[l] >> j & 1) << 4 : 0);
    }
    put_block(w, row, super * 8 + j, q, float_to_half(d * (float)scale), float_to_half(-least * (float)minimum));
  }
}

// Four words of codes, a row's columns 16s ... 16s + 15, in three: see six_word.
static void put_sixes(uint8_t* at, uint32_t a, uint32_t b, uint32_t c, uint32_t last) {
  uint32_t upper = six_word(a, b, c) ^ last;
  put_word(at, a | (upper << 2 & 0xc0c0c0c0));
  put_word(at + 32, b | (upper << 4 & 0xc0c0c0c0));
  put_word(at + 64, c | (upper << 6 & 0xc0c0c0c0));
}

static void pack_q6_k(const Tensor& w, int row, int super, const uint8_t* p) {
  const v128_t nibble = wasm_i8x16_const_splat(15), pair = wasm_i8x16_const_splat(0x30);
  const int r = row % kPanel;
  uint8_t *scales, *at = block_at(w, panel_at(w, row / kPanel), super * 8, &scales);
  put_half(scales, r, half_at(p, 104));
  for (int b = 0; b < 8; b++, at += block_bytes(kInt6))
    for (int s = 0; s < 2; s++) {
      int n = b / 4, part = b % 4;
      v128_t low = wasm_v128_load(p + 64 * n + 32 * (part & 1) + 16 * s), high = wasm_v128_load(p + 128 + 32 * n + 16 * s);
      low = wasm_v128_and(part < 2 ? low : wasm_u16x8_shr(low, 4), nibble);
      high = wasm_v128_and(part < 2 ? wasm_i16x8_shl(high, 4 - 2 * part) : wasm_u16x8_shr(high, 2 * part - 4), pair);
      v128_t q = wasm_v128_or(low, high);
      at[2 * r + s] = p[192 + 2 * b + s];
      put_sixes(at + 16 + 96 * s + r / 4 * 16 + r % 4 * 4, wasm_u32x4_extract_lane(q, 0), wasm_u32x4_extract_lane(q, 1),
                wasm_u32x4_extract_lane(q, 2), wasm_u32x4_extract_lane(q, 3));
    }
}

// Two bits a code in the file as here, only in another order.
static void pack_tq2(const Tensor& w, int row, int super, const uint8_t* p) {
  const v128_t mask = wasm_i8x16_const_splat(3);
  alignas(16) uint8_t q[kBlock];
  for (int j = 0; j < 8; j++) {
    const uint8_t* from = p + j / 4 * 32;
    for (int i = 0; i < kBlock; i += 16)
      wasm_v128_store(q + i, wasm_v128_and(wasm_u16x8_shr(wasm_v128_load(from + i), j % 4 * 2), mask));
    put_block(w, row, super * 8 + j, q, half_at(p, 32), 0);
  }
}

// Codes are the values over the scale, plus one: exact, since every value is -d, 0 or d.
static void pack_ternary(const Tensor& w, int row, int type, int super, const uint8_t* p) {
  float x[256];
  uint8_t unit[66], q[kBlock];
  int bytes = file_block_bytes(type);
  __builtin_memcpy(unit, p, bytes);
  put_half(unit + bytes - 2, 0, 0x3c00);  // scale 1: the values are the codes
  dequantize_block(type, unit, x);
  for (int j = 0; j < 8; j++) {
    for (int i = 0; i < kBlock; i++) q[i] = (uint8_t)(x[j * kBlock + i] + 1);
    put_block(w, row, super * 8 + j, q, half_at(p + bytes - 2, 0), 0);
  }
}

static void pack_block32(const Tensor& w, int row, int type, int block, const uint8_t* p) {
  bool plus = type == kFileQ4_1 || type == kFileQ5_1, five = type == kFileQ5_0 || type == kFileQ5_1;
  uint8_t q[kBlock];
  if (type == kFileQ8_0) {
    for (int i = 0; i < kBlock; i++) q[i] = p[2 + i] ^ 0x80;
    return put_block(w, row, block, q, half_at(p, 0), 0);
  }
  if (type == kFileQ4_0) {  // its bytes pair the codes of columns k and k + 16, as a packed block does
    uint8_t *scales, *at = block_at(w, panel_at(w, row / kPanel), block, &scales) + row % kPanel / 4 * 16 + row % 4 * 4;
    put_half(scales, row % kPanel, half_at(p, 0));
    for (int i = 0; i < 4; i++) put_word(at + 32 * i, word_at(p + 2, i));
    return;
  }
  const uint8_t *high = p + (plus ? 4 : 2), *qs = high + (five ? 4 : 0);
  for (int i = 0; i < kBlock; i++) {
    q[i] = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
    if (five) q[i] |= (high[i / 8] >> i % 8 & 1) << 4;
    if (type == kFileQ5_0) q[i] += 128 - 16;
  }
  put_block(w, row, block, q, half_at(p, 0), plus ? half_at(p, 1) : 0);
}

static void pack_floats(const Tensor& w, int row, int type, const uint8_t* from) {
  float x[kBlock];
  int bytes = file_block_bytes(type);
  for (int block = 0; block < w.cols / kBlock; block++) {
    for (int i = 0; i < kBlock; i++, from += bytes) dequantize_block(type, from, x + i);
    requantize(w, row, block, x);
  }
}

template <typename T>
static void pack_columns(const Tensor& w, int row, const uint8_t* from) {
  T* at = (T*)panel_at(w, row / kPanel) + row % kPanel;
  for (int k = 0; k < w.cols; k++) at[(size_t)k * kPanel] = ((const T*)from)[k];
}

void pack_row(const Tensor& w, int row, int type, const uint8_t* from) {
  if (w.kind == kF32) return pack_columns<uint32_t>(w, row, from);
  if (is_float(w.kind)) return pack_columns<uint16_t>(w, row, from);
  int per = file_block(type), bytes = file_block_bytes(type);
  if (per == 1) return pack_floats(w, row, type, from);
  for (int b = 0; b < w.cols / per; b++, from += bytes) {
    if (per == 32) pack_block32(w, row, type, b, from);
    else if (type == kFileQ6_K) pack_q6_k(w, row, b, from);
    else if (type == kFileTQ2_0) pack_tq2(w, row, b, from);
    else if (w.kind == kTernary) pack_ternary(w, row, type, b, from);
    else if (type == kFileQ4_K || type == kFileQ5_K) pack_k_block(w, row, type, b, from);
    else {
      float x[256];
      dequantize_block(type, from, x);
      for (int j = 0; j < 8; j++) requantize(w, row, b * 8 + j, x + j * kBlock);
    }
  }
}

void pack_gptq(const Tensor& w, const uint32_t* qweight, int first, int count, const uint16_t* scales, const uint32_t* zeros,
               int group, bool plus_one, int row_begin, int row_end) {
  uint8_t q[kBlock];
  for (int row = row_begin; row < row_end; row++)
    for (int word = 0; word < count; word += 4) {
      int block = (first + word) / 4, g = block * kBlock / group;
      for (int i = 0; i < kBlock; i++) q[i] = qweight[(size_t)(word + i / 8) * w.rows + row] >> 4 * (i % 8) & 15;
      int zero = 8;
      if (zeros) zero = (int)((zeros[(size_t)g * (w.rows / 8) + row / 8] >> 4 * (row % 8) & 15) + plus_one) & 15;
      float d = half_to_float(scales[(size_t)g * w.rows + row]);
      put_block(w, row, block, q, scales[(size_t)g * w.rows + row], float_to_half(-d * (float)zero));
    }
}
