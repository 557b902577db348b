#include "draft.h"

#include "../kernels/attend8.h"
#include "../kernels/gemm.h"
#include "../kernels/norm.h"
#include "../pool.h"
#include "kv.h"
#include "scratch.h"

namespace {

constexpr int kGroup = 64;  // query heads of a KV head, at most

struct DraftScratch {
  float *in, *both, *x, *h, *q, *k, *v, *o, *gate, *up, *angles, *lane;
  Codes codes;
  int entry, hidden, pair, heads, inner, widest;  // row strides
  size_t lane_floats, bytes;
};

DraftScratch plan(const DraftHead& head, uintptr_t at, int rows, int lanes) {
  const Model& m = head.m;
  DraftScratch s;
  size_t used = 0, n = rows;
  auto take = [&](size_t bytes) {
    uintptr_t p = at + used;
    used += (bytes + 63) & ~(size_t)63;
    return p;
  };
  s.entry = pad_to(head.fc_inputs, kBlock), s.hidden = pad_to(m.hidden, kBlock), s.pair = pad_to(2 * m.hidden, kBlock);
  s.heads = pad_to(m.heads * m.head_dim, kBlock), s.inner = pad_to(m.intermediate, kBlock);
  s.widest = s.entry > s.pair ? s.entry : s.pair;
  if (s.heads > s.widest) s.widest = s.heads;
  if (s.inner > s.widest) s.widest = s.inner;
  s.in = (float*)take(n * s.entry * 4), s.both = (float*)take(head.version == 2 ? 0 : n * s.pair * 4);
  s.x = (float*)take(n * s.hidden * 4), s.h = (float*)take(n * s.hidden * 4);
  s.q = (float*)take(n * s.heads * 4), s.o = (float*)take(n * s.heads * 4);
  s.k = (float*)take(n * m.kv_heads * m.head_dim * 4), s.v = (float*)take(n * m.kv_heads * m.head_dim * 4);
  s.gate = (float*)take(n * s.inner * 4), s.up = (float*)take(n * s.inner * 4);
  s.angles = (float*)take(n * m.head_dim * 4);
  s.codes = take_codes(n, s.widest, take);
  s.lane_floats = 2 * tile_floats(m.head_dim) + (size_t)kGroup * m.head_dim +
                  (m.kv_type == kKvQ8 ? kGroup * query_code_bytes(m.head_dim) / sizeof(float) : 0);
  s.lane = (float*)take(s.lane_floats * lanes * 4);
  s.bytes = used;
  return s;
}

struct DraftStep {
  const DraftHead& d;
  const DraftBatch& b;
  const Row* rows;
  DraftScratch s;
  const int32_t* picked;
  int count;
};

// The integer forms of row t of x that the weights read.
void quantize_for(const DraftStep& st, const float* x, int stride, int t, const Tensor* const* w, int weights) {
  Reads reads;
  for (int i = 0; i < weights; i++) reads.add(*w[i]);
  quantize_codes(x, st.s.codes, (size_t)t * stride, stride, st.d.m.ternary_block, reads);
}

// Every row by itself, its result quantised for the weights that read it.
template <typename F>
void each_row(Lane& lane, const DraftStep& st, const float* x, int stride, const Tensor* const* w, int weights, F&& work) {
  for (int t, end; pool_claim(lane, st.count, pool_grain(st.count), &t, &end);)
    for (; t < end; t++) work(t), quantize_for(st, x, stride, t, w, weights);
  pool_barrier(lane);
}

void linears(Lane& lane, const DraftStep& st, const float* x, int stride, const Tensor* const* w, const Output* out,
             int weights) {
  const Codes& c = st.s.codes;
  Inputs in = {x, c.q32, c.s32, c.c32, c.qt, c.st, st.count, stride, st.d.m.ternary_block};
  int total = 0;
  for (int i = 0; i < weights; i++) total += panels(*w[i]);
  for (int begin, end; pool_claim(lane, total, pool_grain(total), &begin, &end);)
    for (int i = 0, first = 0; i < weights; first += panels(*w[i]), i++) {
      int from = begin > first ? begin - first : 0, to = end - first < panels(*w[i]) ? end - first : panels(*w[i]);
      if (from < to) gemm(*w[i], in, out[i], from, to);
    }
  pool_barrier(lane);
}

void norm_or_copy(const DraftStep& st, const float* x, word w, float* y, float scale) {
  const Model& m = st.d.m;
  if (w) return rms_norm(x, (const float*)w, y, m.hidden, m.rms_eps, scale);
  for (int k = 0; k < m.hidden; k++) y[k] = x[k] * scale;
}

// The scaled embedding of a row's token, normed, to y.
void embed(const DraftStep& st, int t, float* y) {
  const Model& m = st.d.m;
  weight_row(m.embedding, st.rows[t].token, y);
  for (int k = 0; k < m.hidden; k++) y[k] *= m.embedding_scale;
  if (st.d.embed_norm) rms_norm(y, (const float*)st.d.embed_norm, y, m.hidden, m.rms_eps, 1);
}

// x of every row, and the input of its attention: h, or both.
void enter(Lane& lane, const DraftStep& st, const Tensor* const* qkv) {
  const Model& m = st.d.m;
  const DraftScratch& s = st.s;
  const float *hidden = (const float*)st.b.hidden, *bias = (const float*)st.d.bias;
  bool second = st.d.version == 2, projects = second || st.b.from_target;
  const Tensor* fc[] = {&st.d.fc};
  if (projects) {
    int width = second ? m.hidden : st.d.fc_inputs;
    each_row(lane, st, s.in, s.entry, fc, 1, [&](int t) {
      float* in = s.in + (size_t)t * s.entry;
      const float* h = hidden + (size_t)t * width;
      if (second) embed(st, t, in), norm_or_copy(st, h, st.d.hidden_norm, in + m.hidden, 1);
      else __builtin_memcpy(in, h, width * sizeof(float));
    });
    Output out[] = {{s.x, s.hidden, 1, false}};
    linears(lane, st, s.in, s.entry, fc, out, 1);
  }
  const Layer& l = *(const Layer*)m.layer;
  each_row(lane, st, second ? s.h : s.both, second ? s.hidden : s.pair, qkv, 3, [&](int t) {
    float *x = s.x + (size_t)t * s.hidden, *h = second ? s.h + (size_t)t * s.hidden : s.both + (size_t)t * s.pair;
    if (!projects) __builtin_memcpy(x, hidden + (size_t)t * m.hidden, m.hidden * sizeof(float));
    if (projects && bias)
      for (int k = 0; k < m.hidden; k++) x[k] += bias[k];
    if (second) norm_or_copy(st, x, l.attn_norm, h, 1);
    else embed(st, t, h), norm_or_copy(st, x, st.d.hidden_norm, h + m.hidden, 1);
    if (st.d.version == kNormedResidual) __builtin_memcpy(x, h + m.hidden, m.hidden * sizeof(float));
    rope_angles((const double*)m.rope, st.rows[t].position, m.rope_scale, s.angles + (size_t)t * m.head_dim, turned(m));
  });
}

void rotate_and_store(Lane& lane, const DraftStep& st) {
  const Model& m = st.d.m;
  const DraftScratch& s = st.s;
  int d = m.head_dim, kv = m.kv_heads * d;
  float scale = query_scale(m);
  for (int t, end; pool_claim(lane, st.count, pool_grain(st.count), &t, &end);)
    for (; t < end; t++) {
      const float* angles = s.angles + (size_t)t * d;
      for (int h = 0; h < m.heads; h++) rope_turn(s.q + (size_t)t * s.heads + h * d, angles, turned(m), d, scale);
      for (int h = 0; h < m.kv_heads; h++) {
        float* key = s.k + (size_t)t * kv + h * d;
        rope_turn(key, angles, turned(m), d, 1);
        kv_write(m, *(const Sequence*)st.rows[t].sequence, 0, h, st.rows[t].slot, key, s.v + (size_t)t * kv + h * d);
      }
    }
  pool_barrier(lane);
}

// One row against one KV head. The tile in which its window begins is seen through a mask of its own.
void attend_row(Lane& lane, const DraftStep& st, int t, int head) {
  const Model& m = st.d.m;
  const Row& row = st.rows[t];
  int group = m.heads / m.kv_heads, d = m.head_dim, first = ((const int32_t*)st.b.first)[t];
  uint64_t mask = (uint64_t)row.mask_high << 32 | row.mask_low;
  int limit = reach(row.base, mask), tile = first / kTile * kTile;
  const Sequence& seq = *(const Sequence*)row.sequence;
  KvView kv = {kv_tile(m, seq, 0, head, 0, 0), kv_tile(m, seq, 0, head, 1, 0), m.kv_type, d};
  float *scratch = st.s.lane + lane.index * st.s.lane_floats, *states = scratch + 2 * tile_floats(d);
  Query total[kGroup], part[kGroup];
  for (int g = 0; g < group; g++) {
    int h = head * group + g;
    total[g] = {st.s.q + (size_t)t * st.s.heads + h * d, row.base, mask, 0, 0, st.s.o + (size_t)t * st.s.heads + h * d};
  }
  if (m.kv_type == kKvQ8) code_queries8(total, group, d, (uint8_t*)(states + kGroup * d));
  attend_parts(total, group, part, states, d);
  int begin = tile;
  if (first > tile) {
    uint64_t seen = 0;
    for (int j = first - tile; j < kTile; j++)
      if (sees(total[0], tile + j)) seen |= (uint64_t)1 << j;
    for (int g = 0; g < group; g++) total[g].base = tile, total[g].mask = seen;
    begin = tile + kTile;
    attend(total, group, kv, tile, begin, scratch);
  } else {
    begin = limit < tile + kSpan ? limit : tile + kSpan;
    attend(total, group, kv, tile, begin, scratch);
    begin = tile + kSpan;
  }
  for (; begin < limit; begin += kSpan) {
    attend(part, group, kv, begin, limit < begin + kSpan ? limit : begin + kSpan, scratch);
    for (int g = 0; g < group; g++) attend_merge(total[g], part[g], d);
  }
  for (int g = 0; g < group; g++) attend_finish(total[g], d);
}

void draft_task(void* arg, Lane& lane) {
  const DraftStep& st = *(const DraftStep*)arg;
  const Model& m = st.d.m;
  const DraftScratch& s = st.s;
  const Layer& l = *(const Layer*)m.layer;
  const Tensor *qkv[] = {&l.q, &l.k, &l.v}, *o[] = {&l.o}, *gate_up[] = {&l.gate, &l.up}, *down[] = {&l.down};
  int kv = m.kv_heads * m.head_dim;
  enter(lane, st, qkv);
  Output to_qkv[] = {{s.q, s.heads, 1, false}, {s.k, kv, 1, false}, {s.v, kv, 1, false}};
  bool second = st.d.version == 2;
  linears(lane, st, second ? s.h : s.both, second ? s.hidden : s.pair, qkv, to_qkv, 3);
  rotate_and_store(lane, st);
  for (int i, end; pool_claim(lane, st.count * m.kv_heads, 1, &i, &end);) attend_row(lane, st, i / m.kv_heads, i % m.kv_heads);
  pool_barrier(lane);
  each_row(lane, st, s.o, s.heads, o, 1, [](int) {});
  Output add[] = {{s.x, s.hidden, m.residual_scale, true}};
  linears(lane, st, s.o, s.heads, o, add, 1);
  each_row(lane, st, s.h, s.hidden, gate_up, 2,
           [&](int t) { norm_or_copy(st, s.x + (size_t)t * s.hidden, l.ffn_norm, s.h + (size_t)t * s.hidden, 1); });
  Output to_inner[] = {{s.gate, s.inner, 1, false}, {s.up, s.inner, 1, false}};
  linears(lane, st, s.h, s.hidden, gate_up, to_inner, 2);
  each_row(lane, st, s.gate, s.inner, down, 1,
           [&](int t) { silu_multiply(s.gate + (size_t)t * s.inner, s.up + (size_t)t * s.inner, s.inner); });
  linears(lane, st, s.gate, s.inner, down, add, 1);
  for (int t, end; pool_claim(lane, st.count, pool_grain(st.count), &t, &end);)
    for (; t < end; t++)
      __builtin_memcpy((float*)st.b.out + (size_t)t * m.hidden, s.x + (size_t)t * s.hidden, m.hidden * sizeof(float));
}

void head_task(void* arg, Lane& lane) {
  const DraftStep& st = *(const DraftStep*)arg;
  const Model& m = st.d.m;
  const Tensor* w[] = {&m.head};
  each_row(lane, st, st.s.h, st.s.hidden, w, 1, [&](int t) {
    norm_or_copy(st, (const float*)st.b.out + (size_t)st.picked[t] * m.hidden, m.norm, st.s.h + (size_t)t * st.s.hidden,
                 m.logit_scale);
  });
  Output out[] = {{(float*)st.b.logits, m.head.rows, 1, false}};
  linears(lane, st, st.s.h, st.s.hidden, w, out, 1);
}

}  // namespace

