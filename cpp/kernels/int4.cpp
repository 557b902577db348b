// 4-bit weights: each code is the 7-bit operand of the dot, unsigned, corrected by the sum of x.
#include "gemm.h"

// 16-bit accumulation is exact: 8 dots of 2 products, 8 * 2 * 15 * 127 = 30480 < 32768.
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
    for (int b = 0; b < blocks; b++, at += Min ? 160 : 144) {
      const uint8_t* codes = at + (Min ? 32 : 16);
      v128_t a[N], c[N];
      for (int i = 0; i < 4; i++) {
        v128_t w0 = wasm_v128_load(codes + 32 * i), w1 = wasm_v128_load(codes + 32 * i + 16);
        v128_t w0l = low_nibbles(w0), w1l = low_nibbles(w1), w0h = high_nibbles(w0), w1h = high_nibbles(w1);
        for (int t = 0; t < N; t++) {
          const int8_t* x = q + (size_t)t * in.stride + b * kBlock + 4 * i;
          v128_t xl = wasm_v128_load32_splat(x), xh = wasm_v128_load32_splat(x + 16);
          v128_t d0 = dot_i8_u7(xl, w0l), d1 = dot_i8_u7(xl, w1l);
          a[t] = i ? wasm_i16x8_add(a[t], d0) : d0, c[t] = i ? wasm_i16x8_add(c[t], d1) : d1;
          a[t] = wasm_i16x8_add(a[t], dot_i8_u7(xh, w0h)), c[t] = wasm_i16x8_add(c[t], dot_i8_u7(xh, w1h));
        }
      }
      v128_t scales = wasm_v128_load(at);
      v128_t d0 = half_bits(wasm_i32x4_extend_low_i16x8(scales)), d1 = half_bits(wasm_i32x4_extend_high_i16x8(scales));
      v128_t up = wasm_f32x4_const_splat(kTwo112);
      d0 = wasm_f32x4_mul(d0, up), d1 = wasm_f32x4_mul(d1, up);
      for (int t = 0; t < N; t++) {
        const BlockScale* bs = s + (size_t)t * scale_stride + b;
        v128_t i0 = widen_i16(a[t]), i1 = widen_i16(c[t]), scale = wasm_v128_load32_splat(&bs->scale);
        if constexpr (!Min) {
          v128_t offset = wasm_i32x4_shl(wasm_v128_load32_splat(&bs->sum), 3);
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
