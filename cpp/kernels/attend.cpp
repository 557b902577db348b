#include "attend.h"
#include "../model/kv.h"
#include "activate.h"
#include "attend8.h"

constexpr float kNothing = -1e30f;  // below every score; e^(kNothing - m) is 0, and kNothing - kNothing is not nan

// scores (N, 32) of N queries against a tile of keys (dim, 32), 16 slots at a time to stay in registers.
template <int N>
static void score(const Query* queries, const float* keys, int dim, float* scores) {
  for (int j = 0; j < kTile; j += 16) {
    const float *q[N], *k = keys + j;
    v128_t acc[N][4];
    for (int n = 0; n < N; n++) {
      q[n] = queries[n].q;
      for (int i = 0; i < 4; i++) acc[n][i] = wasm_f32x4_const_splat(0);
    }
    int d = 0;
    for (; d + 4 <= dim; d += 4, k += 4 * kTile) {
      anchor(k);
#pragma clang loop unroll(full)
      for (int step = 0; step < 4; step++) {
        v128_t ks[4];
        for (int i = 0; i < 4; i++) ks[i] = wasm_v128_load(k + step * kTile + 4 * i);
        for (int n = 0; n < N; n++) {
          v128_t qs = wasm_v128_load32_splat(q[n] + step);
          for (int i = 0; i < 4; i++) acc[n][i] = madd_f32(qs, ks[i], acc[n][i]), pin(acc[n][i]);
        }
      }
      for (int n = 0; n < N; n++) q[n] += 4;
    }
    for (; d < dim; d++, k += kTile)
      for (int n = 0; n < N; n++, q[n - 1]++)
        for (int i = 0; i < 4; i++) acc[n][i] = madd_f32(wasm_v128_load32_splat(q[n]), wasm_v128_load(k + 4 * i), acc[n][i]);
    for (int n = 0; n < N; n++)
      for (int i = 0; i < 4; i++) wasm_v128_store(scores + n * kTile + j + 4 * i, acc[n][i]);
  }
}

// Turns scores (N, 32) of N queries, at most 4, into weights against their new maxima; `shrink` (N): what the old states are
// multiplied by.
template <int N>
static void soften(Query* queries, float* scores, int slot, float* shrink, const Exp& held) {
  const v128_t nothing = wasm_f32x4_splat(kNothing);
  v128_t top[4] = {nothing, nothing, nothing, nothing}, sum[4];
  float most[4] = {kNothing, kNothing, kNothing, kNothing}, sums[4] = {};
  for (int n = 0; n < N; n++) {
    float* s = scores + n * kTile;
    const Query& query = queries[n];
    if (slot + kTile > query.base || slot < query.first || query.allowed != ~0u)
      for (int j = 0; j < kTile; j++)
        if (!sees(query, slot + j) || !(query.allowed >> j & 1)) s[j] = kNothing;
    top[n] = wasm_v128_load(s);
    for (int j = 4; j < kTile; j += 4) top[n] = wasm_f32x4_pmax(top[n], wasm_v128_load(s + j));
    most[n] = query.most, sums[n] = query.sum;
  }
  v128_t old = wasm_v128_load(most), m = wasm_f32x4_pmax(maxima_f32(top), old), shrunk = exp_f32(wasm_f32x4_sub(old, m), held);
  wasm_v128_store(most, m);
  float from[4];  // 0 while nothing has been visible: then all weights are 0
  wasm_v128_store(from, wasm_v128_and(m, wasm_f32x4_gt(m, nothing)));
  for (int n = N; n < 4; n++) sum[n] = wasm_f32x4_const_splat(0);
  for (int n = 0; n < N; n++) {
    v128_t total = wasm_f32x4_const_splat(0);
    float* s = scores + n * kTile;
    const v128_t base = wasm_v128_load32_splat(from + n);
#pragma clang loop unroll(disable)
    for (int j = 0; j < kTile; j += 8, s += 8) {
      v128_t p = exp_f32(wasm_f32x4_sub(wasm_v128_load(s), base), held),
             q = exp_f32(wasm_f32x4_sub(wasm_v128_load(s + 4), base), held);
      pin(p), pin(q);  // V8's re-vectoriser fuses no loads that have a store between
      wasm_v128_store(s, p), wasm_v128_store(s + 4, q);
      total = wasm_f32x4_add(wasm_f32x4_add(total, p), q);
    }
    sum[n] = total;
  }
  float by[4];
  wasm_v128_store(by, shrunk);
  wasm_v128_store(sums, wasm_f32x4_add(wasm_f32x4_mul(wasm_v128_load(sums), shrunk), sums_f32(sum)));
  for (int n = 0; n < N; n++) queries[n].most = most[n], queries[n].sum = sums[n], shrink[n] = by[n];
}

