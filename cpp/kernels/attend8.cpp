#include "attend8.h"
#include "../model/kv.h"
#include "gemm.h"

// Codes are 16-bit numbers, or (Bytes) those of weights a byte, and those of queries their upper and lower seven bits apart.
#if defined(__wasm_relaxed_simd__) && !defined(CPM_ONE_FORM)
constexpr bool kHasBytes = true;
#else
constexpr bool kHasBytes = false;
#endif
static inline bool bytes() { return kHasBytes && form_of(kCache8) != kDot16; }

// nearest_even(x * scale) of 16 numbers, below 2^15 then, as numbers of 16 bits.
KERNEL_PART void whole_numbers(const v128_t (&x)[4], v128_t scale, v128_t& a, v128_t& b) {
  const v128_t round = held(kRounding);
  v128_t whole[4];
  for (int i = 0; i < 4; i++) whole[i] = wasm_i32x4_sub(wasm_f32x4_add(wasm_f32x4_mul(x[i], scale), round), round);
  a = wasm_i16x8_narrow_i32x4(whole[0], whole[1]), b = wasm_i16x8_narrow_i32x4(whole[2], whole[3]);
}

// Codes of a query: of every four numbers 8 bytes, as 16-bit numbers or the upper and then lower parts of what is `raise` more.
template <bool Bytes>
KERNEL_PART void put_codes(const v128_t (&x)[4], v128_t scale, v128_t raise, uint8_t* to) {
  v128_t a, b;
  whole_numbers(x, scale, a, b);
  if constexpr (Bytes) {
    const v128_t seven = wasm_i16x8_const_splat(127);
    a = wasm_i16x8_add(a, raise), b = wasm_i16x8_add(b, raise);
    v128_t high = wasm_u8x16_narrow_i16x8(wasm_u16x8_shr(a, 7), wasm_u16x8_shr(b, 7));
    v128_t low = wasm_u8x16_narrow_i16x8(wasm_v128_and(a, seven), wasm_v128_and(b, seven));
    a = wasm_i32x4_shuffle(high, low, 0, 4, 1, 5), b = wasm_i32x4_shuffle(high, low, 2, 6, 3, 7);
  }
  wasm_v128_store(to, a), wasm_v128_store(to + 16, b);
}

// What numbers whose largest magnitude is `top` are multiplied by to be codes up to `most`; 0: all codes are 0.
static inline float inverse_of(v128_t tops, float most, float* unit) {
  v128_t a = wasm_i32x4_max(tops, wasm_i32x4_shuffle(tops, tops, 2, 3, 0, 1));
  float top = wasm_f32x4_extract_lane(wasm_i32x4_max(a, wasm_i32x4_shuffle(a, a, 1, 0, 3, 2)), 0);
  *unit = top / most;
  return top > 1e-34f && top < 1e38f ? most / top : 0.0f;
}

template <bool Bytes>
static void code_query(Query& query, int dim, uint8_t* to) {
  v128_t top = wasm_f32x4_const_splat(0);
  auto four = [&](int d) {
    return d + 4 <= dim ? wasm_v128_load(query.q + d) : wasm_v128_load64_zero(query.q + d);
  };  // dim is even
  for (int d = 0; d < dim; d += 4) top = abs_max(top, four(d));
  float inverse = inverse_of(top, 8191.0f, &query.unit);
  const v128_t scale = wasm_f32x4_splat(inverse), keep = wasm_i32x4_splat(inverse > 0 ? -1 : 0),
               raise = wasm_i16x8_const_splat(8192);
  query.codes = to;
  for (int d = 0; d < dim; d += 4, to += 8) {
    uint8_t codes[32];
    v128_t x[4] = {wasm_v128_and(four(d), keep)};
    x[1] = x[2] = x[3] = wasm_f32x4_const_splat(0);
    put_codes<Bytes>(x, scale, raise, codes);
    __builtin_memcpy(to, codes, 8);
  }
}

