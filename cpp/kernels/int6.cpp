// 6-bit weights: each code is the 7-bit operand of the dot. A 16-bit lane sums four dots and starts from what centres its
// codes (BlockCentre), so that it ends within 4 * 2 * 32 * 127 = 32512 < 32768, whatever it wrapped around in between. The
// instruction that widens the sums multiplies them by the int8 scales.
#include "gemm.h"

// Codes times x over a block of 32 columns, scaled by the int8 scales: rows 0-3 and 4-7 of N tokens. At most
// 2 * 128 * 16 * 32 * 127 < 2^24: exact as float32 as well.
template <int N>
KERNEL_PART void block(const uint8_t* at, const int8_t* const* x, const BlockCentre* const* centres, v128_t six,
                       v128_t (&sums)[2][N]) {
#pragma clang loop unroll(full)
  for (int s = 0; s < 2; s++) {
    const uint8_t* codes = at + 16 + 96 * s;
    v128_t sum[2][N], upper[2], w[2];
    for (int t = 0; t < N; t++)
      for (int h = 0; h < 2; h++) sum[h][t] = wasm_v128_load32_splat(centres[t]->centre[s]);
#pragma clang loop unroll(full)
    for (int c = 0; c < 4; c++) {
      for (int h = 0; h < 2; h++) {
        if (c == 3) {
          w[h] = wasm_v128_and(upper[h], six);
          continue;
        }
        v128_t all = wasm_v128_load(codes + 32 * c + 16 * h), shifted = wasm_u32x4_shr(all, 2 + 2 * c);
        upper[h] = c ? wasm_v128_xor(upper[h], shifted) : shifted;
        w[h] = wasm_v128_and(all, six);
        pin(upper[h]);
      }
      for (int t = 0; t < N; t++) {
        v128_t xs = wasm_v128_load32_splat(x[t] + 16 * s + 4 * c);
        for (int h = 0; h < 2; h++) sum[h][t] = wasm_i16x8_add(sum[h][t], dot_i8_u7(xs, w[h]));
        for (int h = 0; h < 2; h++) pin(sum[h][t]);
      }
    }
    v128_t scale[2];
    for (int h = 0; h < 2; h++) {
      // Into both 16-bit lanes of the row, without shuffles, which V8's re-vectoriser leaves alone.
      v128_t both = wasm_u32x4_load16x4(at + 8 * h);
      both = wasm_v128_or(both, wasm_i32x4_shl(both, 16));
      scale[h] = s ? odd_i8(both) : even_i8(both);
    }
    for (int t = 0; t < N; t++)
      for (int h = 0; h < 2; h++) {
        v128_t scaled = wasm_i32x4_dot_i16x8(sum[h][t], scale[h]);
        sums[h][t] = s ? wasm_i32x4_add(sums[h][t], scaled) : scaled;
      }
  }
}

template <int N, int S>
KERNEL tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int each, int several) {
  const v128_t six = held(kLowSixes);
  const int streams = S == 1 ? 1 : several;
  const size_t apart = each * panel_bytes(w);
  const uint8_t* first = panel_at(w, begin);
  for (int panel = begin; panel < begin + each; panel++) {
    const int8_t* x[N];
    const BlockScale* s[N];
    const BlockCentre* c[N];
    StreamSums<N, S> total;
    total.clear();
    for (int t = 0; t < N; t++) {
      x[t] = in.q + (size_t)(token + t) * in.stride, s[t] = in.scales + (size_t)(token + t) * (in.stride / kBlock);
      c[t] = in.centres + (size_t)(token + t) * (in.stride / kBlock);
    }
    for (int super = 0; super < w.cols / kSuper; super++) {
      StreamSums<N, S> acc;
      v128_t sums[2][N];
      const uint8_t* d = first;
      first += 16;
      acc.clear();
#pragma clang loop unroll(disable)
      for (int b = 0; b < kSuper / kBlock; b++) {
        const uint8_t* at = first;
#pragma clang loop unroll(disable)
        for (int i = 0; i < streams; i++, at += apart) {
          block<N>(at, x, c, six, sums);
          v128_t* to = acc.of(i);
          for (int t = 0; t < N; t++) {
            v128_t scale = wasm_v128_load32_splat(&s[t]->scale), low = to[t], high = to[N + t];
            acc.put(to, t, madd_f32(wasm_f32x4_convert_i32x4(sums[0][t]), scale, low),
                    madd_f32(wasm_f32x4_convert_i32x4(sums[1][t]), scale, high));
          }
        }
        for (int t = 0; t < N; t++) x[t] += kBlock, s[t]++, c[t]++;
        first += 208;
      }
      for (int i = 0; i < streams; i++, d += apart) {
        v128_t d0 = half_values(wasm_i32x4_load16x4(d)), d1 = half_values(wasm_i32x4_load16x4(d + 8));
        v128_t *part = acc.of(i), *to = total.of(i);
        for (int t = 0; t < N; t++) total.put(to, t, madd_f32(part[t], d0, to[t]), madd_f32(part[N + t], d1, to[N + t]));
      }
    }
    for (int i = 0; i < streams; i++)
      for (int t = 0; t < N; t++) put_panel(w, out, token + t, panel + i * each, total.all[i][t], total.all[i][N + t]);
  }
}

void int6_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  FOR_STREAMS(n, tile<N, S>(w, in, out, token, begin, each, streams))
}
