// 4-bit weights in the forms of wide.h.
#include "wide.h"

template <int N, int S, bool Min, Form F>
KERNEL tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int each, int several) {
  constexpr bool kTwo = F == kDot32 && N == 1;
  const int blocks = padded_cols(w) / kBlock;
  const v128_t nibble = held(kLowNibbles), mask = held(kHalfMask), up = held(kRaise112);
  const int streams = S == 1 ? 1 : several;
  const size_t apart = each * panel_bytes(w);
  const uint8_t* first = panel_at(w, begin);
  for (int panel = begin; panel < begin + each; panel++) {
    const int8_t* x[N];
    const BlockScale* s[N];
    v128_t acc[S][2][N];
    for (int t = 0; t < N; t++) {
      x[t] = in.q + (size_t)(token + t) * in.stride, s[t] = in.scales + (size_t)(token + t) * (in.stride / kBlock);
      for (int i = 0; i < S; i++) acc[i][0][t] = acc[i][1][t] = wasm_f32x4_const_splat(0);
    }
    for (int b = 0; b < blocks; b++) {
      Fours<F, 32> xs[N];
      ScaleAndSum<F> ss[N];
      for (int t = 0; t < N; t++) anchor(x[t]), anchor(s[t]), xs[t].load(x[t]), ss[t].load(s[t]);
      const uint8_t* at = first;
#pragma clang loop unroll(disable)
      for (int i = 0; i < streams; i++, at += apart) {
        Sum<F> a[N], c[N], a1[N], c1[N];
        anchor(at);
        const uint8_t* codes = at + (Min ? 32 : 16);
        for (int t = 0; t < N; t++) {
          v128_t start = Min ? wasm_i32x4_const_splat(0) : wasm_i32x4_neg(ss[t].sum8);
          a[t].begin(start), c[t].begin(start);
          if constexpr (kTwo) a1[t].begin(wasm_i32x4_const_splat(0)), c1[t].begin(wasm_i32x4_const_splat(0));
        }
#pragma clang loop unroll(full)
        for (int k = 0; k < 4; k++) {
          v128_t w0 = wasm_v128_load(codes + 32 * k), w1 = wasm_v128_load(codes + 32 * k + 16);
          v128_t l0 = wasm_v128_and(w0, nibble), l1 = wasm_v128_and(w1, nibble);
          for (int t = 0; t < N; t++) {
            v128_t four = xs[t][k];
            a[t].add(four, l0, k == 0), c[t].add(four, l1, k == 0);
          }
          v128_t h0 = field<F, 4, true>(w0, nibble), h1 = field<F, 4, true>(w1, nibble);
          for (int t = 0; t < N; t++) {
            v128_t four = xs[t][k + 4];
            (kTwo ? a1 : a)[t].add(four, h0, false), (kTwo ? c1 : c)[t].add(four, h1, false);
          }
        }
        v128_t d0, d1, m0, m1;
        half_scales(at, mask, up, d0, d1);
        if constexpr (Min) half_scales(at + 16, mask, up, m0, m1);
        for (int t = 0; t < N; t++) {
          v128_t scale = ss[t].scale;
          if constexpr (kTwo) a[t].sum = wasm_i32x4_add(a[t].sum, a1[t].sum), c[t].sum = wasm_i32x4_add(c[t].sum, c1[t].sum);
          acc[i][0][t] = madd_f32(wasm_f32x4_convert_i32x4(a[t].total()), wasm_f32x4_mul(d0, scale), acc[i][0][t]);
          acc[i][1][t] = madd_f32(wasm_f32x4_convert_i32x4(c[t].total()), wasm_f32x4_mul(d1, scale), acc[i][1][t]);
          if constexpr (Min) {
            v128_t sum = wasm_f32x4_splat(s[t]->scale * (float)(s[t]->sum8 >> 3));
            acc[i][0][t] = madd_f32(sum, m0, acc[i][0][t]), acc[i][1][t] = madd_f32(sum, m1, acc[i][1][t]);
          }
        }
      }
      for (int t = 0; t < N; t++) x[t] += kBlock, s[t]++;
      first += Min ? 160 : 144;
    }
    for (int i = 0; i < streams; i++)
      for (int t = 0; t < N; t++) put_panel(w, out, token + t, panel + i * each, acc[i][0][t], acc[i][1][t]);
  }
}

template <bool Min>
static void tiles(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  FOR_FORM(form_of(w.kind), tile<N, S, Min, F>(w, in, out, token, begin, each, streams))
}

void int4_wide(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  w.kind == kInt4Min ? tiles<true>(w, in, out, token, n, begin, end) : tiles<false>(w, in, out, token, n, begin, end);
}
