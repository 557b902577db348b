#include "forward.h"

#include "../kernels/activate.h"
#include "../kernels/norm.h"
#include "../pool.h"
#include "branch.h"
#include "lora.h"
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
  bool adapted = false;  // some row has adapters

  bool runs(Phase phase) const { return phases & phase; }
};

Inputs inputs(const Step& st, const float* x, const Codes& c, int stride, int tokens) {
  return {x, c.q32, c.s32, c.c32, c.qt, c.st, tokens, stride, st.m.ternary_block};
}

// Columns [from, from + width) of row t of x.
void quantize_part(const Step& st, const float* x, const Codes& c, int stride, int t, int from, int width, Reads reads) {
  quantize_codes(x, c, (size_t)t * stride + from, width, st.m.ternary_block, reads);
}

// Normed rows (as they are where a layer has no norm), ready to be read by GEMM: those of the batch, or the picked ones.
Inputs norm_rows(Lane& lane, const Step& st, word w, float scale, int count, Reads reads) {
  const Model& m = st.m;
  const Scratch& s = st.s;
  Codes codes = s.codes;
  float* h = s.h;
  auto norm = [&](int t) {
    const float* x = s.x + (size_t)(st.picked ? st.picked[t] : t) * s.hidden;
    if (w) rms_norm(x, (const float*)w, h + (size_t)t * s.hidden, m.hidden, m.rms_eps, scale);
    else __builtin_memcpy(h + (size_t)t * s.hidden, x, m.hidden * sizeof(float));
    quantize_part(st, h, codes, s.hidden, t, 0, s.hidden, reads);
  };
  if (count <= kFew) {
    h = own_rows(s, lane.index, &codes);
    for (int t = 0; t < count && st.runs(kNorm); t++) norm(t);
  } else if (st.runs(kNorm)) {
    for (int t, end; pool_claim(lane, count, pool_grain(count), &t, &end);)
      for (; t < end; t++) norm(t);
    pool_barrier(lane);
  }
  return inputs(st, h, codes, s.hidden, count);
}

// Claims of `items` that hold so many panels each. One row: streams that are long, but of no more panels than brings anything. A few: short
// claims, so that lanes end together. Many: long ones, over which panels stay in the cache.
bool claim_panels(Lane& lane, int items, int per, int rows, int* begin, int* end) {
  constexpr int kMost = 64 * kStreams, kLeast = 2 * kStreams;
  if (rows == 1)
    return pool_claim_halves(lane, items, per < kMost ? kMost / per : 1, per < kLeast ? kLeast / per : 1, begin, end);
  int grain = rows > 32 || pool_lanes() == 1 ? pool_grain(items) : items / (pool_lanes() * 16);
  return pool_claim(lane, items, grain > 0 ? grain : 1, begin, end);
}

// One claim list over several weights that read the same rows: linears from `first` on of a layer, where rows may have adapters.
void project(Lane& lane, const Inputs& in, const Tensor* const* w, const Output* out, int weights, const LoraRows* lora = nullptr,
             int first_linear = 0) {
  if (lora) lora_down(lane, *lora, in, first_linear, weights);
  int total = 0;
  for (int i = 0; i < weights; i++) total += panels(*w[i]);
  for (int begin, end; claim_panels(lane, total, 1, in.tokens, &begin, &end);)
    for (int i = 0, first = 0; i < weights; first += panels(*w[i]), i++) {
      int from = begin > first ? begin - first : 0, to = end - first < panels(*w[i]) ? end - first : panels(*w[i]);
      if (from >= to) continue;
      gemm(*w[i], in, out[i], from, to);
      if (lora) lora_up(*lora, out[i], first_linear, first_linear + i, from, to);
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
      put_angles(m, st.rows[t], st.s.angles + (size_t)t * st.s.turn);
    }
  pool_barrier(lane);
}

void add_to(float* x, word bias, int from, int count) {
  if (!bias) return;
  const float* b = (const float*)bias + from;
  for (int k = 0; k < count; k++) x[k] += b[k];
}