void code_queries8(Query* queries, int count, int dim, uint8_t* to) {
  for (int n = 0; n < count; n++, to += query_code_bytes(dim))
    if (bytes()) code_query<true>(queries[n], dim, to);
    else code_query<false>(queries[n], dim, to);
}

// Sums of 16 bits: two neighbouring lanes hold parts of the same number.
static inline v128_t add_pairs(v128_t a, v128_t b) {
  return wasm_i32x4_add(wasm_i32x4_shuffle(a, b, 0, 2, 4, 6), wasm_i32x4_shuffle(a, b, 1, 3, 5, 7));
}

#if defined(__wasm_relaxed_simd__) && !defined(CPM_ONE_FORM)
const int32_t* key_starts(const uint8_t* tile, int dim, int32_t* starts) {
  if (!bytes()) return nullptr;
  const v128_t ones = wasm_i8x16_const_splat(1);
  v128_t sum[8];
  for (int i = 0; i < 8; i++) sum[i] = wasm_i32x4_const_splat(0);
  for (int d = 0; d < dim; d += 4, tile += 4 * kTile) {
    anchor(tile);
#pragma clang loop unroll(full)
    for (int i = 0; i < 8; i++) sum[i] = dot_i8_u7_add(wasm_v128_load(tile + 16 * i), ones, sum[i]), pin(sum[i]);
  }
  for (int i = 0; i < 8; i++) wasm_v128_store(starts + 4 * i, wasm_i32x4_neg(wasm_i32x4_shl(sum[i], 6)));
  return starts;
}

// 4 V sums of products with codes of two parts, for N queries.
template <int N, int V>
struct Sums {
  static constexpr int kStep = 8;
  v128_t high[N][V], low[N][V];
  // Four bytes of each, and four codes of each query.
  KERNEL_PART_METHOD void add(const uint8_t* x, const uint8_t* const* codes) {
    v128_t xs[V];
    for (int i = 0; i < V; i++) xs[i] = wasm_v128_load(x + 16 * i);
    for (int n = 0; n < N; n++) {
      v128_t h = wasm_v128_load32_splat(codes[n]), l = wasm_v128_load32_splat(codes[n] + 4);
      for (int i = 0; i < V; i++) high[n][i] = dot_i8_u7_add(xs[i], h, high[n][i]), pin(high[n][i]);
      for (int i = 0; i < V; i++) low[n][i] = dot_i8_u7_add(xs[i], l, low[n][i]), pin(low[n][i]);
    }
  }
  KERNEL_PART_METHOD v128_t total(int n, int i) const { return wasm_i32x4_add(wasm_i32x4_shl(high[n][i], 7), low[n][i]); }
};

// The same with codes of one.
template <int N, int V>
struct ByteSums {
  static constexpr int kStep = 4;
  v128_t sum[N][V];
  KERNEL_PART_METHOD void begin() {
    for (int n = 0; n < N; n++)
      for (int i = 0; i < V; i++) sum[n][i] = wasm_i32x4_const_splat(0);
  }
  KERNEL_PART_METHOD void add(const uint8_t* x, const uint8_t* const* codes) {
    v128_t xs[V];
    for (int i = 0; i < V; i++) xs[i] = wasm_v128_load(x + 16 * i);
    for (int n = 0; n < N; n++) {
      v128_t c = wasm_v128_load32_splat(codes[n]);
      for (int i = 0; i < V; i++) sum[n][i] = dot_i8_u7_add(xs[i], c, sum[n][i]), pin(sum[n][i]);
    }
  }
  KERNEL_PART_METHOD v128_t total(int n, int i) const { return sum[n][i]; }
};
#else
const int32_t* key_starts(const uint8_t*, int, int32_t*) { return nullptr; }
#endif

