#include "peak.h"
#include "../simd.h"

int read_all(const uint8_t* from, size_t bytes) {
  v128_t sum[8];
  for (int i = 0; i < 8; i++) sum[i] = wasm_i64x2_const_splat(0);
  for (size_t at = 0; at < bytes; at += 256)
    for (int i = 0; i < 16; i++) sum[i % 8] = wasm_v128_or(sum[i % 8], wasm_v128_load(from + at + 16 * i));
  for (int i = 1; i < 8; i++) sum[0] = wasm_v128_or(sum[0], sum[i]);
  return wasm_v128_any_true(sum[0]);
}

int dot_all(int rounds) {
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
  int8_t all[96];
  for (int i = 0; i < 6; i++) wasm_v128_store(all + 16 * i, acc[i]);
  for (int i = 1; i < 96; i++) all[0] = (int8_t)(all[0] ^ all[i]);
  return all[0];
}
