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

template <int N, Form F, int P>
KERNEL_PART void dots(const uint8_t* const (&at)[P], const int8_t* const* x, v128_t flip, v128_t (&low)[P][N],
                      v128_t (&high)[P][N]) {
  Fours<F, 32> xs[N];
  Sum<F> a[P][N], c[P][N];
  for (int t = 0; t < N; t++) xs[t].load(x[t]);
  for (int p = 0; p < P; p++)
    for (int t = 0; t < N; t++) a[p][t].begin(low[p][t]), c[p][t].begin(high[p][t]);
#pragma clang loop unroll(full)
  for (int i = 0; i < 8; i++) {
#pragma clang loop unroll(full)
    for (int p = 0; p < P; p++) {
      v128_t w0 = wasm_v128_xor(wasm_v128_load(at[p] + 32 * i), flip),
             w1 = wasm_v128_xor(wasm_v128_load(at[p] + 32 * i + 16), flip);
      for (int t = 0; t < N; t++) {
        v128_t four = xs[t][i];
        a[p][t].add(four, w0, false), c[p][t].add(four, w1, false);
      }
    }
  }
  for (int p = 0; p < P; p++)
    for (int t = 0; t < N; t++) low[p][t] = a[p][t].total(), high[p][t] = c[p][t].total();
}

template <int N, int S, bool Min, Form F>
KERNEL tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int each, int several) {
  const int blocks = padded_cols(w) / kBlock;
  const bool turned = F == kExtended || byte_dot() == kSigned;
  // What the sum of x times 128 is taken with: the codes' offset less the one they were turned by.
  const v128_t flip = wasm_i8x16_splat(turned ? -128 : 0), keep = wasm_i32x4_splat(turned == Min ? -1 : 0);
  const v128_t mask = held(kHalfMask), up = held(kRaise112);
  const int streams = S == 1 ? 1 : several;
  constexpr int P = kTogether<N, S, F>;
  const size_t apart = each * panel_bytes(w), next = streams == 1 ? 0 : apart;
  const uint8_t* first = panel_at(w, begin);
  for (int panel = begin; panel < begin + each; panel++) {
    const int8_t* x[N];
    const BlockScale* s[N];
    StreamSums<N, S> acc;
    acc.clear();
    for (int t = 0; t < N; t++) {
      x[t] = in.q + (size_t)(token + t) * in.stride, s[t] = in.scales + (size_t)(token + t) * (in.stride / kBlock);
    }
    for (int b = 0; b < blocks; b++) {
      ScaleAndSum<F> ss[N];
      for (int t = 0; t < N; t++) anchor(x[t]), anchor(s[t]), ss[t].load(s[t]);
      const uint8_t* from = first;
#pragma clang loop unroll(disable)
      for (int i = 0; i < streams; i += P, from += P * apart) {
        const uint8_t *at[P], *codes[P];
        v128_t a[P][N], c[P][N], *sums[P];
        for (int p = 0; p < P; p++) {
          at[p] = from + p * next, sums[p] = acc.of(i + p);
          anchor(at[p]);
          codes[p] = at[p] + (Min ? 32 : 16);
          for (int t = 0; t < N; t++) {
            v128_t sum = wasm_v128_and(wasm_i32x4_shl(ss[t].sum8, 4), keep);
            a[p][t] = c[p][t] = Min ? sum : wasm_i32x4_neg(sum);
          }
        }
        if constexpr (F == kExtended) extended<N>(codes[0], x, flip, a[0], c[0]);
        else dots<N, F>(codes, x, flip, a, c);
#pragma clang loop unroll(full)
        for (int p = 0; p < P; p++) {
          v128_t d0, d1, m0 = {}, m1 = {};
          half_scales(at[p], mask, up, d0, d1);
          if constexpr (Min) half_scales(at[p] + 16, mask, up, m0, m1);
          for (int t = 0; t < N; t++) {
            v128_t low = sums[p][t], high = sums[p][N + t];
            take_block<Min>(a[p][t], c[p][t], d0, d1, m0, m1, ss[t].scale, s[t], low, high);
            acc.put(sums[p], t, low, high);
          }
        }
      }
      for (int t = 0; t < N; t++) x[t] += kBlock, s[t]++;
      first += Min ? 288 : 272;
    }
    for (int i = 0; i < streams; i++)
      for (int t = 0; t < N; t++) put_panel(w, out, token + t, panel + i * each, acc.all[i][t], acc.all[i][N + t]);
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
