// 6-bit weights in the forms of wide.h.
#include "wide.h"

// Codes times x over 16 columns of a row, centred: within 16 * 32 * 127 = 65024, as int32.
template <Form F>
struct Centred {
  Sum<F> sum;
  static KERNEL_PART_METHOD v128_t start(v128_t centre) { return wasm_i32x4_extadd_pairwise_i16x8(centre); }
  KERNEL_PART_METHOD void begin(v128_t from) { sum.begin(from); }
  KERNEL_PART_METHOD v128_t total() const { return sum.total(); }
};
// Pairs of columns, whose sums end within 16 bits whatever they wrapped around in between.
template <>
struct Centred<kExtended> {
  v128_t centre;
  Sum<kExtended> sum;
  static KERNEL_PART_METHOD v128_t start(v128_t centre) { return centre; }
  KERNEL_PART_METHOD void begin(v128_t from) { centre = from; }
  KERNEL_PART_METHOD v128_t total() const { return wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_add(sum.pairs(), centre)); }
};

// Both halves of the panel's rows, of P streams.
template <int N, Form F, int P>
KERNEL_PART void halves(const uint8_t* const (&at)[P], const Fours<F, 32> (&xs)[N], const v128_t (&centres)[N][2], v128_t six,
                        v128_t (&sums)[P][2][N]) {
  constexpr int Halves = 2;
  v128_t scales[P][Halves];
#pragma clang loop unroll(full)
  for (int p = 0; p < P; p++)
    for (int i = 0; i < Halves; i++) scales[p][i] = wasm_i16x8_load8x8(at[p] + 8 * i);  // of columns 0-15 and 16-31, in turns
#pragma clang loop unroll(full)
  for (int s = 0; s < 2; s++) {
    Centred<F> sum[P][Halves][N];
    v128_t upper[P][Halves], w[Halves];
    for (int p = 0; p < P; p++)
      for (int t = 0; t < N; t++)
        for (int i = 0; i < Halves; i++) sum[p][i][t].begin(centres[t][s]);
#pragma clang loop unroll(full)
    for (int c = 0; c < 4; c++) {
#pragma clang loop unroll(full)
      for (int p = 0; p < P; p++) {
        const uint8_t* codes = at[p] + 16 + 96 * s;
#pragma clang loop unroll(full)
        for (int i = 0; i < Halves; i++) {
          if (c == 3) {
            w[i] = wasm_v128_and(upper[p][i], six);
            continue;
          }
          v128_t all = wasm_v128_load(codes + 32 * c + 16 * i), shifted = wasm_u32x4_shr(all, 2 + 2 * c);
          upper[p][i] = c ? wasm_v128_xor(upper[p][i], shifted) : shifted;
          w[i] = wasm_v128_and(all, six);
          pin(upper[p][i]);
        }
#pragma clang loop unroll(full)
        for (int t = 0; t < N; t++) {
          v128_t four = xs[t][4 * s + c];
          for (int i = 0; i < Halves; i++) sum[p][i][t].sum.add(four, w[i], c == 0);
        }
      }
    }
#pragma clang loop unroll(full)
    for (int p = 0; p < P; p++) {
#pragma clang loop unroll(full)
      for (int i = 0; i < Halves; i++) {
        v128_t scale = s ? wasm_i32x4_shr(scales[p][i], 16) : wasm_i32x4_shr(wasm_i32x4_shl(scales[p][i], 16), 16);
        for (int t = 0; t < N; t++) {
          v128_t scaled = wasm_i32x4_mul(sum[p][i][t].total(), scale);
          sums[p][i][t] = s ? wasm_i32x4_add(sums[p][i][t], scaled) : scaled;
        }
      }
    }
  }
}

// What the sums of N tokens begin with, of columns 0-15 and 16-31.
template <int N, Form F>
KERNEL_PART void starts(const BlockCentre* const* from, v128_t (&centres)[N][2]) {
  for (int t = 0; t < N; t++) {
    if constexpr (F == kDot32) {
      for (int s = 0; s < 2; s++) centres[t][s] = Centred<F>::start(wasm_v128_load32_splat(from[t]->centre[s]));
    } else {
      v128_t both = Centred<F>::start(wasm_v128_load64_zero(from[t]));
      centres[t][0] = lane_splat(both, 0), centres[t][1] = lane_splat(both, 1);
    }
  }
}

template <int N, Form F, int P>
KERNEL_PART void block(const uint8_t* const (&at)[P], const int8_t* const* x, const v128_t (&centres)[N][2], v128_t six,
                       v128_t (&sums)[P][2][N]) {
  Fours<F, 32> xs[N];
  for (int t = 0; t < N; t++) xs[t].load(x[t]);
  halves<N, F>(at, xs, centres, six, sums);
}

template <int N, int S, Form F>
KERNEL tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int each, int several) {
  const v128_t six = held(kLowSixes);
  const int streams = S == 1 ? 1 : several;
  constexpr int P = kTogether<N, S, F>;
  const size_t apart = each * panel_bytes(w), next = streams == 1 ? 0 : apart;
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
      const uint8_t* d = first;
      first += 16;
      acc.clear();
#pragma clang loop unroll(disable)
      for (int b = 0; b < kSuper / kBlock; b++) {
        for (int t = 0; t < N; t++) anchor(x[t]), anchor(c[t]);
        v128_t centres[N][2];
        starts<N, F>(c, centres);
        const uint8_t* from = first;
#pragma clang loop unroll(disable)
        for (int i = 0; i < streams; i += P, from += P * apart) {
          const uint8_t* at[P];
          v128_t sums[P][2][N];
          for (int p = 0; p < P; p++) at[p] = from + p * next, anchor(at[p]);
          block<N, F>(at, x, centres, six, sums);
#pragma clang loop unroll(full)
          for (int p = 0; p < P; p++) {
            v128_t* to = acc.of(i + p);
            for (int t = 0; t < N; t++) {
              v128_t scale = wasm_v128_load32_splat(&s[t]->scale), low = to[t], high = to[N + t];
              acc.put(to, t, madd_f32(wasm_f32x4_convert_i32x4(sums[p][0][t]), scale, low),
                      madd_f32(wasm_f32x4_convert_i32x4(sums[p][1][t]), scale, high));
            }
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

void int6_wide(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  FOR_FORM(form_of(w.kind), tile<N, S, F>(w, in, out, token, begin, each, streams))
}
