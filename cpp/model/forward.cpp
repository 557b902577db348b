#include "forward.h"

#include "../kernels/norm.h"
#include "../pool.h"
#include "branch.h"
#include "rows.h"
#include "scratch.h"

namespace {

struct Step {
  const Model& m;
  const Batch& b;
  const Row* rows;
  Scratch s;
  int begin, end, context;
  const int32_t* picked;
  int parts = 7;
  int phases = kAllPhases;

  bool runs(Phase phase) const { return phases & phase; }
};

bool reads_int8(const Tensor& w) { return w.kind >= kInt4 && w.kind <= kInt8Min; }

Inputs inputs(const Step& st, const float* x, int stride, int tokens) {
  const Scratch& s = st.s;
  return {x, s.q32, s.s32, s.qt, s.st, tokens, stride, st.m.ternary_block};
}

// The integer forms of row t that the weights ask for.
void quantize_row(const Step& st, const float* x, int stride, int t, bool int8, bool ternary) {
  const Scratch& s = st.s;
  int block = st.m.ternary_block;
  size_t row = (size_t)t * stride;
  if (int8) quantize(x + row, stride, kBlock, s.q32 + row, s.s32 + (size_t)t * (stride / kBlock));
  if (ternary) quantize(x + row, stride, block, s.qt + row, s.st + (size_t)t * (stride / block));
}

void norm_rows(Lane& lane, const Step& st, const float* x, const float* w, float scale, int count, bool int8, bool ternary) {
  const Model& m = st.m;
  for (int t, end; pool_claim(lane, count, pool_grain(count), &t, &end);)
    for (; t < end; t++) {
      float* y = st.s.h + (size_t)t * st.s.hidden;
      rms_norm(x + (size_t)(st.picked ? st.picked[t] : t) * st.s.hidden, w, y, m.hidden, m.rms_eps, scale);
      quantize_row(st, st.s.h, st.s.hidden, t, int8, ternary);
    }
  pool_barrier(lane);
}

void quantize_rows(Lane& lane, const Step& st, const float* x, int stride, const Tensor& w) {
  if (is_float(w.kind)) return;
  for (int t, end; pool_claim(lane, st.b.count, pool_grain(st.b.count), &t, &end);)
    for (; t < end; t++) quantize_row(st, x, stride, t, reads_int8(w), w.kind == kTernary);
  pool_barrier(lane);
}

// One claim list over several weights that read the same rows.
void project(Lane& lane, const Inputs& in, const Tensor* const* w, const Output* out, int weights) {
  int total = 0;
  for (int i = 0; i < weights; i++) total += panels(*w[i]);
  for (int begin, end; pool_claim(lane, total, pool_grain(total), &begin, &end);)
    for (int i = 0, first = 0; i < weights; first += panels(*w[i]), i++) {
      int from = begin > first ? begin - first : 0, to = end - first < panels(*w[i]) ? end - first : panels(*w[i]);
      if (from < to) gemm(*w[i], in, out[i], from, to);
    }
  pool_barrier(lane);
}

void embed(Lane& lane, const Step& st) {
  const Model& m = st.m;
  for (int t, end; pool_claim(lane, st.b.count, pool_grain(st.b.count), &t, &end);)
    for (; t < end; t++) {
      float* x = st.s.x + (size_t)t * st.s.hidden;
      weight_row(m.embedding, st.rows[t].token, x);
      for (int k = 0; k < m.hidden; k++) x[k] *= m.embedding_scale;
      rope_angles((const double*)m.rope, st.rows[t].position, m.rope_scale, st.s.angles + (size_t)t * m.head_dim, m.head_dim);
    }
  pool_barrier(lane);
}

void rotate_and_store(Lane& lane, const Step& st, int layer) {
  const Model& m = st.m;
  const Scratch& s = st.s;
  int d = m.head_dim, kv = m.kv_heads * d;
  float scale = 1.0f / __builtin_sqrtf((float)d);
  for (int t, end; pool_claim(lane, st.b.count, pool_grain(st.b.count), &t, &end);)
    for (; t < end; t++) {
      const float* angles = s.angles + (size_t)t * d;
      for (int h = 0; h < m.heads; h++) rope_rotate(s.q + (size_t)t * s.heads + h * d, angles, d, scale);
      for (int h = 0; h < m.kv_heads; h++) {
        float* key = s.k + (size_t)t * kv + h * d;
        rope_rotate(key, angles, d, 1);
        kv_write(m, *(const Sequence*)st.rows[t].sequence, layer, h, st.rows[t].slot, key, s.v + (size_t)t * kv + h * d);
      }
    }
  pool_barrier(lane);
}

KvView view(const Step& st, const Row& row, int layer, int head) { return kv_view(st.m, row, layer, head); }

Query query_of(const Step& st, int t, int head, float* out) { return row_query(st.m, st.s, st.rows, t, head, out); }

// Rows that attend_rows takes together: causal rows of a sequence, or branches of a tree.
bool together(const Row& a, const Row& b) { return a.sequence == b.sequence && (mask_of(a) ? mask_of(b) && a.base == b.base : !mask_of(b)); }

// Rows [t, stop) of one sequence against one KV head, span after span.
void attend_rows(Lane& lane, const Step& st, int layer, int head, int t, int stop) {
  const Model& m = st.m;
  int group = m.heads / m.kv_heads, d = m.head_dim, count = 0, limit = 0;
  Query total[kQueries + 64], part[kQueries + 64];
  float *scratch = st.s.lane + lane.index * st.s.lane_floats, *states = scratch + 2 * kTile * d;
  for (int i = t; i < stop; i++) {
    if (reach_of(st.rows[i]) > limit) limit = reach_of(st.rows[i]);
    for (int g = 0; g < group; g++, count++) {
      int h = head * group + g;
      total[count] = query_of(st, i, h, st.s.o + (size_t)i * st.s.heads + h * d);
      part[count] = total[count], part[count].out = states + count * d;
    }
  }
  KvView kv = view(st, st.rows[t], layer, head);
  if (total[0].mask) return attend_branches(total, part, stop - t, group, kv, scratch);
  attend(total, count, kv, 0, limit < kSpan ? limit : kSpan, scratch);
  for (int begin = kSpan; begin < limit; begin += kSpan) {
    attend(part, count, kv, begin, limit < begin + kSpan ? limit : begin + kSpan, scratch);
    for (int n = 0; n < count; n++) attend_merge(total[n], part[n], d);
  }
  for (int n = 0; n < count; n++) attend_finish(total[n], d);
}

// A single row: the lanes share its spans, and merge them in order afterwards.
void attend_row(Lane& lane, const Step& st, int layer) {
  const Model& m = st.m;
  int group = m.heads / m.kv_heads, limit = reach_of(st.rows[0]), spans = spans_of(limit), items = spans * m.kv_heads;
  for (int i, end; pool_claim(lane, items, 1, &i, &end);) {
    int head = i / spans, span = i % spans, begin = span * kSpan, stop = limit < begin + kSpan ? limit : begin + kSpan;
    Query queries[kQueries];
    float* scratch = st.s.lane + lane.index * st.s.lane_floats;
    for (int g = 0; g < group; g++) queries[g] = query_of(st, 0, head * group + g, span_part(m, st.s, spans, head * group + g, span) + 2);
    attend(queries, group, view(st, st.rows[0], layer, head), begin, stop, scratch);
    keep_parts(queries, group);
  }
  pool_barrier(lane);
  merge_parts(lane, m, st.s, spans, [=](int) { return spans; });
}

void attention(Lane& lane, const Step& st, int layer) {
  const Model& m = st.m;
  int count = st.b.count, group = m.heads / m.kv_heads;
  SparseRows sparse = {m, st.s, st.rows, count, layer, st.parts};
  bool any = build_windows(lane, sparse);
  if (!(st.parts & 6)) return;
  if (count == 1 && any) return sparse_row(lane, sparse);
  if (count == 1 && !mask_of(st.rows[0])) return attend_row(lane, st, layer);
  int tile = kQueries / group > 0 ? kQueries / group : 1;
  while (tile > 1 && (count + tile - 1) / tile * m.kv_heads < 2 * pool_lanes()) tile = (tile + 1) / 2;
  int tiles = (count + tile - 1) / tile;
  // Late rows see the most: taking them first leaves the short ones to even out the end.
  for (int i, end; pool_claim(lane, tiles * m.kv_heads, 1, &i, &end);) {
    int head = i % m.kv_heads, t = (tiles - 1 - i / m.kv_heads) * tile, stop = t + tile < count ? t + tile : count;
    for (int first = t; t < stop; first = t) {
      bool chooses = is_sparse(m, st.rows[first]);
      while (t < stop && together(st.rows[first], st.rows[t]) && is_sparse(m, st.rows[t]) == chooses) t++;
      if (chooses) sparse_rows(lane, sparse, head, first, t);
      else attend_rows(lane, st, layer, head, first, t);
    }
  }
  pool_barrier(lane);
}

void mlp(Lane& lane, const Step& st, const Layer& l) {
  const Model& m = st.m;
  const Scratch& s = st.s;
  Inputs in = inputs(st, s.h, s.hidden, st.b.count);
  Output gate = {s.gate, s.inner, 1, false}, up = {s.up, s.inner, 1, false};
  int total = st.runs(kGateUp) ? panels(l.gate) : 0;
  for (int begin, end; pool_claim(lane, total, pool_grain(total), &begin, &end);) {
    gemm(l.gate, in, gate, begin, end), gemm(l.up, in, up, begin, end);
    int first = begin * kPanel, width = (end * kPanel < s.inner ? end * kPanel : s.inner) - first;
    for (int t = 0; t < st.b.count; t++) silu_multiply(s.gate + (size_t)t * s.inner + first, s.up + (size_t)t * s.inner + first, width);
  }
  pool_barrier(lane);
  if (st.runs(kQuantize)) quantize_rows(lane, st, s.gate, s.inner, l.down);
  if (!st.runs(kDown)) return;
  const Tensor* w[] = {&l.down};
  Output out[] = {{s.x, s.hidden, m.residual_scale, true}};
  project(lane, inputs(st, s.gate, s.inner, st.b.count), w, out, 1);
}

void layers_task(void* arg, Lane& lane) {
  const Step& st = *(const Step*)arg;
  const Model& m = st.m;
  const Scratch& s = st.s;
  if (st.begin == 0 && st.runs(kEmbed)) embed(lane, st);
  for (int i = st.begin; i < st.end; i++) {
    const Layer& l = ((const Layer*)m.layer)[i];
    const Tensor* qkv[] = {&l.q, &l.k, &l.v};
    bool int8 = false, ternary = false;
    for (const Tensor* w : qkv) int8 |= reads_int8(*w), ternary |= w->kind == kTernary;
    if (st.runs(kNorm)) norm_rows(lane, st, s.x, (const float*)l.attn_norm, 1, st.b.count, int8, ternary);
    int kv = m.kv_heads * m.head_dim;
    Output outs[] = {{s.q, s.heads, 1, false}, {s.k, kv, 1, false}, {s.v, kv, 1, false}};
    if (st.runs(kQkv)) project(lane, inputs(st, s.h, s.hidden, st.b.count), qkv, outs, 3);
    if (st.runs(kRope)) rotate_and_store(lane, st, i);
    if (st.runs(kAttend)) attention(lane, st, i);
    if (st.runs(kQuantize)) quantize_rows(lane, st, s.o, s.heads, l.o);
    const Tensor* o[] = {&l.o};
    Output add[] = {{s.x, s.hidden, m.residual_scale, true}};
    if (st.runs(kOut)) project(lane, inputs(st, s.o, s.heads, st.b.count), o, add, 1);
    int8 = reads_int8(l.gate) || reads_int8(l.up), ternary = l.gate.kind == kTernary || l.up.kind == kTernary;
    if (st.runs(kNorm)) norm_rows(lane, st, s.x, (const float*)l.ffn_norm, 1, st.b.count, int8, ternary);
    if (st.phases & (kGateUp | kQuantize | kDown)) mlp(lane, st, l);
  }
}

void attention_task(void* arg, Lane& lane) {
  const Step& st = *(const Step*)arg;
  attention(lane, st, st.begin);
}

void head_task(void* arg, Lane& lane) {
  const Step& st = *(const Step*)arg;
  const Model& m = st.m;
  if (st.runs(kNorm)) norm_rows(lane, st, st.s.x, (const float*)m.norm, m.logit_scale, st.end, reads_int8(m.head), m.head.kind == kTernary);
  const Tensor* w[] = {&m.head};
  Output out[] = {{(float*)st.b.logits, m.vocab, 1, false}};
  if (st.runs(kHead)) project(lane, inputs(st, st.s.h, st.s.hidden, st.end), w, out, 1);
}

}  // namespace