// Biases and norms of queries, keys and values, where a layer has them.
void prepare(Lane& lane, const Step& st, const Layer& l) {
  if (!l.q_bias && !l.k_bias && !l.v_bias && !l.q_norm && !l.k_norm) return;
  const Model& m = st.m;
  int d = m.head_dim;
  auto norm = [&](float* x, word w, int heads) {
    if (!w) return;
    if (m.norms_whole) return rms_norm(x, (const float*)w, x, heads * d, m.rms_eps, 1);
    for (int h = 0; h < heads; h++) rms_norm(x + h * d, (const float*)w, x + h * d, d, m.rms_eps, 1);
  };
  for (int t, end; pool_claim(lane, st.b.count, 1, &t, &end);) {
    float *q = st.s.q + (size_t)t * st.s.heads, *k = st.s.k + (size_t)t * m.kv_heads * d,
          *v = st.s.v + (size_t)t * m.kv_heads * d;
    add_to(q, l.q_bias, 0, m.heads * d), add_to(k, l.k_bias, 0, m.kv_heads * d), add_to(v, l.v_bias, 0, m.kv_heads * d);
    norm(q, l.q_norm, m.heads), norm(k, l.k_norm, m.kv_heads);
  }
  pool_barrier(lane);
}

// The angles by which row t turns in a layer; null where it does not.
const float* angles_of(const Step& st, int layer, int t) {
  int table = ((const Layer*)st.m.layer)[layer].rope;
  return table < 0 ? nullptr : st.s.angles + (size_t)t * st.s.turn + table * st.m.head_dim;
}

// Row t for one KV head: turns its queries and its key, and stores key and value.
void turn_and_store(const Step& st, int layer, int t, int head) {
  const Model& m = st.m;
  const Scratch& s = st.s;
  int d = m.head_dim, group = m.heads / m.kv_heads;
  const float* angles = angles_of(st, layer, t);
  for (int h = head * group; h < (head + 1) * group; h++)
    rope_turn(s.q + (size_t)t * s.heads + h * d, angles, turned(m), d, query_scale(m));
  float* key = s.k + ((size_t)t * m.kv_heads + head) * d;
  rope_turn(key, angles, turned(m), d, 1);
  kv_write(m, *(const Sequence*)st.rows[t].sequence, layer, head, st.rows[t].slot, key,
           s.v + ((size_t)t * m.kv_heads + head) * d);
}

void rotate_and_store(Lane& lane, const Step& st, int layer) {
  for (int t, end; pool_claim(lane, st.b.count, pool_grain(st.b.count), &t, &end);)
    for (; t < end; t++)
      for (int h = 0; h < st.m.kv_heads; h++) turn_and_store(st, layer, t, h);
  pool_barrier(lane);
}

KvView view(const Step& st, const Row& row, int layer, int head) { return kv_view(st.m, row, layer, head); }

int window_of(const Step& st, int layer) { return st.m.rings ? ((const Layer*)st.m.layer)[layer].window : 0; }

Query query_of(const Step& st, int layer, int t, int head, float* out) {
  return row_query(st.m, st.s, st.rows, t, head, out, window_of(st, layer));
}

// Rows that attend_rows takes together: causal rows of a sequence, or branches of a tree.
bool together(const Row& a, const Row& b) {
  return a.sequence == b.sequence && (mask_of(a) ? mask_of(b) && a.base == b.base : !mask_of(b));
}

// Rows [t, stop) of one sequence against one KV head, span after span.
void attend_rows(Lane& lane, const Step& st, int layer, int head, int t, int stop) {
  const Model& m = st.m;
  int group = m.heads / m.kv_heads, d = m.head_dim, count = 0, limit = 0, low = 1 << 30;
  Query total[kQueries + 64], part[kQueries + 64];
  float *scratch = lane_scratch(lane, st.s), *states = scratch + st.s.lane_states;
  for (int i = t; i < stop; i++) {
    if (reach_of(st.rows[i]) > limit) limit = reach_of(st.rows[i]);
    for (int g = 0; g < group; g++, count++) {
      int h = head * group + g;
      total[count] = query_of(st, layer, i, h, st.s.o + (size_t)i * st.s.heads + h * d);
      if (total[count].first < low) low = total[count].first;
    }
  }
  code_queries(total, count, m, st.s, lane);
  attend_parts(total, count, part, states, d);
  KvView kv = view(st, st.rows[t], layer, head);
  if (total[0].mask) return attend_branches(total, part, stop - t, group, kv, scratch);
  int start = low / kSpan * kSpan;
  attend(total, count, kv, low / kTile * kTile, limit < start + kSpan ? limit : start + kSpan, scratch);
  for (int begin = start + kSpan; begin < limit; begin += kSpan) {
    attend(part, count, kv, begin, limit < begin + kSpan ? limit : begin + kSpan, scratch);
    for (int n = 0; n < count; n++) attend_merge(total[n], part[n], d);
  }
  for (int n = 0; n < count; n++) attend_finish(total[n], d);
}

