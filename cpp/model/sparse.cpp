#include "sparse.h"

#include "rows.h"

namespace {

// What a row sees: block of its own position, windows of both levels.
struct Sight {
  int own, fine, coarse;
};

int seen(const Sparse& p, int level, const Row& row) {
  int upto = row.position + 1 < row.base ? row.position + 1 : row.base;
  return windows_of(p, level, upto);
}

Sight sight_of(const Model& m, const Row& row) {
  const Sparse& p = m.sparse;
  return {row.position / p.block, seen(p, 0, row), p.coarse ? seen(p, 1, row) : 0};
}

// Whether every block is attended to whatever its score, so that none need be computed.
bool takes_all(const Sparse& p, const Sight& sight) {
  return p.kernel <= p.block && sight.own + 1 <= (int64_t)p.init + p.local + p.chosen;
}

struct Unit {
  Choice choice;
  Listed* list;  // entry 0 holds their number
  int listed() const { return list[0].tile; }
};

Unit unit_at(const SparseRows& st, int index) {
  const UnitPlan& u = st.s.unit;
  int group = st.m.heads / st.m.kv_heads, lanes = group_lanes(group);
  float* at = (float*)(st.s.units + (size_t)(index * u.bytes));
  auto take = [&](size_t floats) {
    float* p = at;
    at += floats;
    return p;
  };
  Unit unit;
  Choice& c = unit.choice;
  c.weights = take((size_t)u.tiles * group * kTile), c.windows = take((size_t)u.tiles * kTile);
  c.most = take((size_t)u.tiles * lanes), c.sum = take((size_t)u.tiles * lanes);
  c.most2 = take((size_t)u.coarse_tiles * lanes), c.sum2 = take((size_t)u.coarse_tiles * lanes);
  c.blocks = take(u.blocks), c.group = group;
  unit.list = (Listed*)at;
  return unit;
}

int32_t* choice_at(const SparseRows& st, int t, int head) {
  return st.s.choices + ((size_t)t * st.m.kv_heads + head) * st.s.unit.listed;
}

void group_queries(const SparseRows& st, int t, int head, Query* queries) {
  int group = st.m.heads / st.m.kv_heads;
  for (int g = 0; g < group; g++) queries[g] = row_query(st.m, st.s, st.rows, t, head * group + g, nullptr);
}

// Weighs one tile of compressed keys (as floats) for one row.
void weigh(const Model& m, const Choice& c, const Query* queries, const float* keys, int level, int tile, int visible) {
  int left = visible - tile * kTile, lanes = group_lanes(c.group);
  if (left <= 0) return;
  if (left > kTile) left = kTile;
  if (level == 0)
    return weigh_tile(queries, c.group, keys, m.head_dim, left, c.weights + (size_t)tile * c.group * kTile, c.most + tile * lanes,
                      c.sum + tile * lanes);
  float weights[64 * kTile];  // only their sum is wanted
  weigh_tile(queries, c.group, keys, m.head_dim, left, weights, c.most2 + tile * lanes, c.sum2 + tile * lanes);
}

const float* window_keys(const SparseRows& st, const Row& row, int head, int level, int tile, float* scratch) {
  const Model& m = st.m;
  int type = window_type(m);
  return kv_floats(
      type,
      window_tile(m, *(const Sequence*)row.sequence, st.layer, head, level) + (size_t)tile * kv_tile_bytes(type, m.head_dim),
      m.head_dim, scratch);
}

// The row's blocks, out of its weighed tiles, into its choice.
void choose(const SparseRows& st, const Choice& c, int t, int head) {
  const Sparse& p = st.m.sparse;
  Sight sight = sight_of(st.m, st.rows[t]);
  int32_t* out = choice_at(st, t, head);
  if (takes_all(p, sight)) {
    for (int b = 0; b <= sight.own; b++) out[1 + b] = b;
    out[0] = sight.own + 1;
    return;
  }
  if (sight.fine > 0) weigh_windows(c, sight.fine, sight.coarse);
  int stop = sight.own - p.local + 1;
  if (stop > p.init) pool_blocks(c.windows, sight.fine, p.block / p.stride, p.init, stop, c.blocks);
  out[0] = pick_blocks(p, c.blocks, sight.own, out + 1);
}

// The tiles of the row's blocks, ascending, with those of its draft tree.
void list_tiles(const SparseRows& st, int t, int head, const Unit& unit) {
  Listed* list = unit.list + 1;
  const Row& row = st.rows[t];
  const int32_t* choice = choice_at(st, t, head);
  int block = st.m.sparse.block, count = 0, limit = reach_of(row);
  auto add = [&](int begin, int end) {  // slots of the next tiles, ascending
    if (end > limit) end = limit;
    for (int slot = begin; slot < end; slot = (slot / kTile + 1) * kTile) {
      int tile = slot / kTile, stop = end < (tile + 1) * kTile ? end - tile * kTile : kTile;
      uint32_t bits = (stop == kTile ? ~0u : (1u << stop) - 1) & (~0u << slot % kTile);
      if (count && list[count - 1].tile == tile) list[count - 1].allowed |= bits;
      else list[count++] = {tile, bits};
    }
  };
  for (int i = 1; i <= choice[0]; i++) {
    int begin = choice[i] * block, end = begin + block;
    // Slots of a draft tree are seen by the mask alone.
    if (begin < row.base || !mask_of(row)) add(begin, mask_of(row) && end > row.base ? row.base : end);
  }
  if (mask_of(row)) add(row.base, limit);
  // A whole tile but for slots that nobody sees is a whole tile.
  for (int i = 0; i < count; i++) {
    int left = limit - list[i].tile * kTile;
    if (left < kTile && list[i].allowed == (1u << left) - 1) list[i].allowed = ~0u;
  }
  unit.list[0].tile = count;
}

// Takes listed tiles of the cache into the states of one or more groups, keys first. Tiles are read into the same scratch.
struct TileReader {
  const KvView& kv;
  float* scratch;
  float weights[kQueries * kTile], shrink[kQueries];

