// Ternary weights as 2-bit codes 0, 1, 2; the sum of x takes back the offset of 1.
#include "gemm.h"

// 16-bit accumulation is exact over 256 columns: 64 dots of 2 products, 64 * 2 * 2 * 127 = 32512 < 32768.
template <int N, int S>
KERNEL tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int each, int several) {
  const int block = in.ternary_block, per_group = w.group / block, halves = block / 16, groups = padded_cols(w) / w.group;
  const v128_t pairs = held(kLowPairs), ones = held(kOnes16), mask = held(kHalfMask), up = held(kRaise112);
  const int streams = S == 1 ? 1 : several, group_bytes = 16 + w.group / kBlock * 64;
  const size_t apart = each * panel_bytes(w);
  const uint8_t* first = panel_at(w, begin);
  for (int panel = begin; panel < begin + each; panel++) {
    const int8_t* row[N];
    const BlockScale* scales[N];
    StreamSums<N, S> acc;
    acc.clear();
    for (int t = 0; t < N; t++) {
      row[t] = in.tq + (size_t)(token + t) * in.stride, scales[t] = in.tscales + (size_t)(token + t) * (in.stride / block);
    }
    for (int g = 0; g < groups; g++, first += group_bytes) {
      const uint8_t* from = first;
#pragma clang loop unroll(disable)
      for (int k = 0; k < streams; k++, from += apart) {
        const uint8_t* at = from;
        const int8_t* x[N];
        const BlockScale* s[N];
        for (int t = 0; t < N; t++) x[t] = row[t], s[t] = scales[t];
        v128_t d0 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at), mask), up),
               d1 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at + 8), mask), up), *sums = acc.of(k);
        at += 16;
        for (int i = 0; i < per_group; i++) {
          v128_t a[N], c[N];
          for (int t = 0; t < N; t++) a[t] = c[t] = wasm_i16x8_const_splat(0);
          for (int half = 0; half < halves; half++, at += 32) {  // 16 columns at a time
            v128_t w0 = wasm_v128_load(at), w1 = wasm_v128_load(at + 16);
#pragma clang loop unroll(full)
            for (int field = 0; field < 4; field++) {
              v128_t c0 = wasm_v128_and(field ? wasm_u16x8_shr(w0, 2 * field) : w0, pairs),
                     c1 = wasm_v128_and(field ? wasm_u16x8_shr(w1, 2 * field) : w1, pairs);
              for (int t = 0; t < N; t++) {
                v128_t xs = wasm_v128_load32_splat(x[t] + 4 * field);
                a[t] = wasm_i16x8_add(a[t], dot_i8_u7(xs, c0)), c[t] = wasm_i16x8_add(c[t], dot_i8_u7(xs, c1));
                pin(a[t]), pin(c[t]);
              }
            }
            for (int t = 0; t < N; t++) x[t] += 16;
          }
          for (int t = 0; t < N; t++, s[t - 1]++) {
            v128_t sum = wasm_i32x4_shr(wasm_v128_load32_splat(&s[t]->sum8), 3), scale = wasm_v128_load32_splat(&s[t]->scale);
            v128_t i0 = wasm_i32x4_sub(wasm_i32x4_dot_i16x8(a[t], ones), sum),
                   i1 = wasm_i32x4_sub(wasm_i32x4_dot_i16x8(c[t], ones), sum);
            v128_t low = sums[t], high = sums[N + t];
            acc.put(sums, t, madd_f32(wasm_f32x4_convert_i32x4(i0), wasm_f32x4_mul(d0, scale), low),
                    madd_f32(wasm_f32x4_convert_i32x4(i1), wasm_f32x4_mul(d1, scale), high));
          }
        }
      }
      for (int t = 0; t < N; t++) row[t] += w.group, scales[t] += per_group;
    }
    for (int k = 0; k < streams; k++)
      for (int t = 0; t < N; t++) put_panel(w, out, token + t, panel + k * each, acc.all[k][t], acc.all[k][N + t]);
  }
}

void ternary_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
#ifdef __wasm_relaxed_simd__
  FOR_STREAMS(n, tile<N, S>(w, in, out, token, begin, each, streams))
#else
  // A group takes so long that one stream is read ahead in time. With four, this product alone took 1.3 to 1.7 times as long on x86, and a
  // whole token of a ternary model 1.2.
  FOR_ONE_STREAM(n, tile<N, S>(w, in, out, token, begin, each, streams))
#endif
}
