#include "branch.h"
#include "kv.h"

namespace {

// Slots [slot, slot + 32) as they will be when the row's branch is accepted: committed ones, then its ancestors. As floats, of kind
// kKvQ8 as they are stored.
void lay_tile(const KvView& kv, int base, uint64_t mask, int slot, int which, float* out) {
  int dim = kv.dim, bytes = kv_tile_bytes(kv.type, dim), end = base + __builtin_popcountll(mask);
  const uint8_t* tiles = which ? kv.values : kv.keys;
  bool coded = kv.type == kKvQ8;
  if (slot < base) {
    const uint8_t* tile = tiles + tile_index(kv, slot) * bytes;
    const float* x = coded ? (const float*)tile : kv_floats(kv.type, tile, dim, out);
    if (x != out) __builtin_memcpy(out, x, coded ? bytes : dim * kTile * sizeof(float));
  } else {
    // What lies behind the branch is multiplied by weights of 0: it must be numbers.
    __builtin_memset(out, 0, coded ? bytes : dim * kTile * sizeof(float));
  }
  for (int to = base; to < end && to < slot + kTile; to++, mask &= mask - 1) {
    if (to < slot) continue;
    int from = base + __builtin_ctzll(mask), j = from % kTile;
    const uint8_t* tile = tiles + tile_index(kv, from) * bytes;
    if (coded) kv_copy_vector(kKvQ8, dim, which, tile, j, (uint8_t*)out, to - slot);
    else kv_vector(kv.type, tile, dim, which, j, out + (which ? (to - slot) * dim : to - slot), which ? 1 : kTile);
  }
}

// The laid tile, as it is attended to.
Tile laid_keys(const KvView& kv, const float* laid, int slot, int32_t* starts) {
  if (kv.type == kKvQ8) return keys_tile(kv, (const uint8_t*)laid, slot, (float*)starts);
  return {kKvF32, kv.dim, slot, laid};
}

}  // namespace

void attend_branches(Query* queries, Query* part, int rows, int group, const KvView& kv, float* scratch) {
  constexpr int kMost = 64;
  uint64_t masks[kMost];
  int base = queries[0].base, first = base / kTile * kTile, limit = 0, low = base, dim = kv.dim, count = rows * group;
  float *keys = scratch, *values = scratch + tile_floats(dim);
  int32_t starts[kTile];
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
        lay_tile(kv, base, masks[r], slot, 0, keys), lay_tile(kv, base, masks[r], slot, 1, values);
        attend_tile(q + r * group, group, laid_keys(kv, keys, slot, starts),
                    {kv.type == kKvQ8 ? kKvQ8 : kKvF32, dim, slot, values});
      }
    for (int n = 0; begin > start && n < count; n++) attend_merge(queries[n], part[n], dim);
  }
  for (int n = 0; n < count; n++) attend_finish(queries[n], dim);
}
