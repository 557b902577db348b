#include "branch.h"
#include "kv.h"

namespace {

// One vector of a tile as floats: element d at from[d * stride], to out[d * out_stride].
void vector_floats(int type, const uint8_t* tile, int dim, int j, bool values, float* out, int out_stride) {
  int start = values ? j * dim : j, stride = values ? 1 : kTile;
  for (int d = 0; d < dim; d++) {
    int i = start + d * stride;
    float x;
    if (type == kKvF32) x = ((const float*)tile)[i];
    else if (type == kKvF16) x = half_to_float(((const uint16_t*)tile)[i]);
    else x = (float)((const int8_t*)tile)[i] * ((const float*)(tile + dim * kTile))[j];
    out[d * out_stride] = x;
  }
}

// Slots [slot, slot + 32) as they will be when the row's branch is accepted: committed ones, then its ancestors.
void lay_tile(const KvView& kv, int base, uint64_t mask, int slot, float* keys, float* values) {
  int dim = kv.dim, bytes = kv_tile_bytes(kv.type, dim), end = base + __builtin_popcountll(mask);
  size_t at = tile_index(kv, slot) * bytes;
  if (slot < base) {
    const float *k = kv_keys(kv.type, kv.keys + at, dim, keys), *v = kv_values(kv.type, kv.values + at, dim, values);
    if (k != keys) __builtin_memcpy(keys, k, dim * kTile * sizeof(float));
    if (v != values) __builtin_memcpy(values, v, dim * kTile * sizeof(float));
  }
  for (int to = base; to < end && to < slot + kTile; to++, mask &= mask - 1) {
    if (to < slot) continue;
    int from = base + __builtin_ctzll(mask), j = from % kTile;
    size_t tile = tile_index(kv, from) * bytes;
    vector_floats(kv.type, kv.keys + tile, dim, j, false, keys + to - slot, kTile);
    vector_floats(kv.type, kv.values + tile, dim, j, true, values + (to - slot) * dim, 1);
  }
}

}  // namespace

void attend_branches(Query* queries, Query* part, int rows, int group, const KvView& kv, float* scratch) {
  constexpr int kMost = 64;
  uint64_t masks[kMost];
  int base = queries[0].base, first = base / kTile * kTile, limit = 0, low = base, dim = kv.dim, count = rows * group;
  float *keys = scratch, *values = scratch + dim * kTile;
  for (int r = 0; r < rows; r++) {
    masks[r] = queries[r * group].mask;
    int end = base + __builtin_popcountll(masks[r]);
    if (end > limit) limit = end;
    if (queries[r * group].first < low) low = queries[r * group].first;
    for (int n = r * group; n < (r + 1) * group; n++) queries[n].base = part[n].base = end, queries[n].mask = part[n].mask = 0;
  }
  low = low / kTile * kTile;
  const int start = low / kSpan * kSpan;
  for (int begin = start; begin < limit; begin += kSpan) {
    Query* q = begin > start ? part : queries;
    int end = limit < begin + kSpan ? limit : begin + kSpan, from = low > begin ? low : begin;
    attend(q, count, kv, from, first < end ? first : end, scratch);
    for (int r = 0; r < rows; r++)
      for (int slot = first > from ? first : from; slot < end && slot < q[r * group].base; slot += kTile) {
        lay_tile(kv, base, masks[r], slot, keys, values);
        attend_tile(q + r * group, group, keys, values, dim, slot);
      }
    for (int n = 0; begin > start && n < count; n++) attend_merge(queries[n], part[n], dim);
  }
  for (int n = 0; n < count; n++) attend_finish(queries[n], dim);
}
