#include "attend.h"
#include "../model/kv.h"

constexpr float kNothing = -1e30f;  // below every score; e^(kNothing - m) is 0, and kNothing - kNothing is not nan

// scores (N, 32) of N queries against a tile of keys (dim, 32), 16 slots at a time to stay in registers.
template <int N>
static void score(const Query* queries, const float* keys, int dim, float* scores) {
  for (int j = 0; j < kTile; j += 16) {
    v128_t acc[N][4];
    for (int n = 0; n < N; n++)
      for (int i = 0; i < 4; i++) acc[n][i] = wasm_f32x4_const_splat(0);
    for (int d = 0; d < dim; d++) {
      const float* k = keys + d * kTile + j;
      v128_t k0 = wasm_v128_load(k), k1 = wasm_v128_load(k + 4), k2 = wasm_v128_load(k + 8), k3 = wasm_v128_load(k + 12);
      for (int n = 0; n < N; n++) {
        v128_t q = wasm_v128_load32_splat(queries[n].q + d);
        acc[n][0] = madd_f32(q, k0, acc[n][0]), acc[n][1] = madd_f32(q, k1, acc[n][1]);
        acc[n][2] = madd_f32(q, k2, acc[n][2]), acc[n][3] = madd_f32(q, k3, acc[n][3]);
      }
    }
    for (int n = 0; n < N; n++)
      for (int i = 0; i < 4; i++) wasm_v128_store(scores + n * kTile + j + 4 * i, acc[n][i]);
  }
}

// Turns scores (32) into weights against the new maximum; returns what the old state is multiplied by.
static float soften(Query& query, float* scores, int slot) {
  if (slot + kTile > query.base || query.allowed != ~0u)
    for (int j = 0; j < kTile; j++)
      if (!sees(query, slot + j) || !(query.allowed >> j & 1)) scores[j] = kNothing;
  v128_t top = wasm_v128_load(scores);
  for (int j = 4; j < kTile; j += 4) top = wasm_f32x4_pmax(top, wasm_v128_load(scores + j));
  float most = max_f32(top);
  if (most < query.most) most = query.most;
  v128_t m = wasm_f32x4_splat(most), sum = wasm_f32x4_const_splat(0);
  for (int j = 0; j < kTile; j += 4) {
    v128_t p = exp_f32(wasm_f32x4_sub(wasm_v128_load(scores + j), m));
    if (most <= kNothing) p = wasm_f32x4_const_splat(0);  // nothing visible so far
    wasm_v128_store(scores + j, p), sum = wasm_f32x4_add(sum, p);
  }
  float shrink = wasm_f32x4_extract_lane(exp_f32(wasm_f32x4_splat(query.most - most)), 0);
  query.sum = query.sum * shrink + sum_f32(sum), query.most = most;
  return shrink;
}

// out = out * shrink + weights (N, 32) x values (limit, dim), four lanes times W dimensions at a time.
template <int N, int W>
static void gather(Query* queries, const float* shrink, const float* weights, const float* values, int dim, int limit, int d) {
  v128_t acc[N][W];
  for (int n = 0; n < N; n++)
    for (int i = 0; i < W; i++) acc[n][i] = wasm_f32x4_mul(wasm_v128_load(queries[n].out + d + 4 * i), wasm_v128_load32_splat(shrink + n));
  for (int j = 0; j < limit; j++) {
    v128_t v[W];
    for (int i = 0; i < W; i++) v[i] = wasm_v128_load(values + j * dim + d + 4 * i);
    for (int n = 0; n < N; n++) {
      v128_t p = wasm_v128_load32_splat(weights + n * kTile + j);
      for (int i = 0; i < W; i++) acc[n][i] = madd_f32(p, v[i], acc[n][i]);
    }
  }
  for (int n = 0; n < N; n++)
    for (int i = 0; i < W; i++) wasm_v128_store(queries[n].out + d + 4 * i, acc[n][i]);
}

// Slots of the tile that some of the queries may see.
static int limit_of(const Query* queries, int count, int slot) {
  int limit = 0;
  for (int n = 0; n < count; n++) {
    int r = reach(queries[n].base, queries[n].mask) - slot;
    if (r > limit) limit = r;
  }
  return limit < kTile ? limit : kTile;
}

void score_tile(const Query* queries, int count, const float* keys, int dim, float* scores) {
  int n = 0;
  for (; n + 2 <= count; n += 2) score<2>(queries + n, keys, dim, scores + n * kTile);
  if (n < count) score<1>(queries + n, keys, dim, scores + n * kTile);
}

void attend_reset(Query* queries, int count, int dim) {
  for (int n = 0; n < count; n++) {
    queries[n].most = kNothing, queries[n].sum = 0;
    for (int d = 0; d < dim; d++) queries[n].out[d] = 0;
  }
}

void attend_keys(Query* queries, int count, const float* keys, int dim, int slot, float* weights, float* shrink) {
  score_tile(queries, count, keys, dim, weights);
  for (int n = 0; n < count; n++) shrink[n] = soften(queries[n], weights + n * kTile, slot);
}

template <int N>
static void gather_all(Query* queries, const float* values, int dim, int slot, const float* weights, const float* shrink) {
  int limit = limit_of(queries, N, slot), d = 0;
  for (; d + 16 <= dim; d += 16) gather<N, 4>(queries, shrink, weights, values, dim, limit, d);
  for (; d < dim; d += 4) gather<N, 1>(queries, shrink, weights, values, dim, limit, d);
}

void attend_values(Query* queries, int count, const float* values, int dim, int slot, const float* weights, const float* shrink) {
  int n = 0;
  for (; n + 2 <= count; n += 2) gather_all<2>(queries + n, values, dim, slot, weights + n * kTile, shrink + n);
  if (n < count) gather_all<1>(queries + n, values, dim, slot, weights + n * kTile, shrink + n);
}

void attend(Query* queries, int count, const KvView& kv, int begin, int end, float* scratch) {
  int dim = kv.dim, bytes = kv_tile_bytes(kv.type, dim);
  attend_reset(queries, count, dim);
  for (int slot = begin; slot < end; slot += kTile) {
    size_t at = (size_t)(slot / kTile) * bytes;
    float weights[kQueries * kTile], shrink[kQueries];
    for (int n = 0; n < count; n += kQueries) {
      int some = count - n < kQueries ? count - n : kQueries;
      attend_keys(queries + n, some, kv_keys(kv.type, kv.keys + at, dim, scratch), dim, slot, weights, shrink);
      attend_values(queries + n, some, kv_values(kv.type, kv.values + at, dim, scratch), dim, slot, weights, shrink);
    }
  }
}

void attend_merge(Query& total, const Query& part, int dim) {
  float most = total.most > part.most ? total.most : part.most;
  v128_t both = exp_f32(wasm_f32x4_make(total.most - most, part.most - most, 0, 0));
  float a = wasm_f32x4_extract_lane(both, 0), b = wasm_f32x4_extract_lane(both, 1);
  for (int d = 0; d < dim; d++) total.out[d] = total.out[d] * a + part.out[d] * b;
  total.sum = total.sum * a + part.sum * b, total.most = most;
}

void attend_finish(Query& query, int dim) {
  float inverse = query.sum > 0 ? 1.0f / query.sum : 0;
  for (int d = 0; d < dim; d++) query.out[d] *= inverse;
}