// out = out * shrink + weights (N, 32) x values (limit, dim), four lanes times W dimensions at a time; limit is a multiple of 4.
template <int N, int W>
static void gather(Query* queries, const float* shrink, const float* weights, const float* values, int dim, int limit, int d) {
  v128_t acc[N][W];
  float* out[N];
  for (int n = 0; n < N; n++) {
    out[n] = queries[n].out + d;
    v128_t by = wasm_v128_load32_splat(shrink + n);
    for (int i = 0; i < W; i++) acc[n][i] = wasm_f32x4_mul(wasm_v128_load(out[n] + 4 * i), by);
  }
  const float* v = values + d;
  for (int j = 0; j < limit; j += 4) {
#pragma clang loop unroll(full)
    for (int step = 0; step < 4; step++, v += dim) {
      anchor(v);
      v128_t vs[W];
      for (int i = 0; i < W; i++) vs[i] = wasm_v128_load(v + 4 * i);
      for (int n = 0; n < N; n++) {
        v128_t p = wasm_v128_load32_splat(weights + n * kTile + j + step);
        for (int i = 0; i < W; i++) acc[n][i] = madd_f32(p, vs[i], acc[n][i]), pin(acc[n][i]);
      }
    }
  }
  for (int n = 0; n < N; n++)
    for (int i = 0; i < W; i++) wasm_v128_store(out[n] + 4 * i, acc[n][i]);
}

// Slots of the tile that some of the queries may see.
static int limit_of(const Query* queries, int count, int slot) {
  int limit = 0;
  for (int n = 0; n < count; n++) {
    int r = reach(queries[n].base, queries[n].mask) - slot;
    if (r > limit) limit = r;
  }
  return limit < kTile ? (limit + 3) & ~3 : kTile;
}

Ahead::Ahead(const Tile& tile, int steps) {
  at = tile.next, lines = at ? (kv_tile_bytes(tile.type, tile.dim) + 63) / 64 : 0, each = (lines + steps - 1) / steps;
}

void score_tile(const Query* queries, int count, const float* keys, int dim, float* scores, Ahead* ahead) {
  int n = 0;
  for (; n + 2 <= count; n += 2) {
    if (ahead) ahead->step();
    score<2>(queries + n, keys, dim, scores + n * kTile);
  }
  if (n < count) score<1>(queries + n, keys, dim, scores + n * kTile);
}

void attend_parts(const Query* queries, int count, Query* parts, float* out, int dim) {
  for (int n = 0; n < count; n++, out += dim) parts[n] = queries[n], parts[n].out = out;
}

void attend_reset(Query* queries, int count, int dim) {
  for (int n = 0; n < count; n++) {
    queries[n].most = kNothing, queries[n].sum = 0;
    for (int d = 0; d < dim; d++) queries[n].out[d] = 0;
  }
}

Tile keys_tile(const KvView& kv, const uint8_t* at, int slot, float* scratch) {
  if (kv.type == kKvQ8) return {kv.type, kv.dim, slot, at, key_starts(at, kv.dim, (int32_t*)scratch)};
  return {kv.type, kv.dim, slot, kv_floats(kv.type, at, kv.dim, scratch)};
}

Tile values_tile(const KvView& kv, const uint8_t* at, int slot, float* scratch) {
  return {kv.type, kv.dim, slot, kv.type == kKvQ8 ? (const void*)at : kv_floats(kv.type, at, kv.dim, scratch)};
}