  const uint8_t* at(const uint8_t* tiles, int tile) const { return tiles + (size_t)tile * kv_tile_bytes(kv.type, kv.dim); }
  Tile keys(int tile) { return keys_tile(kv, at(kv.keys, tile), tile * kTile, scratch); }
  Tile values(int tile) { return values_tile(kv, at(kv.values, tile), tile * kTile, scratch); }

  // Group number i of the groups that take the tile.
  void take_keys(Query* queries, int group, int i, const Tile& keys, uint32_t allowed) {
    for (int g = 0; g < group; g++) queries[g].allowed = allowed;
    attend_keys(queries, group, keys, weights + i * group * kTile, shrink + i * group);
  }
  void take_values(Query* queries, int group, int i, const Tile& values) {
    attend_values(queries, group, values, weights + i * group * kTile, shrink + i * group);
  }
};

// Scores rows [t, stop) against every tile of windows that one of them sees, then lets each choose.
void choose_rows(Lane& lane, const SparseRows& st, const Unit* units, int head, int t, int stop) {
  const Model& m = st.m;
  Sight sights[kQueries];
  Query queries[kQueries + 64];
  int group = m.heads / m.kv_heads;
  for (int i = t; i < stop; i++) {
    sights[i - t] = sight_of(m, st.rows[i]);
    if (takes_all(m.sparse, sights[i - t])) sights[i - t].fine = sights[i - t].coarse = 0;
    group_queries(st, i, head, queries + (i - t) * group);
  }
  for (int level = 0; level < 2; level++) {
    int most = 0;
    for (int i = 0; i < stop - t; i++) {
      int v = level ? sights[i].coarse : sights[i].fine;
      if (v > most) most = v;
    }
    for (int tile = 0; tile * kTile < most; tile++) {
      const float* keys = window_keys(st, st.rows[t], head, level, tile, lane_scratch(lane, st.s));
      for (int i = 0; i < stop - t; i++)
        weigh(m, units[i].choice, queries + i * group, keys, level, tile, level ? sights[i].coarse : sights[i].fine);
    }
  }
  for (int i = t; i < stop; i++) choose(st, units[i - t].choice, i, head);
}

void attend_rows(Lane& lane, const SparseRows& st, const Unit* units, int head, int t, int stop) {
  const Model& m = st.m;
  int group = m.heads / m.kv_heads, d = m.head_dim, rows = stop - t;
  Query total[kQueries + 64], part[kQueries + 64];
  int at[kQueries], count[kQueries];
  float *scratch = lane_scratch(lane, st.s), *states = scratch + st.s.lane_states;
  for (int r = 0; r < rows; r++) {
    list_tiles(st, t + r, head, units[r]);
    at[r] = 0, count[r] = units[r].listed();
    for (int g = 0; g < group; g++) {
      int h = head * group + g;
      total[r * group + g] = row_query(m, st.s, st.rows, t + r, h, st.s.o + (size_t)(t + r) * st.s.heads + h * d);
    }
  }
  code_queries(total, rows * group, m, st.s, lane);
  attend_parts(total, rows * group, part, states, d);
  KvView kv = kv_view(m, st.rows[t], st.layer, head);
  TileReader reader = {kv, scratch, {}, {}};
  for (;;) {
    int tile = 1 << 30;
    for (int r = 0; r < rows; r++)
      if (at[r] < count[r] && units[r].list[1 + at[r]].tile < tile) tile = units[r].list[1 + at[r]].tile;
    if (tile == 1 << 30) break;
    int takers[kQueries], some = 0;
    for (int r = 0; r < rows; r++)
      if (at[r] < count[r] && units[r].list[1 + at[r]].tile == tile) takers[some++] = r;
    auto state = [&](int r) { return (at[r] < kSpanTiles ? total : part) + r * group; };
    const Tile keys = reader.keys(tile);
    for (int i = 0; i < some; i++) {
      int r = takers[i];
      if (at[r] % kSpanTiles == 0) attend_reset(state(r), group, d);
      reader.take_keys(state(r), group, i, keys, units[r].list[1 + at[r]].allowed);
    }
    const Tile values = reader.values(tile);
    for (int i = 0; i < some; i++) {
      int r = takers[i];
      reader.take_values(state(r), group, i, values);
      bool first = at[r]++ < kSpanTiles;
      if (!first && (at[r] % kSpanTiles == 0 || at[r] == count[r]))
        for (int g = 0; g < group; g++) attend_merge(total[r * group + g], part[r * group + g], d);
    }
  }
  for (int n = 0; n < rows * group; n++) attend_finish(total[n], d);
}

}  // namespace

