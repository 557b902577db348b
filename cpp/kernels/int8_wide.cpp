// 8-bit weights in the forms of wide.h. A byte is more than the 7 bits that i32x4.relaxed_dot_add defines, but what a machine makes of
// the eighth is fixed: a sign (then codes are turned into code - 128) or a value (then they are taken as they are). Machines
// on which it is neither compute in 16 bits.
#include "wide.h"

// Signed products, 128 * 127 at most: sums of two stay within 16 bits.
template <int N>
KERNEL_PART void extended(const uint8_t* codes, const int8_t* const* x, v128_t flip, v128_t (&low)[N], v128_t (&high)[N]) {
  Fours<kExtended, 32> xs[N];
  v128_t sum[2][2][N];
  for (int t = 0; t < N; t++) {
    xs[t].load(x[t]);
    sum[0][0][t] = sum[0][1][t] = sum[1][0][t] = sum[1][1][t] = wasm_i32x4_const_splat(0);
  }
#pragma clang loop unroll(full)
  for (int j = 0; j < 8; j++) {
    // One or two tokens: both halves of the panel together. More: rows 0-3, then 4-7, which is what the registers hold.
    int h = N > 2 ? j / 4 : j % 2, i = N > 2 ? j % 4 * 2 : j / 2 * 2;
    v128_t w0 = wasm_v128_xor(wasm_v128_load(codes + 32 * i + 16 * h), flip),
           w1 = wasm_v128_xor(wasm_v128_load(codes + 32 * i + 32 + 16 * h), flip);
#pragma clang loop unroll(full)
    for (int t = 0; t < N; t++) {
      v128_t a = wasm_i16x8_add(wasm_i16x8_extmul_low_i8x16(xs[t][i], w0), wasm_i16x8_extmul_low_i8x16(xs[t][i + 1], w1));
      v128_t b = wasm_i16x8_add(wasm_i16x8_extmul_high_i8x16(xs[t][i], w0), wasm_i16x8_extmul_high_i8x16(xs[t][i + 1], w1));
      sum[h][0][t] = wasm_i32x4_add(sum[h][0][t], wasm_i32x4_extadd_pairwise_i16x8(a)),
      sum[h][1][t] = wasm_i32x4_add(sum[h][1][t], wasm_i32x4_extadd_pairwise_i16x8(b));
      pin(sum[h][0][t]), pin(sum[h][1][t]);
    }
  }
  for (int t = 0; t < N; t++) {
    auto rows = [&](v128_t(&part)[2][N]) {
      return wasm_i32x4_add(wasm_i32x4_shuffle(part[0][t], part[1][t], 0, 2, 4, 6),
                            wasm_i32x4_shuffle(part[0][t], part[1][t], 1, 3, 5, 7));
    };
    low[t] = wasm_i32x4_add(low[t], rows(sum[0])), high[t] = wasm_i32x4_add(high[t], rows(sum[1]));
  }
}

template <int N, Form F>
KERNEL_PART void dots(const uint8_t* codes, const int8_t* const* x, v128_t flip, v128_t (&low)[N], v128_t (&high)[N]) {
  Fours<F, 32> xs[N];
  Sum<F> a[N], c[N];
  for (int t = 0; t < N; t++) xs[t].load(x[t]), a[t].begin(low[t]), c[t].begin(high[t]);
#pragma clang loop unroll(full)
  for (int i = 0; i < 8; i++) {
    v128_t w0 = wasm_v128_xor(wasm_v128_load(codes + 32 * i), flip),
           w1 = wasm_v128_xor(wasm_v128_load(codes + 32 * i + 16), flip);
    for (int t = 0; t < N; t++) {
      v128_t four = xs[t][i];
      a[t].add(four, w0, false), c[t].add(four, w1, false);
    }
  }
  for (int t = 0; t < N; t++) low[t] = a[t].total(), high[t] = c[t].total();
}

template <int N, int S, bool Min, Form F>
KERNEL tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int each, int several) {
  const int blocks = padded_cols(w) / kBlock;
  const bool turned = F == kExtended || byte_dot() == kSigned;
  // What the sum of x times 128 is taken with: the codes' offset less the one they were turned by.
  const v128_t flip = wasm_i8x16_splat(turned ? -128 : 0), keep = wasm_i32x4_splat(turned == Min ? -1 : 0);
  const v128_t mask = held(kHalfMask), up = held(kRaise112);
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
      ScaleAndSum<F> ss[N];
      for (int t = 0; t < N; t++) anchor(x[t]), anchor(s[t]), ss[t].load(s[t]);
      const uint8_t* at = first;
#pragma clang loop unroll(disable)
      for (int i = 0; i < streams; i++, at += apart) {
        v128_t a[N], c[N], d0, d1, m0, m1;
        anchor(at);
        for (int t = 0; t < N; t++) {
          v128_t sum = wasm_v128_and(wasm_i32x4_shl(ss[t].sum8, 4), keep);
          a[t] = c[t] = Min ? sum : wasm_i32x4_neg(sum);
        }
        if constexpr (F == kExtended) extended<N>(at + (Min ? 32 : 16), x, flip, a, c);
        else dots<N, F>(at + (Min ? 32 : 16), x, flip, a, c);
        half_scales(at, mask, up, d0, d1);
        if constexpr (Min) half_scales(at + 16, mask, up, m0, m1);
        for (int t = 0; t < N; t++) {
          v128_t scale = ss[t].scale;
          acc[i][0][t] = madd_f32(wasm_f32x4_convert_i32x4(a[t]), wasm_f32x4_mul(d0, scale), acc[i][0][t]);
          acc[i][1][t] = madd_f32(wasm_f32x4_convert_i32x4(c[t]), wasm_f32x4_mul(d1, scale), acc[i][1][t]);
          if constexpr (Min) {
            v128_t sum = wasm_f32x4_splat(s[t]->scale * (float)(s[t]->sum8 >> 3));
            acc[i][0][t] = madd_f32(sum, m0, acc[i][0][t]), acc[i][1][t] = madd_f32(sum, m1, acc[i][1][t]);
          }
        }
      }
      for (int t = 0; t < N; t++) x[t] += kBlock, s[t]++;
      first += Min ? 288 : 272;
    }
    for (int i = 0; i < streams; i++)
      for (int t = 0; t < N; t++) put_panel(w, out, token + t, panel + i * each, acc[i][0][t], acc[i][1][t]);
  }
}

template <bool Min>
static void tiles(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  FOR_FORM(form_of(w.kind), tile<N, S, Min, F>(w, in, out, token, begin, each, streams))
}

void int8_wide(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  if (form_of(w.kind) != kExtended && byte_dot() == kNeither) return int8_gemm(w, in, out, token, n, begin, end);
  w.kind == kInt8Min ? tiles<true>(w, in, out, token, n, begin, end) : tiles<false>(w, in, out, token, n, begin, end);
}