size_t draft_scratch_bytes_of(const DraftHead& head, int rows, int lanes) { return plan(head, 0, rows, lanes).bytes; }

int draft_rows(const DraftHead& head, const DraftBatch& b) {
  DraftStep st = {head, b, (const Row*)b.rows, plan(head, b.scratch.at, b.capacity, b.lanes), nullptr, b.count};
  return pool_run(draft_task, &st);
}

int draft_logits_of(const DraftHead& head, const DraftBatch& b, const int32_t* picked, int count) {
  DraftStep st = {head, b, (const Row*)b.rows, plan(head, b.scratch.at, b.capacity, b.lanes), picked, count};
  return pool_run(head_task, &st);
}

void draft_taps_of(const Model& m, const Batch& b, int context, const int32_t* picked, int count, float* out, int stride,
                   bool normed, float scale) {
  Scratch s = plan_scratch(m, b.scratch.at, b.capacity, b.lanes, context);
  for (int i = 0; i < count; i++) {
    const float* x = s.x + (size_t)picked[i] * s.hidden;
    float* y = out + (size_t)i * stride;
    if (normed) rms_norm(x, (const float*)m.norm, y, m.hidden, m.rms_eps, scale);
    else
      for (int k = 0; k < m.hidden; k++) y[k] = x[k] * scale;
  }
}
