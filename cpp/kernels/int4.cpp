// 4-bit weights: each code is the 7-bit operand of the dot, unsigned, corrected by the sum of x.
#include "gemm.h"

// 16-bit accumulation is exact: 8 dots of 2 products, 8 * 2 * 15 * 127 = 30480 < 32768.
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
    for (int b = 0; b < blocks; b++, at += Min ? 160 : 144) {
      const uint8_t* codes = at + (Min ? 32 : 16);
      v128_t a[N], c[N];
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; i++) {
        v128_t w0 = wasm_v128_load(codes + 32 * i), w1 = wasm_v128_load(codes + 32 * i + 16);
        v128_t l0 = wasm_v128_and(w0, nibble), l1 = wasm_v128_and(w1, nibble);
        for (int t = 0; t < N; t++) {
          v128_t xs = wasm_v128_load32_splat(x[t] + 4 * i), d0 = dot_i8_u7(xs, l0), d1 = dot_i8_u7(xs, l1);
          a[t] = i ? wasm_i16x8_add(a[t], d0) : d0, c[t] = i ? wasm_i16x8_add(c[t], d1) : d1;
          pin(a[t]), pin(c[t]);
        }
        v128_t h0 = wasm_v128_and(wasm_u16x8_shr(w0, 4), nibble), h1 = wasm_v128_and(wasm_u16x8_shr(w1, 4), nibble);
        for (int t = 0; t < N; t++) {
          v128_t xs = wasm_v128_load32_splat(x[t] + 4 * i + 16), d0 = dot_i8_u7(xs, h0), d1 = dot_i8_u7(xs, h1);
          a[t] = wasm_i16x8_add(a[t], d0), c[t] = wasm_i16x8_add(c[t], d1);
          pin(a[t]), pin(c[t]);
        }
      }
      v128_t d0 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at), mask), up), d1 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at + 8), mask), up);
      for (int t = 0; t < N; t++) {
        v128_t i0 = wasm_i32x4_dot_i16x8(a[t], ones), i1 = wasm_i32x4_dot_i16x8(c[t], ones), scale = wasm_v128_load32_splat(&s[t]->scale);
        if constexpr (!Min) {
          v128_t offset = wasm_v128_load32_splat(&s[t]->sum8);
          i0 = wasm_i32x4_sub(i0, offset), i1 = wasm_i32x4_sub(i1, offset);
        }
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

void int4_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  w.kind == kInt4Min ? tiles<true>(w, in, out, token, n, begin, end) : tiles<false>(w, in, out, token, n, begin, end);
}
