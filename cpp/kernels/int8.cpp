// 8-bit weights as two 4-bit digits, code = 16 * high + low: each digit goes through the exact 4-bit dot.
#include "gemm.h"

template <int N, bool Min>
static void tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int end) {
  int blocks = padded_cols(w) / kBlock;
  const int8_t* q = in.q + (size_t)token * in.stride;
  const BlockScale* s = in.scales + (size_t)token * (in.stride / kBlock);
  const int scale_stride = in.stride / kBlock;
  for (int panel = begin; panel < end; panel++) {
    const uint8_t* at = panel_at(w, panel);
    v128_t low[N], high[N];
    for (int t = 0; t < N; t++) low[t] = high[t] = wasm_f32x4_const_splat(0);
    for (int b = 0; b < blocks; b++, at += Min ? 288 : 272) {
      const uint8_t* codes = at + (Min ? 32 : 16);
      v128_t zero = wasm_i16x8_const_splat(0), l0[N], l1[N], h0[N], h1[N];
      for (int t = 0; t < N; t++) l0[t] = l1[t] = h0[t] = h1[t] = zero;
      for (int i = 0; i < 8; i++) {
        v128_t w0 = wasm_v128_load(codes + 32 * i), w1 = wasm_v128_load(codes + 32 * i + 16);
        v128_t w0l = low_nibbles(w0), w1l = low_nibbles(w1), w0h = high_nibbles(w0), w1h = high_nibbles(w1);
        for (int t = 0; t < N; t++) {
          v128_t x = wasm_v128_load32_splat(q + (size_t)t * in.stride + b * kBlock + 4 * i);
          l0[t] = wasm_i16x8_add(l0[t], dot_i8_u7(x, w0l)), l1[t] = wasm_i16x8_add(l1[t], dot_i8_u7(x, w1l));
          h0[t] = wasm_i16x8_add(h0[t], dot_i8_u7(x, w0h)), h1[t] = wasm_i16x8_add(h1[t], dot_i8_u7(x, w1h));
        }
      }
      v128_t scales = wasm_v128_load(at), up = wasm_f32x4_const_splat(kTwo112);
      v128_t d0 = wasm_f32x4_mul(half_bits(wasm_i32x4_extend_low_i16x8(scales)), up);
      v128_t d1 = wasm_f32x4_mul(half_bits(wasm_i32x4_extend_high_i16x8(scales)), up);
      for (int t = 0; t < N; t++) {
        const BlockScale* bs = s + (size_t)t * scale_stride + b;
        v128_t scale = wasm_v128_load32_splat(&bs->scale);
        v128_t i0 = wasm_i32x4_add(widen_i16(l0[t]), wasm_i32x4_shl(widen_i16(h0[t]), 4));
        v128_t i1 = wasm_i32x4_add(widen_i16(l1[t]), wasm_i32x4_shl(widen_i16(h1[t]), 4));
        if constexpr (!Min) {
          v128_t offset = wasm_i32x4_shl(wasm_v128_load32_splat(&bs->sum), 7);
          i0 = wasm_i32x4_sub(i0, offset), i1 = wasm_i32x4_sub(i1, offset);
        }
        low[t] = madd_f32(wasm_f32x4_convert_i32x4(i0), wasm_f32x4_mul(d0, scale), low[t]);
        high[t] = madd_f32(wasm_f32x4_convert_i32x4(i1), wasm_f32x4_mul(d1, scale), high[t]);
        if constexpr (Min) {
          v128_t minima = wasm_v128_load(at + 16), sum = wasm_f32x4_splat(bs->scale * (float)bs->sum);
          v128_t m0 = wasm_f32x4_mul(half_bits(wasm_i32x4_extend_low_i16x8(minima)), up);
          v128_t m1 = wasm_f32x4_mul(half_bits(wasm_i32x4_extend_high_i16x8(minima)), up);
          low[t] = madd_f32(sum, m0, low[t]), high[t] = madd_f32(sum, m1, high[t]);
        }
      }
    }
    for (int t = 0; t < N; t++) put_panel(w, out, token + t, panel, low[t], high[t]);
  }
}

template <bool Min>
static void tiles(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  // Four accumulators a token: two tokens are what the registers hold.
  for (int t = 0; t < n; t += 2)
    n - t == 1 ? tile<1, Min>(w, in, out, token + t, begin, end) : tile<2, Min>(w, in, out, token + t, begin, end);
}

void int8_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  w.kind == kInt8Min ? tiles<true>(w, in, out, token, n, begin, end) : tiles<false>(w, in, out, token, n, begin, end);
}