uint64_t scratch_bytes_of(const Model& m, int rows, int lanes, int context) { return plan_scratch(m, 0, rows, lanes, context).bytes; }

int forward_layers(const Model& m, const Batch& b, int context, int begin, int end, int phases) {
  Step st = {m, b, (const Row*)b.rows, plan_scratch(m, b.scratch, b.capacity, b.lanes, context), begin, end, context, nullptr, 7, phases};
  if (begin == 0) windows_overwritten(st.rows, b.count);
  int status = pool_run(layers_task, &st);
  if (status == kOk && end == m.layers) windows_built(m, st.rows, b.count);
  return status;
}

int forward_attention(const Model& m, const Batch& b, int context, int layer, const float* q, float* o, int parts) {
  Step st = {m, b, (const Row*)b.rows, plan_scratch(m, b.scratch, b.capacity, b.lanes, context), layer, layer + 1, context, nullptr, parts};
  size_t width = (size_t)m.heads * m.head_dim;
  for (int t = 0; t < b.count; t++) __builtin_memcpy(st.s.q + (size_t)t * st.s.heads, q + t * width, width * 4);
  int status = pool_run(attention_task, &st);
  for (int t = 0; t < b.count; t++) __builtin_memcpy(o + t * width, st.s.o + (size_t)t * st.s.heads, width * 4);
  return status;
}

const int32_t* forward_choices(const Model& m, const Batch& b, int context, int* words) {
  Scratch s = plan_scratch(m, b.scratch, b.capacity, b.lanes, context);
  *words = s.unit.listed;
  return s.choices;
}

int forward_head(const Model& m, const Batch& b, int context, const int32_t* picked, int count, int phases) {
  Step st = {m, b, (const Row*)b.rows, plan_scratch(m, b.scratch, b.capacity, b.lanes, context), 0, count, context, picked, 7, phases};
  return pool_run(head_task, &st);
}
