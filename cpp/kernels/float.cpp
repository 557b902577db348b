// Float weights, lanes are rows: column k of a panel is two vectors of four rows.
#include "gemm.h"

template <int Kind>
static inline void column(const uint8_t* at, v128_t mask, v128_t up, v128_t* low, v128_t* high) {
  if constexpr (Kind == kF32) {
    *low = wasm_v128_load(at), *high = wasm_v128_load(at + 16);
  } else if constexpr (Kind == kF16) {
    *low = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at), mask), up),
    *high = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at + 8), mask), up);
  } else {
    *low = wasm_i32x4_shl(wasm_u32x4_load16x4(at), 16), *high = wasm_i32x4_shl(wasm_u32x4_load16x4(at + 8), 16);
  }
}

// P panels by N tokens; the sums of one row never depend on P or N.
template <int Kind, int P, int N>
static void tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin) {
  const int cols = padded_cols(w);
  const size_t step = Kind == kF32 ? 32 : 16, bytes = panel_bytes(w);
  const v128_t mask = held(kHalfMask), up = held(kRaise112);
  const uint8_t* at[P];
  const float* x[N];
  v128_t low[P][N], high[P][N];
  for (int p = 0; p < P; p++) {
    at[p] = panel_at(w, begin) + p * bytes;
    for (int t = 0; t < N; t++) low[p][t] = high[p][t] = wasm_f32x4_const_splat(0);
  }
  for (int t = 0; t < N; t++) x[t] = in.x + (size_t)(token + t) * in.stride;
  for (int k = 0; k < cols; k += 4) {
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; i++)
      for (int p = 0; p < P; p++) {
        v128_t w0, w1;
        column<Kind>(at[p] + i * step, mask, up, &w0, &w1);
        for (int t = 0; t < N; t++) {
          v128_t xs = wasm_v128_load32_splat(x[t] + i);
          low[p][t] = madd_f32(w0, xs, low[p][t]), high[p][t] = madd_f32(w1, xs, high[p][t]);
          pin(low[p][t]), pin(high[p][t]);
        }
      }
    for (int p = 0; p < P; p++) at[p] += 4 * step;
    for (int t = 0; t < N; t++) x[t] += 4;
  }
  for (int p = 0; p < P; p++)
    for (int t = 0; t < N; t++) put_panel(w, out, token + t, begin + p, low[p][t], high[p][t]);
}

// One token: four panels side by side hide the latency of additions, and are four streams (FOR_STREAMS).
template <int Kind>
static void tiles(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  if (n == 1)
    for (; begin + 4 <= end; begin += 4) tile<Kind, 4, 1>(w, in, out, token, begin);
  for (int p = begin; p < end; p++) switch (n) {
      case 1: tile<Kind, 1, 1>(w, in, out, token, p); break;
      case 2: tile<Kind, 1, 2>(w, in, out, token, p); break;
      case 3: tile<Kind, 1, 3>(w, in, out, token, p); break;
      default: tile<Kind, 1, 4>(w, in, out, token, p);
    }
}

void float_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  switch (w.kind) {
    case kF32: return tiles<kF32>(w, in, out, token, n, begin, end);
    case kF16: return tiles<kF16>(w, in, out, token, n, begin, end);
    default: return tiles<kBF16>(w, in, out, token, n, begin, end);
  }
}