void attend_keys(Query* queries, int count, const Tile& keys, float* weights, float* shrink) {
  const Exp held = held_exp();
  const int slot = keys.slot;
  if (keys.type == kKvQ8) score_tile8(queries, count, keys, weights);
  else {
    Ahead ahead(keys, (count + 1) / 2);
    score_tile(queries, count, (const float*)keys.data, keys.dim, weights, &ahead);
  }
  if (queries[0].cap > 0) soft_cap(weights, count * kTile, queries[0].cap);
  int n = 0;
  for (; n + 4 <= count; n += 4) soften<4>(queries + n, weights + n * kTile, slot, shrink + n, held);
  for (; n < count; n++) soften<1>(queries + n, weights + n * kTile, slot, shrink + n, held);
}

template <int N>
static void gather_all(Query* queries, const float* values, int dim, int slot, const float* weights, const float* shrink) {
  int limit = limit_of(queries, N, slot), d = 0;
  for (; d + 16 <= dim; d += 16) gather<N, 4>(queries, shrink, weights, values, dim, limit, d);
  for (; d + 4 <= dim; d += 4) gather<N, 1>(queries, shrink, weights, values, dim, limit, d);
  for (; d < dim; d++)
    for (int n = 0; n < N; n++) {
      float sum = queries[n].out[d] * shrink[n];
      for (int j = 0; j < limit; j++) sum += weights[n * kTile + j] * values[j * dim + d];
      queries[n].out[d] = sum;
    }
}

void attend_values(Query* queries, int count, const Tile& tile, const float* weights, const float* shrink) {
  if (tile.type == kKvQ8) return gather_tile8(queries, count, tile, weights, shrink);
  const float* values = (const float*)tile.data;
  int n = 0, dim = tile.dim, slot = tile.slot;
  Ahead ahead(tile, (count + 1) / 2);
  for (; n + 2 <= count; n += 2) {
    ahead.step();
    gather_all<2>(queries + n, values, dim, slot, weights + n * kTile, shrink + n);
  }
  if (n < count) gather_all<1>(queries + n, values, dim, slot, weights + n * kTile, shrink + n);
}

void attend_tile(Query* queries, int count, const Tile& keys, const Tile& values) {
  float weights[kQueries * kTile], shrink[kQueries];
  for (int n = 0; n < count; n += kQueries) {
    int some = count - n < kQueries ? count - n : kQueries;
    attend_keys(queries + n, some, keys, weights, shrink);
    attend_values(queries + n, some, values, weights, shrink);
  }
}

void attend(Query* queries, int count, const KvView& kv, int begin, int end, float* scratch) {
  int dim = kv.dim, bytes = kv_tile_bytes(kv.type, dim);
  attend_reset(queries, count, dim);
  for (int slot = begin; slot < end; slot += kTile) {
    size_t at = tile_index(kv, slot) * bytes;
    float weights[kQueries * kTile], shrink[kQueries];
    for (int n = 0; n < count; n += kQueries) {
      int some = count - n < kQueries ? count - n : kQueries;
      Tile keys = keys_tile(kv, kv.keys + at, slot, scratch);
      keys.next = kv.values + at;
      attend_keys(queries + n, some, keys, weights, shrink);
      Tile values = values_tile(kv, kv.values + at, slot, scratch);
      if (slot + kTile < end) values.next = kv.keys + tile_index(kv, slot + kTile) * bytes;
      attend_values(queries + n, some, values, weights, shrink);
    }
  }
}

void attend_merge(Query& total, const Query& part, int dim) {
  float most = total.most > part.most ? total.most : part.most;
  v128_t both = exp_f32(wasm_f32x4_make(total.most - most, part.most - most, 0, 0), held_exp());
  float a = wasm_f32x4_extract_lane(both, 0), b = wasm_f32x4_extract_lane(both, 1);
  for (int d = 0; d < dim; d++) total.out[d] = total.out[d] * a + part.out[d] * b;
  total.sum = total.sum * a + part.sum * b, total.most = most;
}

void attend_finish(Query& query, int dim) {
  float inverse = query.sum > 0 ? 1.0f / query.sum : 0;
  for (int d = 0; d < dim; d++) query.out[d] *= inverse;
}
