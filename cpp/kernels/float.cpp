// Float weights, lanes are rows: column k of a panel is two vectors of four rows.
#include "gemm.h"

template <int Kind>
static inline void column(const uint8_t* at, v128_t* low, v128_t* high) {
  if constexpr (Kind == kF32) {
    *low = wasm_v128_load(at), *high = wasm_v128_load(at + 16);
  } else {
    v128_t h = wasm_v128_load(at);
    if constexpr (Kind == kF16) {
      *low = half_bits(wasm_i32x4_extend_low_i16x8(h)), *high = half_bits(wasm_i32x4_extend_high_i16x8(h));
    } else {
      *low = wasm_i32x4_shl(wasm_u32x4_extend_low_u16x8(h), 16);
      *high = wasm_i32x4_shl(wasm_u32x4_extend_high_u16x8(h), 16);
    }
  }
}

// P panels by N tokens; the sums of one row never depend on P or N.
// Halves arrive scaled by 2^-112: x is raised by 2^64 and the result by 2^48, both exact
// while |x| < 2^63.
template <int Kind, int P, int N>
static void tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin) {
  const int cols = padded_cols(w);
  const size_t step = Kind == kF32 ? 32 : 16, bytes = panel_bytes(w);
  const uint8_t* at = panel_at(w, begin);
  const float* x = in.x + (size_t)token * in.stride;
  const v128_t raise = wasm_f32x4_const_splat(0x1p64f);
  v128_t low[P][N], high[P][N];
  for (int p = 0; p < P; p++)
    for (int t = 0; t < N; t++) low[p][t] = high[p][t] = wasm_f32x4_const_splat(0);
  for (int k = 0; k < cols; k++, at += step) {
    v128_t xs[N];
    for (int t = 0; t < N; t++) {
      xs[t] = wasm_v128_load32_splat(x + (size_t)t * in.stride + k);
      if constexpr (Kind == kF16) xs[t] = wasm_f32x4_mul(xs[t], raise);
    }
    for (int p = 0; p < P; p++) {
      v128_t w0, w1;
      column<Kind>(at + p * bytes, &w0, &w1);
      for (int t = 0; t < N; t++) low[p][t] = madd_f32(w0, xs[t], low[p][t]), high[p][t] = madd_f32(w1, xs[t], high[p][t]);
    }
  }
  const v128_t lift = wasm_f32x4_const_splat(0x1p48f);
  for (int p = 0; p < P; p++)
    for (int t = 0; t < N; t++) {
      if constexpr (Kind == kF16) low[p][t] = wasm_f32x4_mul(low[p][t], lift), high[p][t] = wasm_f32x4_mul(high[p][t], lift);
      put_panel(w, out, token + t, begin + p, low[p][t], high[p][t]);
    }
}

// Eight accumulators hide the latency of an addition: four panels for one token, one panel for four.
template <int Kind>
static void tiles(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  if (n >= 3) {
    for (int p = begin; p < end; p++) n == 3 ? tile<Kind, 1, 3>(w, in, out, token, p) : tile<Kind, 1, 4>(w, in, out, token, p);
    return;
  }
  if (n == 2) {
    for (; begin + 2 <= end; begin += 2) tile<Kind, 2, 2>(w, in, out, token, begin);
    if (begin < end) tile<Kind, 1, 2>(w, in, out, token, begin);
    return;
  }
  for (; begin + 4 <= end; begin += 4) tile<Kind, 4, 1>(w, in, out, token, begin);
  for (; begin < end; begin++) tile<Kind, 1, 1>(w, in, out, token, begin);
}

void float_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  switch (w.kind) {
    case kF32: return tiles<kF32>(w, in, out, token, n, begin, end);
    case kF16: return tiles<kF16>(w, in, out, token, n, begin, end);
    default: return tiles<kBF16>(w, in, out, token, n, begin, end);
  }
}