// The same with codes of 16 bits.
template <int N>
struct WideSums {
  static constexpr int kStep = 8;
  v128_t sum[N][4];
  KERNEL_PART_METHOD void begin() {
    for (int n = 0; n < N; n++)
      for (int i = 0; i < 4; i++) sum[n][i] = wasm_i32x4_const_splat(0);
  }
  KERNEL_PART_METHOD void add(const uint8_t* x, const uint8_t* const* codes) {
    v128_t xs[4];
    for (int i = 0; i < 4; i++) xs[i] = wasm_i16x8_load8x8(x + 8 * i);
    for (int n = 0; n < N; n++) {
      v128_t c = wasm_v128_load64_splat(codes[n]);
      for (int i = 0; i < 4; i++) sum[n][i] = wasm_i32x4_add(sum[n][i], wasm_i32x4_dot_i16x8(xs[i], c)), pin(sum[n][i]);
    }
  }
  KERNEL_PART_METHOD v128_t total(int n, int i) const { return add_pairs(sum[n][2 * i], sum[n][2 * i + 1]); }
};

// Adds `count` groups of four bytes, `step` apart, times the codes of N queries.
template <int N, typename T>
KERNEL_PART void add_all(T& sums, const uint8_t* x, const uint8_t* const* from, int count, int step) {
  const uint8_t* codes[N];
  for (int n = 0; n < N; n++) codes[n] = from[n];
#pragma clang loop unroll(disable)
  for (int i = 0; i < count; i++, x += step) {
    anchor(x);
    for (int n = 0; n < N; n++) anchor(codes[n]);
    sums.add(x, codes);
    for (int n = 0; n < N; n++) codes[n] += T::kStep;
  }
}

template <int N, bool Bytes, int V>
static void score8(const Query* queries, const Tile& keys, float* scores) {
  const uint8_t *k = (const uint8_t*)keys.data, *codes[N];
  const int groups = (keys.dim + 3) / 4;
  const float* scales = kv_scales(k, keys.dim);
  [[maybe_unused]] const int32_t* starts = keys.starts;
  v128_t unit[N];
  for (int n = 0; n < N; n++) codes[n] = queries[n].codes, unit[n] = wasm_v128_load32_splat(&queries[n].unit);
#pragma clang loop unroll(disable)
  for (int j = 0; j < kTile; j += 4 * V, k += 16 * V, scales += 4 * V, scores += 4 * V) {
    anchor(scales), anchor(scores);
    auto put = [&](const auto& sums) {
      v128_t scale[V];
      for (int i = 0; i < V; i++) scale[i] = wasm_v128_load(scales + 4 * i);
      for (int n = 0; n < N; n++) {
        v128_t s[V];
        for (int i = 0; i < V; i++)
          s[i] = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(sums.total(n, i)), wasm_f32x4_mul(scale[i], unit[n]));
        for (int i = 0; i < V; i++) wasm_v128_store(scores + n * kTile + 4 * i, s[i]);
      }
    };
#if defined(__wasm_relaxed_simd__) && !defined(CPM_ONE_FORM)
    if constexpr (Bytes) {
      Sums<N, V> sums;
      anchor(starts);
      for (int n = 0; n < N; n++)
        for (int i = 0; i < V; i++) sums.high[n][i] = wasm_v128_load(starts + 4 * i), sums.low[n][i] = wasm_i32x4_const_splat(0);
      starts += 4 * V;
      add_all<N>(sums, k, codes, groups, 4 * kTile);
      put(sums);
      continue;
    }
#endif
    WideSums<N> sums;
    sums.begin();
    add_all<N>(sums, k, codes, groups, 4 * kTile);
    put(sums);
  }
}

// Two queries, or one, in the spelling of this form, and 4 V slots at a time. Two queries of sixteen slots take 22 registers, or as many
// halves of registers of 256 bits, and one of eight has too few sums at once for dots not to be waited for.
static void score_some(int some, const Query* queries, const Tile& keys, float* scores) {
  constexpr int V = kHasBytes ? 4 : 2;
  if (!bytes()) some == 2 ? score8<2, false, 2>(queries, keys, scores) : score8<1, false, 2>(queries, keys, scores);
  else if (some == 1) score8<1, kHasBytes, V>(queries, keys, scores);
  else if (form_of(kCache8) == kDot32Lanes) score8<2, kHasBytes, V>(queries, keys, scores);
  else score8<2, kHasBytes, 2>(queries, keys, scores);
}

