// What dense and sparse attention share: a row's queries, its view of the cache, and partial results that are merged in order.
#pragma once
#include "../kernels/norm.h"
#include "../pool.h"
#include "scratch.h"

// The angles that a row turns by: of the model's rotation (by the length of its whole call), then of the local one where there is one.
static inline void put_angles(const Model& m, const Row& row, float* angles) {
  bool far = m.rope_original && row.total > m.rope_original;
  rope_angles((const double*)(far ? m.rope_long : m.rope), row.position, m.rope_scale, angles, turned(m));
  if (m.tables > 1) rope_angles((const double*)m.rope2, row.position, m.rope_scale2, angles + m.head_dim, turned(m));
}

static inline uint64_t mask_of(const Row& row) { return (uint64_t)row.mask_high << 32 | row.mask_low; }
static inline int reach_of(const Row& row) { return reach(row.base, mask_of(row)); }

static inline float* lane_scratch(const Lane& lane, const Scratch& s) { return s.lane + lane.index * s.lane_floats; }

// Takes queries as a cache of the model's kind reads them, once for all that a lane attends with them.
static inline void code_queries(Query* queries, int count, const Model& m, const Scratch& s, const Lane& lane) {
  if (m.kv_type == kKvQ8) code_queries8(queries, count, m.head_dim, (uint8_t*)(lane_scratch(lane, s) + s.lane_codes));
}

static inline KvView kv_view(const Model& m, const Row& row, int layer, int head) {
  const Sequence& seq = *(const Sequence*)row.sequence;
  KvView view = {kv_tile(m, seq, layer, head, 0, 0), kv_tile(m, seq, layer, head, 1, 0), m.kv_type, m.head_dim};
  if (m.rings && ((const Layer*)m.layer)[layer].window) view.ring = ring_of(m, seq.capacity) / kTile;
  return view;
}

// First slot that a row sees through a window (0: all). A branch's slots count as they will lie once it is accepted.
static inline int first_seen(const Row& row, int window) {
  int end = row.base + __builtin_popcountll(mask_of(row));
  return window && end > window ? end - window : 0;
}

static inline Query row_query(const Model& m, const Scratch& s, const Row* rows, int t, int head, float* out, int window = 0) {
  return {s.q + (size_t)t * s.heads + head * m.head_dim,
          rows[t].base,
          mask_of(rows[t]),
          0,
          0,
          out,
          ~0u,
          first_seen(rows[t], window),
          m.score_cap};
}

// Partial result of a query head over one span: most, sum, then out (dim).
static inline float* span_part(const Model& m, const Scratch& s, int spans, int head, int span) {
  return s.parts + ((size_t)head * spans + span) * (m.head_dim + 2);
}

static inline void keep_parts(const Query* queries, int count) {
  for (int g = 0; g < count; g++) queries[g].out[-2] = queries[g].most, queries[g].out[-1] = queries[g].sum;
}

// Merges every head's parts into row 0 of s.o, in order: used(kv head) of `spans`; then done(kv head).
template <typename Used, typename Done>
static inline void merge_parts(Lane& lane, const Model& m, const Scratch& s, int spans, Used used, Done done) {
  int d = m.head_dim, group = m.heads / m.kv_heads;
  for (int head, end; pool_claim(lane, m.kv_heads, 1, &head, &end);) {
    for (int h = head * group; h < (head + 1) * group; h++) {
      Query total = {nullptr, 0, 0, 0, 0, s.o + h * d};
      for (int span = 0; span < used(head); span++) {
        float* p = span_part(m, s, spans, h, span);
        Query next = {nullptr, 0, 0, p[0], p[1], p + 2};
        if (span) {
          attend_merge(total, next, d);
          continue;
        }
        for (int i = 0; i < d; i++) total.out[i] = next.out[i];
        total.most = next.most, total.sum = next.sum;
      }
      attend_finish(total, d);
    }
    done(head);
  }
  pool_barrier(lane);
}
