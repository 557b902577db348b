#include "peak.h"
#include "gemm.h"

int read_all(const uint8_t* from, size_t bytes) {
  v128_t sum[8];
  for (int i = 0; i < 8; i++) sum[i] = wasm_i64x2_const_splat(0);
  // Four streams side by side, which is faster than one from memory: see FOR_STREAMS.
  size_t part = bytes / 4;
  for (size_t at = 0; at < part; at += 64)
    for (int i = 0; i < 16; i++) sum[i % 8] = wasm_v128_or(sum[i % 8], wasm_v128_load(from + i / 4 * part + at + i % 4 * 16));
  for (int i = 1; i < 8; i++) sum[0] = wasm_v128_or(sum[0], sum[i]);
  return wasm_v128_any_true(sum[0]);
}

// A result that keeps the sums alive.
static int any_of(const v128_t* acc, int count) {
  v128_t all = acc[0];
  for (int i = 1; i < count; i++) all = wasm_v128_xor(all, acc[i]);
  return wasm_i32x4_extract_lane(all, 0);
}

static int dot16_all(int rounds) {
  v128_t acc[6], x[3], w[2] = {held(kLowNibbles), held(kLowPairs)};
  for (int i = 0; i < 6; i++) acc[i] = wasm_i8x16_splat((int8_t)(i + rounds));
  for (int i = 0; i < 3; i++) x[i] = held((Held)i);
  for (int r = 0; r < rounds; r++) {
#pragma clang loop unroll(full)
    for (int step = 0; step < 10; step++) {
      for (int i = 0; i < 6; i++) acc[i] = wasm_i16x8_add(acc[i], dot_i8_u7(x[i / 2], w[i % 2])), pin(acc[i]);
      // Other operands every time, so that no product can be moved out of the loop.
      w[0] = wasm_i8x16_add(w[0], x[0]), w[1] = wasm_i8x16_add(w[1], x[1]);
    }
  }
  return any_of(acc, 6);
}

#ifdef __wasm_relaxed_simd__
// A dot adds to what the one before left, five clocks later on x86: ten sums keep two a clock busy.
static int dot32_all(int rounds) {
  v128_t acc[10], x[2], w = held(kLowNibbles);
  for (int i = 0; i < 10; i++) acc[i] = wasm_i8x16_splat((int8_t)(i + rounds));
  for (int i = 0; i < 2; i++) x[i] = held((Held)i);
  for (int r = 0; r < rounds; r++) {
#pragma clang loop unroll(full)
    for (int i = 0; i < 60; i++) acc[i % 10] = dot_i8_u7_add(x[i % 2], w, acc[i % 10]), pin(acc[i % 10]);
  }
  return any_of(acc, 10);
}
#endif

int dot_all(int rounds) {
#ifdef __wasm_relaxed_simd__
  Form form = form_of(kInt4);
  if (form == kDot32 || form == kDot32Lanes) return dot32_all(rounds);
#endif
  return dot16_all(rounds);
}
