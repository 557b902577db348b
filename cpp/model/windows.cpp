// Compressed keys that grow with the cache: which are missing before a step, and building them.
#include "rows.h"
#include "sparse.h"

namespace {

// A run of rows of one sequence, and the slots that it commits: those below every row's base (a draft tree's are not).
struct Run {
  const Sequence* sequence;
  int from, to;
};

// The next run of sparse rows from t on; false when there is none.
bool next_run(const SparseRows& st, int& t, Run& run) {
  while (t < st.count && !is_sparse(st.m, st.rows[t])) t++;
  if (t == st.count) return false;
  run = {(const Sequence*)st.rows[t].sequence, 0, 0};
  for (; t < st.count && (const Sequence*)st.rows[t].sequence == run.sequence; t++)
    if (is_sparse(st.m, st.rows[t]) && st.rows[t].base > run.to) run.to = st.rows[t].base;
  run.from = run.sequence->windowed;
  return true;
}

// Windows of a level that the run adds.
int added(const SparseRows& st, const Run& run, int level) {
  if (level && !st.m.sparse.coarse) return 0;
  int count = windows_of(st.m.sparse, level, run.to) - windows_of(st.m.sparse, level, run.from);
  return count > 0 ? count : 0;
}

void build(const SparseRows& st, const Run& run, int head, int level, int window, float* scratch) {
  const Model& m = st.m;
  int type = window_type(m), d = m.head_dim;
  float mean[512];
  compress_window(m.kv_type, kv_tile(m, *run.sequence, st.layer, head, 0, 0), d, window * window_stride(m.sparse, level),
                  window_size(m.sparse, level), mean, scratch);
  uint8_t* tile = window_tile(m, *run.sequence, st.layer, head, level) + (size_t)(window / kTile) * kv_tile_bytes(type, d);
  window_write(type, tile, d, window % kTile, mean);
}

}  // namespace

bool build_windows(Lane& lane, const SparseRows& st) {
  Run run;
  int total = 0;
  bool any = false;
  for (int t = 0; next_run(st, t, run); any = true) total += added(st, run, 0) + added(st, run, 1);
  if (!total || !(st.parts & 1)) return any;
  for (int i, end; pool_claim(lane, total * st.m.kv_heads, 8, &i, &end);)
    for (; i < end; i++) {
      int head = i / total, index = i % total;
      for (int t = 0; next_run(st, t, run);) {
        int fine = added(st, run, 0), both = fine + added(st, run, 1);
        if (index < both) {
          int level = index >= fine;
          build(st, run, head, level, windows_of(st.m.sparse, level, run.from) + index - (level ? fine : 0),
                lane_scratch(lane, st.s));
          break;
        }
        index -= both;
      }
    }
  pool_barrier(lane);
  return any;
}

void windows_overwritten(const Row* rows, int count) {
  for (int t = 0; t < count; t++) {
    Sequence& s = *(Sequence*)rows[t].sequence;
    if (rows[t].slot < s.windowed) s.windowed = rows[t].slot;
  }
}

void windows_built(const Model& m, const Row* rows, int count) {
  for (int t = 0; t < count; t++) {
    Sequence& s = *(Sequence*)rows[t].sequence;
    if (is_sparse(m, rows[t]) && rows[t].base > s.windowed) s.windowed = rows[t].base;
  }
}