void score_tile8(const Query* queries, int count, const Tile& keys, float* scores) {
  Ahead ahead(keys, (count + 1) / 2);
  for (int n = 0; n < count; n += 2, scores += 2 * kTile) {
    ahead.step();
    score_some(n + 1 < count ? 2 : 1, queries + n, keys, scores);
  }
}

// Codes of 32 weights times the scales of their values, none of either below 0; returns their unit.
template <bool Bytes>
static __attribute__((noinline)) float code_weights(const float* weights, const float* scales, uint8_t* to) {
  v128_t w[8], top = wasm_f32x4_const_splat(0);
  for (int i = 0; i < 8; i++) {
    w[i] = wasm_f32x4_mul(wasm_v128_load(weights + 4 * i), wasm_v128_load(scales + 4 * i));
    top = wasm_i32x4_max(top, w[i]);
  }
  float unit, inverse = inverse_of(top, 127.0f, &unit);
  if (inverse == 0) {
    __builtin_memset(to, 0, 2 * kTile);
    return unit;
  }
  const v128_t scale = wasm_f32x4_splat(inverse);
  for (int i = 0; i < 2; i++) {
    v128_t x[4] = {w[4 * i], w[4 * i + 1], w[4 * i + 2], w[4 * i + 3]}, a, b;
    whole_numbers(x, scale, a, b);
    if constexpr (Bytes) wasm_v128_store(to + 16 * i, wasm_u8x16_narrow_i16x8(a, b));
    else wasm_v128_store(to + 32 * i, a), wasm_v128_store(to + 32 * i + 16, b);
  }
  return unit;
}

// Whether all scales of a tile are numbers: those of slots that were never written may be anything.
static bool all_finite(const float* scales) {
  const v128_t up = wasm_i32x4_const_splat(0x00800000);
  v128_t signs = wasm_i32x4_const_splat(0);
  for (int i = 0; i < kTile; i += 4) {
    v128_t s = wasm_v128_load(scales + i);
    signs = wasm_v128_or(signs, wasm_v128_or(s, wasm_i32x4_add(s, up)));
  }
  return wasm_i32x4_bitmask(signs) == 0;
}

// Codes of weights whatever the scales of values that have none are.
static float code_some(const float* weights, const float* scales, bool finite, uint8_t* to) {
  float seen[kTile];
  if (!finite) {
    for (int j = 0; j < kTile; j++) seen[j] = weights[j] == 0 ? 0 : __builtin_fabsf(scales[j]);
    scales = seen;
  }
  // NOLINTNEXTLINE(misc-redundant-expression): one spelling is all that some builds have.
  return bytes() ? code_weights<kHasBytes>(weights, scales, to) : code_weights<false>(weights, scales, to);
}

static __attribute__((noinline)) void shrink_by(float* out, int dim, float by) {
  for (int d = 0; d < dim; d++) out[d] *= by;
}

