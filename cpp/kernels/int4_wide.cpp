// 4-bit weights in the forms of wide.h.
#include "wide.h"

// Bytes: a dot takes the eighth bit as a value, so that upper nibbles stay where they are and are summed 16 times too large.
template <int N, int S, bool Min, Form F, bool Bytes>
KERNEL tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int each, int several) {
  constexpr int P = kTogether<N, S, F>;
  constexpr bool kTwo = F == kDot32 && N == 1, kBytes = kTwo && Bytes;
  const int blocks = padded_cols(w) / kBlock;
  const v128_t nibble = held(kLowNibbles), mask = held(kHalfMask), up = held(kRaise112);
  const int streams = S == 1 ? 1 : several;
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
      Fours<F, 32> xs[N];
      ScaleAndSum<F> ss[N];
      for (int t = 0; t < N; t++) anchor(x[t]), anchor(s[t]), xs[t].load(x[t]), ss[t].load(s[t]);
      const uint8_t* from = first;
#pragma clang loop unroll(disable)
      for (int i = 0; i < streams; i += P, from += P * apart) {
        Sum<F> a[P][N], c[P][N], a1[P][N], c1[P][N];
        const uint8_t* at[P];
        v128_t* sums[P];
        for (int p = 0; p < P; p++) {
          at[p] = from + p * next, sums[p] = acc.of(i + p);
          anchor(at[p]);
          for (int t = 0; t < N; t++) {
            v128_t start = Min ? wasm_i32x4_const_splat(0) : wasm_i32x4_neg(ss[t].sum8);
            a[p][t].begin(start), c[p][t].begin(start);
            if constexpr (kTwo) a1[p][t].begin(wasm_i32x4_const_splat(0)), c1[p][t].begin(wasm_i32x4_const_splat(0));
          }
        }
#pragma clang loop unroll(full)
        for (int k = 0; k < 4; k++) {
#pragma clang loop unroll(full)
          for (int p = 0; p < P; p++) {
            const uint8_t* codes = at[p] + (Min ? 32 : 16) + 32 * k;
            v128_t w0 = wasm_v128_load(codes), w1 = wasm_v128_load(codes + 16);
            v128_t l0 = wasm_v128_and(w0, nibble), l1 = wasm_v128_and(w1, nibble);
            for (int t = 0; t < N; t++) {
              v128_t four = xs[t][k];
              a[p][t].add(four, l0, k == 0), c[p][t].add(four, l1, k == 0);
            }
            v128_t h0 = kBytes ? wasm_v128_andnot(w0, nibble) : field<F, 4, true>(w0, nibble),
                   h1 = kBytes ? wasm_v128_andnot(w1, nibble) : field<F, 4, true>(w1, nibble);
            for (int t = 0; t < N; t++) {
              v128_t four = xs[t][k + 4];
              (kTwo ? a1 : a)[p][t].add(four, h0, false), (kTwo ? c1 : c)[p][t].add(four, h1, false);
            }
          }
        }
#pragma clang loop unroll(full)
        for (int p = 0; p < P; p++) {
          v128_t d0, d1, m0 = {}, m1 = {};
          half_scales(at[p], mask, up, d0, d1);
          if constexpr (Min) half_scales(at[p] + 16, mask, up, m0, m1);
          for (int t = 0; t < N; t++) {
            Sum<F>&i0 = a[p][t], &i1 = c[p][t];
            if constexpr (kBytes) a1[p][t].sum = wasm_i32x4_shr(a1[p][t].sum, 4), c1[p][t].sum = wasm_i32x4_shr(c1[p][t].sum, 4);
            if constexpr (kTwo) i0.sum = wasm_i32x4_add(i0.sum, a1[p][t].sum), i1.sum = wasm_i32x4_add(i1.sum, c1[p][t].sum);
            v128_t low = sums[p][t], high = sums[p][N + t];
            take_block<Min>(i0.total(), i1.total(), d0, d1, m0, m1, ss[t].scale, s[t], low, high);
            acc.put(sums[p], t, low, high);
          }
        }
      }
      for (int t = 0; t < N; t++) x[t] += kBlock, s[t]++;
      first += Min ? 160 : 144;
    }
    for (int i = 0; i < streams; i++)
      for (int t = 0; t < N; t++) put_panel(w, out, token + t, panel + i * each, acc.all[i][t], acc.all[i][N + t]);
  }
}

template <bool Min>
static void tiles(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
#ifdef __wasm_relaxed_simd__
  if (n == 1 && form_of(w.kind) == kDot32 && byte_dot() == kUnsigned)
    IN_STREAMS(tile<N, S, Min, kDot32, true>(w, in, out, token, begin, each, streams))
#endif
  FOR_FORM(form_of(w.kind), tile<N, S, Min, F, false>(w, in, out, token, begin, each, streams))
}

void int4_wide(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  w.kind == kInt4Min ? tiles<true>(w, in, out, token, n, begin, end) : tiles<false>(w, in, out, token, n, begin, end);
}