// Whether the columns of one KV head's queries are whole blocks of what the output projection reads.
bool whole_blocks(const Step& st, const Tensor& w) {
  int width = st.m.heads / st.m.kv_heads * st.m.head_dim;
  return width % (w.kind == kTernary ? st.m.ternary_block : kBlock) == 0;
}

void quantize_output(Lane& lane, const Step& st, const Tensor& w) {
  if (is_float(w.kind)) return;
  const Scratch& s = st.s;
  for (int t, end; pool_claim(lane, st.b.count, pool_grain(st.b.count), &t, &end);)
    for (; t < end; t++) quantize_part(st, s.o, s.codes, s.heads, t, 0, s.heads, Reads(w));
  pool_barrier(lane);
}

// What has been attended to for one KV head by row t, quantised.
void quantize_head(const Step& st, const Tensor& w, int t, int head) {
  int width = st.m.heads / st.m.kv_heads * st.m.head_dim;
  quantize_part(st, st.s.o, st.s.codes, st.s.heads, t, head * width, width, Reads(w));
}

// A row alone in a long context: the lanes share its spans and merge them in order. The lane of the last span stores the row's
// key and value; each lane turns the queries it needs for itself.
void attend_spans(Lane& lane, const Step& st, int layer, const Tensor& w) {
  const Model& m = st.m;
  const Scratch& s = st.s;
  const Row& row = st.rows[0];
  int group = m.heads / m.kv_heads, d = m.head_dim, limit = row.base, low = first_seen(row, window_of(st, layer)),
      skipped = low / kSpan;
  int spans = spans_of(limit) - skipped, items = spans * m.kv_heads;
  const float* angles = angles_of(st, layer, 0);
  for (int i, end; pool_claim(lane, items, 1, &i, &end);) {
    int head = i / spans, span = i % spans, begin = (skipped + span) * kSpan,
        stop = limit < begin + kSpan ? limit : begin + kSpan;
    if (begin < low) begin = low / kTile * kTile;
    Query queries[kQueries];
    float *scratch = lane_scratch(lane, s), *own = scratch + s.lane_states;
    for (int g = 0; g < group; g++) {
      queries[g] =
          row_query(m, s, st.rows, 0, head * group + g, span_part(m, s, spans, head * group + g, span) + 2, window_of(st, layer));
      __builtin_memcpy(own + g * d, queries[g].q, d * 4);
      rope_turn(own + g * d, angles, turned(m), d, query_scale(m));
      queries[g].q = own + g * d;
    }
    code_queries(queries, group, m, s, lane);
    if (span == spans - 1) {
      float* key = own + group * d;
      __builtin_memcpy(key, s.k + head * d, d * 4);
      rope_turn(key, angles, turned(m), d, 1);
      kv_write(m, *(const Sequence*)row.sequence, layer, head, row.slot, key, s.v + head * d);
    }
    attend(queries, group, view(st, row, layer, head), begin, stop, scratch);
    keep_parts(queries, group);
  }
  pool_barrier(lane);
  bool whole = whole_blocks(st, w);
  merge_parts(
      lane, m, s, spans, [=](int) { return spans; },
      [&](int head) {
        if (whole) quantize_head(st, w, 0, head);
      });
  if (!whole) quantize_output(lane, st, w);
}

// A few rows, a KV head at a time, from projections to what the output projection reads.
void attend_heads(Lane& lane, const Step& st, int layer, const Tensor& w) {
  const Model& m = st.m;
  int count = st.b.count, tile = kQueries / (m.heads / m.kv_heads) > 0 ? kQueries / (m.heads / m.kv_heads) : 1;
  bool whole = whole_blocks(st, w);
  for (int head, end; pool_claim(lane, m.kv_heads, 1, &head, &end);) {
    for (int t = 0; t < count; t++) turn_and_store(st, layer, t, head);
    for (int first = 0, t = 0; t < count; first = t) {
      while (t < count && t - first < tile && together(st.rows[first], st.rows[t])) t++;
      attend_rows(lane, st, layer, head, first, t);
    }
    for (int t = 0; t < count && whole; t++) quantize_head(st, w, t, head);
  }
  pool_barrier(lane);
  if (!whole) quantize_output(lane, st, w);
}

