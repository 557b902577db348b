// Ternary weights in the forms of wide.h.
#include "wide.h"

// Sums of codes times x of rows 0-3 or 4-7. A code is one of four fields of 2 bits. Where registers allow, fields 1 and 2 stay where they
// are in their bytes, so that a mask is enough, and are summed apart, 4 and 16 times too large. 16 bits have no room for that: there a
// lane sums 64 products, and then two lanes, 2 * 64 * 2 * 127 = 32512.
template <int N, Form F>
struct Fields {
  static constexpr int kApart = F == kExtended ? 0 : F == kDot32 ? (N == 1 ? 2 : 0) : N <= 2 ? 2 : 1;
  // A chain of dots waits for each of them, five clocks on x86: field 3 has a sum of its own where registers allow.
  static constexpr bool kOwn = F == kDot32 && N == 1;
  Sum<F> sum, four, sixteen, last;

  KERNEL_PART_METHOD void begin() {
    sum.begin(wasm_i32x4_const_splat(0)), four.begin(wasm_i32x4_const_splat(0)), sixteen.begin(wasm_i32x4_const_splat(0)),
        last.begin(wasm_i32x4_const_splat(0));
    if constexpr (F == kExtended) sum.low = sum.high = wasm_i16x8_const_splat(0);
  }
  static KERNEL_PART_METHOD v128_t code(int f, v128_t w, const v128_t (&masks)[3]) {
    if (f <= kApart) return wasm_v128_and(w, masks[f]);
    return f == 1 ? field<F, 2, false>(w, masks[0]) : f == 2 ? field<F, 4, false>(w, masks[0]) : field<F, 6, true>(w, masks[0]);
  }
  KERNEL_PART_METHOD void add(int f, v128_t x, v128_t code) {
    (f == 1 && kApart > 0 ? four : f == 2 && kApart > 1 ? sixteen : f == 3 && kOwn ? last : sum).add(x, code, false);
  }
  KERNEL_PART_METHOD v128_t total() const {
    v128_t all = sum.total();
    if constexpr (kApart > 0) all = wasm_i32x4_add(all, wasm_i32x4_shr(four.total(), 2));
    if constexpr (kApart > 1) all = wasm_i32x4_add(all, wasm_i32x4_shr(sixteen.total(), 4));
    if constexpr (kOwn) all = wasm_i32x4_add(all, last.total());
    return all;
  }
};

// 16 columns of all rows.
template <int N, Form F>
KERNEL_PART void add(Fields<N, F> (&low)[N], Fields<N, F> (&high)[N], const Fours<F, 16> (&xs)[N], v128_t w0, v128_t w1,
                     const v128_t (&masks)[3]) {
#pragma clang loop unroll(full)
  for (int f = 0; f < 4; f++) {
    v128_t c0 = Fields<N, F>::code(f, w0, masks), c1 = Fields<N, F>::code(f, w1, masks);
    for (int t = 0; t < N; t++) {
      v128_t four = xs[t][f];
      low[t].add(f, four, c0), high[t].add(f, four, c1);
    }
  }
}

template <int N, int S, Form F>
KERNEL tile(const Tensor& w, const Inputs& in, const Output& out, int token, int begin, int each, int several) {
  const int block = in.ternary_block, per_group = w.group / block, halves = block / 16, groups = padded_cols(w) / w.group;
  const v128_t masks[3] = {held(kLowPairs), held(kPairs1), held(kPairs2)}, mask = held(kHalfMask), up = held(kRaise112);
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
        v128_t d0, d1, *sums = acc.of(k);
        half_scales(at, mask, up, d0, d1);
        at += 16;
        for (int i = 0; i < per_group; i++) {
          Fields<N, F> a[N], c[N];
          // All from zero: V8's re-vectoriser does not fuse what a loop begins with one value.
          for (int t = 0; t < N; t++) a[t].begin(), c[t].begin();
#pragma clang loop unroll(disable)
          for (int half = 0; half < halves; half += 2, at += 64) {
            Fours<F, 16> xs[N];
            anchor(at);
#pragma clang loop unroll(full)
            for (int h = 0; h < 2; h++) {
              v128_t w0 = wasm_v128_load(at + 32 * h), w1 = wasm_v128_load(at + 32 * h + 16);
              for (int t = 0; t < N; t++) anchor(x[t]), xs[t].load(x[t] + 16 * h);
              add<N, F>(a, c, xs, w0, w1, masks);
            }
            for (int t = 0; t < N; t++) x[t] += 32;
          }
          for (int t = 0; t < N; t++, s[t - 1]++) {
            ScaleAndSum<F> both;
            both.load(s[t]);
            v128_t scale = both.scale, sum = wasm_i32x4_shr(both.sum8, 3);
            v128_t i0 = wasm_i32x4_sub(a[t].total(), sum), i1 = wasm_i32x4_sub(c[t].total(), sum);
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

void ternary_wide(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end) {
  FOR_FORM(form_of(w.kind), tile<N, S, F>(w, in, out, token, begin, each, streams))
}