// Adds weights (kTile, as codes) times values to what N queries hold, 4 V dimensions at a time, `blocks` of them.
template <int N, bool Bytes, int V>
KERNEL gather8_blocks(const uint8_t* v, int step, int blocks, const uint8_t* const* codes, const float* unit,
                      float* const* outs) {
  float* out[N];
  v128_t units[N];
  for (int n = 0; n < N; n++) out[n] = outs[n], units[n] = wasm_v128_load32_splat(unit + n);
#pragma clang loop unroll(disable)
  for (; blocks > 0; blocks--, v += 16 * V) {
    auto put = [&](const auto& sums) {
      for (int n = 0; n < N; n++) {
        v128_t old[V], sum[V];
        anchor(out[n]);
        for (int i = 0; i < V; i++) old[i] = wasm_v128_load(out[n] + 4 * i);
        for (int i = 0; i < V; i++)
          sum[i] = wasm_f32x4_add(old[i], wasm_f32x4_mul(wasm_f32x4_convert_i32x4(sums.total(n, i)), units[n]));
        // V8's re-vectoriser fuses no loads that have a store between.
        for (int i = 0; i < V; i++) pin(sum[i]);
        for (int i = 0; i < V; i++) wasm_v128_store(out[n] + 4 * i, sum[i]);
        out[n] += 4 * V;
      }
    };
#if defined(__wasm_relaxed_simd__) && !defined(CPM_ONE_FORM)
    if constexpr (Bytes) {
      ByteSums<N, V> sums;
      sums.begin();
      add_all<N>(sums, v, codes, kTile / 4, step);
      put(sums);
      continue;
    }
#endif
    WideSums<N> sums;
    sums.begin();
    add_all<N>(sums, v, codes, kTile / 4, step);
    put(sums);
  }
}

template <int N, bool Bytes, int V>
static void gather8(Query* queries, const Tile& values, const uint8_t (*coded)[2 * kTile], const float* unit) {
  const uint8_t *v = (const uint8_t*)values.data, *codes[N];
  const int dim = values.dim, step = 4 * padded4(dim), width = 4 * V, blocks = dim / width, rest = dim % width;
  float *out[N], last[N][4 * V];
  for (int n = 0; n < N; n++) codes[n] = coded[n], out[n] = queries[n].out;
  gather8_blocks<N, Bytes, V>(v, step, blocks, codes, unit, out);
  if (!rest) return;
  // What lies past the last dimensions are the next slots', or the scales, and is dropped.
  for (int n = 0; n < N; n++) __builtin_memcpy(last[n], queries[n].out + width * blocks, rest * 4), out[n] = last[n];
  gather8_blocks<N, Bytes, V>(v + 4 * width * blocks, step, 1, codes, unit, out);
  for (int n = 0; n < N; n++) __builtin_memcpy(queries[n].out + width * blocks, last[n], rest * 4);
}

static void gather_some(int some, Query* queries, const Tile& values, const uint8_t (*coded)[2 * kTile], const float* unit) {
  constexpr int V = kHasBytes ? 4 : 2;
  if (!bytes())
    some == 2 ? gather8<2, false, 2>(queries, values, coded, unit) : gather8<1, false, 2>(queries, values, coded, unit);
  else if (some == 4) gather8<kHasBytes ? 4 : 2, kHasBytes, V>(queries, values, coded, unit);
  else if (some == 2) gather8<2, kHasBytes, V>(queries, values, coded, unit);
  else gather8<1, kHasBytes, V>(queries, values, coded, unit);
}

void gather_tile8(Query* queries, int count, const Tile& values, const float* weights, const float* shrink) {
  const float* scales = kv_scales((const uint8_t*)values.data, values.dim);
  const bool finite = all_finite(scales);
  uint8_t coded[kQueries][2 * kTile];
  float unit[kQueries];
  // Codes of all queries first: one's waits for its division.
  for (int n = 0; n < count; n++) {
    unit[n] = code_some(weights + n * kTile, scales, finite, coded[n]);
    if (shrink[n] != 1) shrink_by(queries[n].out, values.dim, shrink[n]);
  }
  // Sums of two queries by sixteen dimensions are eight, or four of 256 bits: there four queries at a time, as ARM's registers allow.
  const int together = bytes() && form_of(kCache8) == kDot32Lanes ? 4 : 2;
  Ahead ahead(values, (count + together - 1) / together);
  for (int n = 0, some; n < count; n += some) {
    ahead.step();
    some = count - n >= together ? together : count - n >= 2 ? 2 : 1;
    gather_some(some, queries + n, values, coded + n, unit + n);
  }
}
