// 8-bit weights as two 4-bit digits, code = 16 * high + low: each digit goes through the exact 4-bit dot.
#include "gemm.h"

template <int N, bool Min>
static void tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int end) {
  const int blocks = padded_cols(w) / kBlock;
  const v128_t nibble = held(kLowNibbles), ones = held(kOnes16), mask = held(kHalfMask), up = held(kRaise112);
  const uint8_t* at = panel_at(w, begin);
  for (int panel = begin; panel < end; panel++) {
    const int8_t* x[N];
    const BlockScale* s[N];
    v128_t low[N], high[N];
    for (int t = 0; t < N; t++) {
      x[t] = in.q + (size_t)(token + t) * in.stride, s[t] = in.scales + (size_t)(token + t) * (in.stride / kBlock);
      low[t] = high[t] = wasm_f32x4_const_splat(0);
    }
    for (int b = 0; b < blocks; b++, at += Min ? 288 : 272) {
      const uint8_t* codes = at + (Min ? 32 : 16);
      v128_t l0[N], l1[N], h0[N], h1[N];
      if constexpr (N > 2) {  // rows 0-3, then 4-7: what the registers hold
#pragma clang loop unroll(full)
        for (int half = 0; half < 2; half++)
#pragma clang loop unroll(full)
          for (int i = 0; i < 8; i++) {
            v128_t *l = half ? l1 : l0, *h = half ? h1 : h0;
            v128_t wv = wasm_v128_load(codes + 32 * i + 16 * half), wl = wasm_v128_and(wv, nibble), wh = wasm_v128_and(wasm_u16x8_shr(wv, 4), nibble);
            for (int t = 0; t < N; t++) {
              v128_t xs = wasm_v128_load32_splat(x[t] + 4 * i), dl = dot_i8_u7(xs, wl), dh = dot_i8_u7(xs, wh);
              l[t] = i ? wasm_i16x8_add(l[t], dl) : dl, h[t] = i ? wasm_i16x8_add(h[t], dh) : dh;
              pin(l[t]), pin(h[t]);
            }
          }
      } else {
#pragma clang loop unroll(full)
      for (int i = 0; i < 8; i++) {
        v128_t w0 = wasm_v128_load(codes + 32 * i), w1 = wasm_v128_load(codes + 32 * i + 16);
        v128_t w0l = wasm_v128_and(w0, nibble), w1l = wasm_v128_and(w1, nibble);
        v128_t w0h = wasm_v128_and(wasm_u16x8_shr(w0, 4), nibble), w1h = wasm_v128_and(wasm_u16x8_shr(w1, 4), nibble);
        for (int t = 0; t < N; t++) {
          v128_t xs = wasm_v128_load32_splat(x[t] + 4 * i);
          v128_t dl0 = dot_i8_u7(xs, w0l), dl1 = dot_i8_u7(xs, w1l), dh0 = dot_i8_u7(xs, w0h), dh1 = dot_i8_u7(xs, w1h);
          l0[t] = i ? wasm_i16x8_add(l0[t], dl0) : dl0, l1[t] = i ? wasm_i16x8_add(l1[t], dl1) : dl1;
          h0[t] = i ? wasm_i16x8_add(h0[t], dh0) : dh0, h1[t] = i ? wasm_i16x8_add(h1[t], dh1) : dh1;
          pin(l0[t]), pin(l1[t]), pin(h0[t]), pin(h1[t]);
        }
      }
      }
      v128_t d0 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at), mask), up), d1 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at + 8), mask), up);
      for (int t = 0; t < N; t++) {
        v128_t scale = wasm_v128_load32_splat(&s[t]->scale), i0 = wasm_i32x4_dot_i16x8(h0[t], ones), i1 = wasm_i32x4_dot_i16x8(h1[t], ones);
        if constexpr (!Min) {  // the offset 128 is 16 times 8
          v128_t offset = wasm_v128_load32_splat(&s[t]->sum8);
          i0 = wasm_i32x4_sub(i0, offset), i1 = wasm_i32x4_sub(i1, offset);
        }
        i0 = wasm_i32x4_add(wasm_i32x4_shl(i0, 4), wasm_i32x4_dot_i16x8(l0[t], ones)), i1 = wasm_i32x4_add(wasm_i32x4_shl(i1, 4), wasm_i32x4_dot_i16x8(l1[t], ones));
        low[t] = madd_f32(wasm_f32x4_convert_i32x4(i0), wasm_f32x4_mul(d0, scale), low[t]);
        high[t] = madd_f32(wasm_f32x4_convert_i32x4(i1), wasm_f32x4_mul(d1, scale), high[t]);
        if constexpr (Min) {
          v128_t sum = wasm_f32x4_splat(s[t]->scale * (float)(s[t]->sum8 >> 3));
          v128_t m0 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at + 16), mask), up), m1 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at + 24), mask), up);
          low[t] = madd_f32(sum, m0, low[t]), high[t] = madd_f32(sum, m1, high[t]);
        }
        x[t] += kBlock, s[t]++;
      }
    }
    for (int t = 0; t < N; t++) put_panel(w, out, token + t, panel, low[t], high[t]);
  }
}

template <bool Min>
static void tiles(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  switch (n) {
    case 1: return tile<1, Min>(w, in, out, token, begin, end);
    case 2: return tile<2, Min>(w, in, out, token, begin, end);
    case 3: return tile<3, Min>(w, in, out, token, begin, end);
    default: return tile<4, Min>(w, in, out, token, begin, end);
  }
}

void int8_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  w.kind == kInt8Min ? tiles<true>(w, in, out, token, n, begin, end) : tiles<false>(w, in, out, token, n, begin, end);
}
