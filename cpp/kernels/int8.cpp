// 8-bit weights, codes 0-255. With the dot of bytes: as two 4-bit digits, code = 16 * high + low, each exact in 16 bits.
#include "gemm.h"

// Codes times x over a block, less the offset 128 (times the sum of x) where Centred.
#ifdef __wasm_relaxed_simd__

template <int N, bool Centred>
KERNEL_PART void block(const uint8_t* codes, const int8_t* const* x, const BlockScale* const* scales, v128_t nibble, v128_t ones,
                       v128_t (&low)[N], v128_t (&high)[N]) {
  v128_t l[2][N], h[2][N];
#pragma clang loop unroll(full)
  for (int j = 0; j < 16; j++) {
    // One or two tokens: both halves of the panel together. More: rows 0-3, then 4-7, which is what the registers hold.
    int half = N > 2 ? j / 8 : j % 2, i = N > 2 ? j % 8 : j / 2;
    v128_t w = wasm_v128_load(codes + 32 * i + 16 * half), wl = wasm_v128_and(w, nibble),
           wh = wasm_v128_and(wasm_u16x8_shr(w, 4), nibble);
    for (int t = 0; t < N; t++) {
      v128_t xs = wasm_v128_load32_splat(x[t] + 4 * i), dl = dot_i8_u7(xs, wl), dh = dot_i8_u7(xs, wh);
      l[half][t] = i ? wasm_i16x8_add(l[half][t], dl) : dl, h[half][t] = i ? wasm_i16x8_add(h[half][t], dh) : dh;
      pin(l[half][t]), pin(h[half][t]);
    }
  }
  for (int t = 0; t < N; t++) {
    v128_t i0 = wasm_i32x4_dot_i16x8(h[0][t], ones), i1 = wasm_i32x4_dot_i16x8(h[1][t], ones);
    if constexpr (Centred) {  // 128 is 16 times 8
      v128_t offset = wasm_v128_load32_splat(&scales[t]->sum8);
      i0 = wasm_i32x4_sub(i0, offset), i1 = wasm_i32x4_sub(i1, offset);
    }
    low[t] = wasm_i32x4_add(wasm_i32x4_shl(i0, 4), wasm_i32x4_dot_i16x8(l[0][t], ones));
    high[t] = wasm_i32x4_add(wasm_i32x4_shl(i1, 4), wasm_i32x4_dot_i16x8(l[1][t], ones));
  }
}
constexpr Held kMask = kLowNibbles;

#else

template <int N, bool Centred>
KERNEL_PART void block(const uint8_t* codes, const int8_t* const* x, const BlockScale* const* scales, v128_t bytes, v128_t,
                       v128_t (&low)[N], v128_t (&high)[N]) {
  for (int t = 0; t < N; t++) low[t] = high[t] = wasm_i32x4_const_splat(0);
#pragma clang loop unroll(disable)
  for (int i = 0; i < 8; i++) {
    v128_t w0 = wasm_v128_load(codes + 32 * i), w1 = wasm_v128_load(codes + 32 * i + 16);
    v128_t e0 = wasm_v128_and(w0, bytes), e1 = wasm_v128_and(w1, bytes), o0 = wasm_u16x8_shr(w0, 8), o1 = wasm_u16x8_shr(w1, 8);
    for (int t = 0; t < N; t++) {
      v128_t xs = wasm_v128_load32_splat(x[t] + 4 * i), even = even_i8(xs), odd = odd_i8(xs);
      low[t] = wasm_i32x4_add(low[t], wasm_i32x4_add(wasm_i32x4_dot_i16x8(e0, even), wasm_i32x4_dot_i16x8(o0, odd)));
      high[t] = wasm_i32x4_add(high[t], wasm_i32x4_add(wasm_i32x4_dot_i16x8(e1, even), wasm_i32x4_dot_i16x8(o1, odd)));
    }
  }
  for (int t = 0; t < N && Centred; t++) {
    v128_t offset = wasm_i32x4_shl(wasm_v128_load32_splat(&scales[t]->sum8), 4);
    low[t] = wasm_i32x4_sub(low[t], offset), high[t] = wasm_i32x4_sub(high[t], offset);
  }
}
constexpr Held kMask = kBytes16;

#endif

template <int N, int S, bool Min>
KERNEL tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int each, int several) {
  const int blocks = padded_cols(w) / kBlock;
  const v128_t part = held(kMask), ones = held(kOnes16), mask = held(kHalfMask), up = held(kRaise112);
  const int streams = S == 1 ? 1 : several;
  const size_t apart = each * panel_bytes(w);
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
      const uint8_t* at = first;
#pragma clang loop unroll(disable)
      for (int i = 0; i < streams; i++, at += apart) {
        v128_t a[N], c[N];
        block<N, !Min>(at + (Min ? 32 : 16), x, s, part, ones, a, c);
        v128_t d0 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at), mask), up),
               d1 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at + 8), mask), up), *sums = acc.of(i);
        for (int t = 0; t < N; t++) {
          v128_t scale = wasm_v128_load32_splat(&s[t]->scale);
          v128_t low = madd_f32(wasm_f32x4_convert_i32x4(a[t]), wasm_f32x4_mul(d0, scale), sums[t]),
                 high = madd_f32(wasm_f32x4_convert_i32x4(c[t]), wasm_f32x4_mul(d1, scale), sums[N + t]);
          if constexpr (Min) {
            v128_t sum = wasm_f32x4_splat(s[t]->scale * (float)(s[t]->sum8 >> 3));
            v128_t m0 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at + 16), mask), up),
                   m1 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at + 24), mask), up);
            low = madd_f32(sum, m0, low), high = madd_f32(sum, m1, high);
          }
          acc.put(sums, t, low, high);
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
  FOR_STREAMS(n, tile<N, S, Min>(w, in, out, token, begin, each, streams))
}

void int8_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  w.kind == kInt8Min ? tiles<true>(w, in, out, token, n, begin, end) : tiles<false>(w, in, out, token, n, begin, end);
}
