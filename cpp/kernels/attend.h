// Dense attention of a group of queries that share one KV head:
//   s[j] = q . k[j] for the visible slots j (q already carries its scale), with a cap c: c tanh(s[j] / c),
//   out = sum softmax(s)[j] * v[j]
// computed online over tiles of 32 slots, in spans of 1024 slots whose results are merged in order. Neither the
// number of queries nor the split over lanes changes a bit of the result.
#pragma once
#include "../abi.h"
#include "../simd.h"

constexpr int kSpan = 1024;
constexpr int kQueries = 64;  // queries that share a pass over the KV tiles

// One query vector (dim), which slots it sees (see Row), and its state: running maximum, sum, and
// sum of weights times values (dim).
struct Query {
  const float* q;
  int base;
  uint64_t mask;
  float most, sum;
  float* out;
  uint32_t allowed = ~0u;          // slots of the visited tile that it may see at all: whole tiles, but for blocks below 32 slots
  int first = 0;                   // slots below are not seen
  float cap = 0;                   // of its scores; 0: none. The same for all queries of a call
  const uint8_t* codes = nullptr;  // against a cache of kind kKvQ8: see attend8.h
  float unit = 0;
};

static inline bool sees(const Query& query, int slot) {
  return slot >= query.first && (slot < query.base || (slot - query.base < 64 && (query.mask >> (slot - query.base) & 1)));
}
// One past the last slot that the query sees.
static inline int reach(int base, uint64_t mask) { return mask ? base + 64 - __builtin_clzll(mask) : base; }

struct KvView {
  const uint8_t *keys, *values;  // first tile of this layer and head
  int type, dim;
  int ring = 0;  // tiles after which the cache begins anew; 0: never
};

static inline size_t tile_index(const KvView& kv, int slot) { return kv.ring ? slot / 32 % kv.ring : slot / 32; }

// A tile of keys or values, slots from `slot` on, as it is attended to: keys (dim, 32) or values (32, dim) as floats, of kind kKvQ8 as
// it is stored.
struct Tile {
  int type, dim, slot;
  const void* data;
  const int32_t* starts = nullptr;  // of keys of kind kKvQ8, where codes are bytes: see attend8.h
  const uint8_t* next = nullptr;    // the stored tile that is read after this one: see Ahead
};
// `at`: the stored tile. scratch: tile_floats(dim).
Tile keys_tile(const KvView& kv, const uint8_t* at, int slot, float* scratch);
Tile values_tile(const KvView& kv, const uint8_t* at, int slot, float* scratch);
static inline size_t tile_floats(int dim) { return 32 * (size_t)(dim < 4 ? 4 : dim); }

// Touches the tile that is read next while one is computed with, a part of it before each of `steps`.
struct Ahead {
  const uint8_t* at;
  int lines, each;
  Ahead(const Tile& tile, int steps);
  void step() {
    int some = lines < each ? lines : each;
    touch(at, some);
    at += 64 * some, lines -= some;
  }
};

// Resets the queries' state and attends to slots [begin, end); begin is a multiple of 32, the span at most 1024.
// scratch: tile_floats(dim).
void attend(Query* queries, int count, const KvView& kv, int begin, int end, float* scratch);

// The parts of it. scores (count, 32) of the queries against a tile of keys (dim, 32):
void score_tile(const Query* queries, int count, const float* keys, int dim, float* scores, Ahead* ahead = nullptr);
// The same queries with states of their own, (count, dim) from `out` on.
void attend_parts(const Query* queries, int count, Query* parts, float* out, int dim);
// Empties the states.
void attend_reset(Query* queries, int count, int dim);
// Takes a tile into the states: first its keys for all queries, then its values, so that one of them at a time lies in the nearest
// cache. weights: (count, 32); shrink: (count).
void attend_keys(Query* queries, int count, const Tile& keys, float* weights, float* shrink);
void attend_values(Query* queries, int count, const Tile& values, const float* weights, const float* shrink);
// Both.
void attend_tile(Query* queries, int count, const Tile& keys, const Tile& values);

// Adds the state of a later span to an earlier one: total.out, .most, .sum take part.
void attend_merge(Query& total, const Query& part, int dim);

// Divides by the sum: the state's `out` becomes the result.
void attend_finish(Query& query, int dim);