// Rows whose queries are turned and whose keys are stored.
void attend_stored(Lane& lane, const Step& st, int layer) {
  const Model& m = st.m;
  int count = st.b.count, group = m.heads / m.kv_heads;
  SparseRows sparse = {m, st.s, st.rows, count, layer, st.parts};
  bool any = build_windows(lane, sparse);
  if (!(st.parts & 6)) return;
  if (count == 1 && any) return sparse_row(lane, sparse);
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

// Rows that attend_heads takes at most.
constexpr int kHeadRows = 16;

void attention(Lane& lane, const Step& st, int layer) {
  const Model& m = st.m;
  const Tensor& w = ((const Layer*)m.layer)[layer].o;
  const Row& first = st.rows[0];
  int count = st.b.count;
  bool dense = true, one = count == 1 && first.base == first.slot + 1 && !mask_of(first);
  for (int t = 0; t < count; t++) dense &= !is_sparse(m, st.rows[t]);
  if (dense && one && first.base > kSpan && spans_of(first.base) - first_seen(first, window_of(st, layer)) / kSpan > 1)
    return attend_spans(lane, st, layer, w);
  if (dense && (one || (count <= kHeadRows && m.kv_heads % pool_lanes() == 0))) return attend_heads(lane, st, layer, w);
  rotate_and_store(lane, st, layer);
  attend_stored(lane, st, layer);
  quantize_output(lane, st, w);
}

// A lane takes the columns of whole blocks, so that it can quantise what it computed.
void gate_up(Lane& lane, const Step& st, const Layer& l, const Inputs& in, const LoraRows* lora) {
  const Scratch& s = st.s;
  Output gate = {s.gate, s.inner, 1, false}, up = {s.up, s.inner, 1, false};
  int unit = l.down.kind == kTernary ? st.m.ternary_block : kBlock, units = s.inner / unit, per = unit / kPanel,
      all = panels(l.gate);
  if (lora) lora_down(lane, *lora, in, kLoraGate, 2);
  for (int u, stop; claim_panels(lane, units, per, in.tokens, &u, &stop);) {
    int begin = u * per, end = stop * per < all ? stop * per : all, first = u * unit, width = (stop - u) * unit;
    gemm(l.gate, in, gate, begin, end), gemm(l.up, in, up, begin, end);
    if (lora) lora_up(*lora, gate, kLoraGate, kLoraGate, begin, end), lora_up(*lora, up, kLoraGate, kLoraUp, begin, end);
    for (int t = 0; t < in.tokens; t++) {
      float *g = s.gate + (size_t)t * s.inner + first, *other = s.up + (size_t)t * s.inner + first;
      int own = st.m.intermediate - first < width ? st.m.intermediate - first : width;
      add_to(g, l.gate_bias, first, own), add_to(other, l.up_bias, first, own);
      st.m.gelu ? gelu_multiply(g, other, width) : silu_multiply(g, other, width);
      quantize_part(st, s.gate, s.inner_codes, s.inner, t, first, width, Reads(l.down));
    }
  }
  pool_barrier(lane);
}

// Adds r (W in + bias), normed where the layer norms what it gives, to the residual stream.
void give(Lane& lane, const Step& st, const Inputs& in, const Tensor& w, word bias, word post, const LoraRows* lora, int linear) {
  const Model& m = st.m;
  const Scratch& s = st.s;
  const Tensor* list[] = {&w};
  bool plain = !bias && !post;
  Output out[] = {plain ? Output{s.x, s.hidden, m.residual_scale, true} : Output{s.h, s.hidden, 1, false}};
  project(lane, in, list, out, 1, lora, linear);
  if (plain) return;
  for (int t, end; pool_claim(lane, in.tokens, 1, &t, &end);) {
    float *x = s.x + (size_t)t * s.hidden, *y = s.h + (size_t)t * s.hidden;
    add_to(y, bias, 0, m.hidden);
    if (post) rms_norm(y, (const float*)post, y, m.hidden, m.rms_eps, 1);
    for (int k = 0; k < m.hidden; k++) x[k] += m.residual_scale * y[k];
  }
  pool_barrier(lane);
}

void layers_task(void* arg, Lane& lane) {
  const Step& st = *(const Step*)arg;
  const Model& m = st.m;
  const Scratch& s = st.s;
  int count = st.b.count, kv = m.kv_heads * m.head_dim;
  if (st.begin == 0 && st.runs(kEmbed)) embed(lane, st);
  for (int i = st.begin; i < st.end; i++) {
    const Layer& l = ((const Layer*)m.layer)[i];
    LoraRows adapters = {st.b, st.rows, i};
    const LoraRows* lora = st.adapted ? &adapters : nullptr;
    const Tensor* qkv[] = {&l.q, &l.k, &l.v};
    Output outs[] = {{s.q, s.heads, 1, false}, {s.k, kv, 1, false}, {s.v, kv, 1, false}};
    Inputs in = norm_rows(lane, st, l.attn_norm, 1, count, Reads(l.q, l.k, l.v));
    if (st.runs(kQkv)) project(lane, in, qkv, outs, 3, lora, kLoraQ);
    if (st.runs(kAttend)) prepare(lane, st, l), attention(lane, st, i);
    if (st.runs(kOut)) give(lane, st, inputs(st, s.o, s.codes, s.heads, count), l.o, l.o_bias, l.attn_post, lora, kLoraO);
    in = norm_rows(lane, st, l.ffn_norm, 1, count, Reads(l.gate, l.up));
    if (st.runs(kGateUp)) gate_up(lane, st, l, in, lora);
    if (st.runs(kDown))
      give(lane, st, inputs(st, s.gate, s.inner_codes, s.inner, count), l.down, l.down_bias, l.ffn_post, lora, kLoraDown);
  }
}

void attention_task(void* arg, Lane& lane) {
  const Step& st = *(const Step*)arg;
  attend_stored(lane, st, st.begin);
}

void head_task(void* arg, Lane& lane) {
  const Step& st = *(const Step*)arg;
  const Model& m = st.m;
  Inputs in = norm_rows(lane, st, m.norm, m.logit_scale, st.end, Reads(m.head));
  const Tensor* w[] = {&m.head};
  Output out[] = {{(float*)st.b.logits, m.vocab, 1, false}};
  if (!st.runs(kHead)) return;
  project(lane, in, w, out, 1);
  if (!(m.logit_cap > 0)) return;
  constexpr int kSome = 4096;
  size_t all = (size_t)in.tokens * m.vocab;
  for (int i, end; pool_claim(lane, (int)((all + kSome - 1) / kSome), 1, &i, &end);) {
    size_t from = (size_t)i * kSome;
    soft_cap((float*)st.b.logits + from, (int)(all - from < kSome ? all - from : kSome), m.logit_cap);
  }
  pool_barrier(lane);
}

}  // namespace