void sparse_rows(Lane& lane, const SparseRows& st, int head, int t, int stop) {
  Unit units[kQueries];
  int together = st.s.unit.together;
  for (int i = 0; i < together; i++) units[i] = unit_at(st, lane.index * together + i);
  for (; t < stop; t += together) {
    int last = t + together < stop ? t + together : stop;
    if (st.parts & 2) choose_rows(lane, st, units, head, t, last);
    if (st.parts & 4) attend_rows(lane, st, units, head, t, last);
  }
}

void sparse_row(Lane& lane, const SparseRows& st) {
  const Model& m = st.m;
  int group = m.heads / m.kv_heads;
  Query queries[kQueries];
  Sight sight = sight_of(m, st.rows[0]);
  if ((st.parts & 2) && !takes_all(m.sparse, sight)) {
    int fine = (sight.fine + kTile - 1) / kTile, tiles = fine + (sight.coarse + kTile - 1) / kTile;
    for (int i, end; pool_claim(lane, tiles * m.kv_heads, pool_grain(tiles * m.kv_heads), &i, &end);)
      for (; i < end; i++) {
        int head = i / tiles, level = i % tiles >= fine, tile = i % tiles - (level ? fine : 0);
        group_queries(st, 0, head, queries);
        const float* keys = window_keys(st, st.rows[0], head, level, tile, lane_scratch(lane, st.s));
        weigh(m, unit_at(st, head).choice, queries, keys, level, tile, level ? sight.coarse : sight.fine);
      }
    pool_barrier(lane);
  }
  for (int head, end; pool_claim(lane, m.kv_heads, 1, &head, &end);) {
    Unit unit = unit_at(st, head);
    if (st.parts & 2) choose(st, unit.choice, 0, head);
    list_tiles(st, 0, head, unit);
  }
  pool_barrier(lane);
  if (!(st.parts & 4)) return;
  // Spans of all heads in one list of claims; heads may differ in how many they have.
  int spans = spans_of(reach_of(st.rows[0])), items = spans * m.kv_heads;
  for (int i, end; pool_claim(lane, items, 1, &i, &end);) {
    int head = i / spans, span = i % spans;
    Unit unit = unit_at(st, head);
    int at = span * kSpanTiles, stop = at + kSpanTiles < unit.listed() ? at + kSpanTiles : unit.listed();
    for (int g = 0; g < group; g++)
      queries[g] = row_query(m, st.s, st.rows, 0, head * group + g, span_part(m, st.s, spans, head * group + g, span) + 2);
    if (at >= stop) continue;
    attend_reset(queries, group, m.head_dim);
    code_queries(queries, group, m, st.s, lane);
    KvView kv = kv_view(m, st.rows[0], st.layer, head);
    TileReader reader = {kv, lane_scratch(lane, st.s), {}, {}};
    for (; at < stop; at++) {
      const Listed& entry = unit.list[1 + at];
      Tile keys = reader.keys(entry.tile);
      keys.next = reader.at(kv.values, entry.tile);
      reader.take_keys(queries, group, 0, keys, entry.allowed);
      Tile values = reader.values(entry.tile);
      if (at + 1 < stop) values.next = reader.at(kv.keys, unit.list[2 + at].tile);
      reader.take_values(queries, group, 0, values);
    }
    keep_parts(queries, group);
  }
  pool_barrier(lane);
  merge_parts(
      lane, m, st.s, spans, [&](int head) { return (unit_at(st, head).listed() + kSpanTiles - 1) / kSpanTiles; }, [](int) {});
}
