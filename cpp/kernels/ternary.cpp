// Ternary weights as 2-bit codes 0, 1, 2; the sum of x takes back the offset of 1.
#include "gemm.h"

// 16-bit accumulation is exact over 256 columns: 64 dots of 2 products, 64 * 2 * 2 * 127 = 32512 < 32768.
template <int N>
static void tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int end) {
  const int block = in.ternary_block, per_group = w.group / block, parts = block / kBlock;
  const int groups = padded_cols(w) / w.group, scale_stride = in.stride / block;
  const int8_t* q = in.tq + (size_t)token * in.stride;
  const BlockScale* s = in.tscales + (size_t)token * scale_stride;
  const v128_t three = wasm_i8x16_const_splat(3);
  for (int panel = begin; panel < end; panel++) {
    const uint8_t* at = panel_at(w, panel);
    v128_t low[N], high[N];
    for (int t = 0; t < N; t++) low[t] = high[t] = wasm_f32x4_const_splat(0);
    for (int g = 0, b = 0; g < groups; g++) {
      v128_t scales = wasm_v128_load(at), up = wasm_f32x4_const_splat(kTwo112);
      v128_t d0 = wasm_f32x4_mul(half_bits(wasm_i32x4_extend_low_i16x8(scales)), up);
      v128_t d1 = wasm_f32x4_mul(half_bits(wasm_i32x4_extend_high_i16x8(scales)), up);
      at += 16;
      for (int i = 0; i < per_group; i++, b++) {
        v128_t a[N], c[N];
        for (int t = 0; t < N; t++) a[t] = c[t] = wasm_i16x8_const_splat(0);
        for (int half = 0; half < 2 * parts; half++, at += 32) {  // 16 columns at a time
          v128_t w0 = wasm_v128_load(at), w1 = wasm_v128_load(at + 16);
          const int8_t* x = q + b * block + 16 * half;
          for (int field = 0; field < 4; field++) {
            v128_t c0 = wasm_v128_and(wasm_u16x8_shr(w0, 2 * field), three), c1 = wasm_v128_and(wasm_u16x8_shr(w1, 2 * field), three);
            for (int t = 0; t < N; t++) {
              v128_t xs = wasm_v128_load32_splat(x + (size_t)t * in.stride + 4 * field);
              a[t] = wasm_i16x8_add(a[t], dot_i8_u7(xs, c0)), c[t] = wasm_i16x8_add(c[t], dot_i8_u7(xs, c1));
            }
          }
        }
        for (int t = 0; t < N; t++) {
          const BlockScale* bs = s + (size_t)t * scale_stride + b;
          v128_t sum = wasm_v128_load32_splat(&bs->sum), scale = wasm_v128_load32_splat(&bs->scale);
          v128_t i0 = wasm_i32x4_sub(widen_i16(a[t]), sum), i1 = wasm_i32x4_sub(widen_i16(c[t]), sum);
          low[t] = madd_f32(wasm_f32x4_convert_i32x4(i0), wasm_f32x4_mul(d0, scale), low[t]);
          high[t] = madd_f32(wasm_f32x4_convert_i32x4(i1), wasm_f32x4_mul(d1, scale), high[t]);
        }
      }
    }
    for (int t = 0; t < N; t++) put_panel(w, out, token + t, panel, low[t], high[t]);
  }
}

void ternary_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  switch (n) {
    case 1: return tile<1>(w, in, out, token, begin, end);
    case 2: return tile<2>(w, in, out, token, begin, end);
    case 3: return tile<3>(w, in, out, token, begin, end);
    default: return tile<4>(w, in, out, token, begin, end);
  }
}