uint64_t scratch_bytes_of(const Model& m, int rows, int lanes, int context) {
  return plan_scratch(m, 0, rows, lanes, context).bytes;
}

int forward_layers(const Model& m, const Batch& b, int context, int begin, int end, int phases) {
  Step st = {
      m, b,     (const Row*)b.rows, plan_scratch(m, b.scratch.at, b.capacity, b.lanes, context), begin, end, context, nullptr,
      7, phases};
  for (int i = 0; i < b.count; i++) st.adapted |= (bool)lora_of(st.rows[i]);
  if (begin == 0) windows_overwritten(st.rows, b.count);
  int status = pool_run(layers_task, &st);
  if (status == kOk && end == m.layers) windows_built(m, st.rows, b.count);
  return status;
}

int forward_attention(const Model& m, const Batch& b, int context, int layer, const float* q, float* o, int parts) {
  Step st = {
      m,       b,    (const Row*)b.rows, plan_scratch(m, b.scratch.at, b.capacity, b.lanes, context), layer, layer + 1, context,
      nullptr, parts};
  size_t width = (size_t)m.heads * m.head_dim;
  for (int t = 0; t < b.count; t++) __builtin_memcpy(st.s.q + (size_t)t * st.s.heads, q + t * width, width * 4);
  int status = pool_run(attention_task, &st);
  for (int t = 0; t < b.count; t++) __builtin_memcpy(o + t * width, st.s.o + (size_t)t * st.s.heads, width * 4);
  return status;
}

const int32_t* forward_choices(const Model& m, const Batch& b, int context, int* words) {
  Scratch s = plan_scratch(m, b.scratch.at, b.capacity, b.lanes, context);
  *words = s.unit.listed;
  return s.choices;
}

int forward_head(const Model& m, const Batch& b, int context, const int32_t* picked, int count, int phases) {
  Step st = {m, b,     (const Row*)b.rows, plan_scratch(m, b.scratch.at, b.capacity, b.lanes, context), 0, count, context, picked,
             7, phases};
  return pool_run(head_task, &st);
}
