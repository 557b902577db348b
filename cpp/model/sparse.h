// Sparse attention of rows (InfLLM v2): compressed keys that grow with the cache, a choice of blocks per row and KV head,
// and attention over the chosen blocks' tiles in spans of 32 tiles that are merged in order.
// A row alone is shared by the lanes; of many rows a lane takes a few of one KV head at a time, and reads each tile of the
// cache once for those of them that chose it. Both give the same bits.
#pragma once
#include "../abi.h"
#include "../kernels/select.h"
#include "../pool.h"
#include "kv.h"

constexpr int kSpanTiles = kSpan / kTile;

// A tile of the cache that a row attends to, and which of its slots.
struct Listed {
  int32_t tile;
  uint32_t allowed;
};

// Memory in which one row's choice for one KV head is worked out.
struct UnitPlan {
  int tiles, coarse_tiles, blocks, lists, listed;  // at most; listed: words of a choice, with its count
  int together;                                    // rows of one KV head that a lane takes at a time
  uint64_t bytes;
};

static inline UnitPlan plan_unit(const Model& m, int rows, int context) {
  const Sparse& p = m.sparse;
  int group = m.heads / m.kv_heads, lanes = group_lanes(group);
  UnitPlan u = {};
  if (!p.block) return u;
  u.together = kQueries / group < rows ? kQueries / group : rows;
  u.tiles = window_tiles(m, 0, context), u.coarse_tiles = p.coarse ? window_tiles(m, 1, context) : 0;
  u.blocks = context / p.block + 1;
  int64_t most = (int64_t)p.init + p.local + p.chosen;
  u.listed = 1 + (int)(most < u.blocks ? most : u.blocks);
  int per = p.block > kTile ? p.block / kTile : 1;
  int64_t tiles = (int64_t)u.listed * per + 3;  // a draft tree may reach into three tiles of its own
  u.lists = (int)(tiles < context / kTile ? tiles : context / kTile);
  uint64_t floats = (uint64_t)u.tiles * (group * kTile + 2 * lanes + kTile) + (uint64_t)u.coarse_tiles * 2 * lanes + u.blocks;
  u.bytes = ((floats * 4 + (uint64_t)(u.lists + 1) * sizeof(Listed)) + 63) & ~(uint64_t)63;
  return u;
}

// One for each row that a lane works on; a row alone has one for each KV head.
static inline int units_of(const Model& m, const UnitPlan& u, int lanes) {
  return u.together * lanes > m.kv_heads ? u.together * lanes : m.kv_heads;
}

static inline bool is_sparse(const Model& m, const Row& row) { return m.sparse.block && row.total >= m.sparse.dense_len; }

struct Scratch;

struct SparseRows {
  const Model& m;
  const Scratch& s;
  const Row* rows;
  int count, layer, parts;
};

// Builds the compressed keys of one layer that sparse rows ask for and that are not there yet. True when a row is sparse.
bool build_windows(Lane& lane, const SparseRows& st);

// A row alone, on all lanes; rows [t, stop) of one sequence for one KV head, on this lane.
void sparse_row(Lane& lane, const SparseRows& st);
void sparse_rows(Lane& lane, const SparseRows& st, int head, int t, int stop);

// Before a step: windows over the slots that it writes are gone. After its last layer: what sparse rows asked for is built.
void windows_overwritten(const Row* rows, int count);
void windows_built(const Model& m, const Row* rows, int count);
