// 4-bit weights: each code is the 7-bit operand of the dot, unsigned, corrected by the sum of x.
#include "gemm.h"

// Codes times x over a block, for rows 0-3 and 4-7 of N tokens: pairs of int16 to be widened, or int32.
#ifdef __wasm_relaxed_simd__

// 16-bit accumulation is exact: 8 dots of 2 products, 8 * 2 * 15 * 127 = 30480 < 32768.
// The low nibbles of all tokens come first: fewer operands are alive at once.
template <int N>
KERNEL_PART void block(const uint8_t* codes, const int8_t* const* x, v128_t nibble, v128_t (&low)[N], v128_t (&high)[N]) {
#pragma clang loop unroll(full)
  for (int i = 0; i < 4; i++) {
    v128_t w0 = wasm_v128_load(codes + 32 * i), w1 = wasm_v128_load(codes + 32 * i + 16);
    v128_t l0 = wasm_v128_and(w0, nibble), l1 = wasm_v128_and(w1, nibble);
    for (int t = 0; t < N; t++) {
      v128_t xs = wasm_v128_load32_splat(x[t] + 4 * i), d0 = dot_i8_u7(xs, l0), d1 = dot_i8_u7(xs, l1);
      low[t] = i ? wasm_i16x8_add(low[t], d0) : d0, high[t] = i ? wasm_i16x8_add(high[t], d1) : d1;
      pin(low[t]), pin(high[t]);
    }
    v128_t h0 = wasm_v128_and(wasm_u16x8_shr(w0, 4), nibble), h1 = wasm_v128_and(wasm_u16x8_shr(w1, 4), nibble);
    for (int t = 0; t < N; t++) {
      v128_t xs = wasm_v128_load32_splat(x[t] + 4 * i + 16), d0 = dot_i8_u7(xs, h0), d1 = dot_i8_u7(xs, h1);
      low[t] = wasm_i16x8_add(low[t], d0), high[t] = wasm_i16x8_add(high[t], d1);
      pin(low[t]), pin(high[t]);
    }
  }
}
static inline v128_t widen(v128_t a, v128_t ones) { return wasm_i32x4_dot_i16x8(a, ones); }
constexpr Held kMask = kLowNibbles;

#else

// Without the dot of bytes: one nibble of each 16-bit lane at a time. A rolled loop, which the registers hold, is fastest.
template <int N>
KERNEL_PART void block(const uint8_t* codes, const int8_t* const* x, v128_t nibble, v128_t (&low)[N], v128_t (&high)[N]) {
  for (int t = 0; t < N; t++) low[t] = high[t] = wasm_i32x4_const_splat(0);
#pragma clang loop unroll(disable)
  for (int i = 0; i < 4; i++) {
    v128_t w0 = wasm_v128_load(codes + 32 * i), w1 = wasm_v128_load(codes + 32 * i + 16);
#pragma clang loop unroll(full)
    for (int h = 0; h < 2; h++) {
      v128_t e0 = wasm_v128_and(h ? wasm_u16x8_shr(w0, 4) : w0, nibble),
             e1 = wasm_v128_and(h ? wasm_u16x8_shr(w1, 4) : w1, nibble);
      v128_t o0 = wasm_u16x8_shr(w0, 8 + 4 * h), o1 = wasm_u16x8_shr(w1, 8 + 4 * h);
      if (h == 0) o0 = wasm_v128_and(o0, nibble), o1 = wasm_v128_and(o1, nibble);
      for (int t = 0; t < N; t++) {
        v128_t xs = wasm_v128_load32_splat(x[t] + 4 * i + 16 * h), even = even_i8(xs), odd = odd_i8(xs);
        v128_t d0 = wasm_i32x4_add(wasm_i32x4_dot_i16x8(e0, even), wasm_i32x4_dot_i16x8(o0, odd));
        v128_t d1 = wasm_i32x4_add(wasm_i32x4_dot_i16x8(e1, even), wasm_i32x4_dot_i16x8(o1, odd));
        low[t] = wasm_i32x4_add(low[t], d0), high[t] = wasm_i32x4_add(high[t], d1);
      }
    }
  }
}
static inline v128_t widen(v128_t a, v128_t) { return a; }
constexpr Held kMask = kNibbles16;

#endif

template <int N, int S, bool Min>
KERNEL tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int each, int several) {
  const int blocks = padded_cols(w) / kBlock;
  const v128_t nibble = held(kMask), ones = held(kOnes16), mask = held(kHalfMask), up = held(kRaise112);
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
        block<N>(at + (Min ? 32 : 16), x, nibble, a, c);
        v128_t d0 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at), mask), up),
               d1 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at + 8), mask), up), *sums = acc.of(i);
        for (int t = 0; t < N; t++) {
          v128_t i0 = widen(a[t], ones), i1 = widen(c[t], ones), scale = wasm_v128_load32_splat(&s[t]->scale);
          if constexpr (!Min) {
            v128_t offset = wasm_v128_load32_splat(&s[t]->sum8);
            i0 = wasm_i32x4_sub(i0, offset), i1 = wasm_i32x4_sub(i1, offset);
          }
          v128_t low = madd_f32(wasm_f32x4_convert_i32x4(i0), wasm_f32x4_mul(d0, scale), sums[t]),
                 high = madd_f32(wasm_f32x4_convert_i32x4(i1), wasm_f32x4_mul(d1, scale), sums[N + t]);
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
      first += Min ? 160 : 144;
    }
    for (int i = 0; i < streams; i++)
      for (int t = 0; t < N; t++) put_panel(w, out, token + t, panel + i * each, acc.all[i][t], acc.all[i][N + t]);
  }
}

template <bool Min>
static void tiles(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  FOR_STREAMS(n, tile<N, S, Min>(w, in, out, token, begin, each, streams))
}

void int4_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  w.kind == kInt4Min ? tiles<true>(w, in, out, token, n, begin, end) : tiles<false>(w, in, out, token, n, begin, end);
}
