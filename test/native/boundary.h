// The rest of the boundary (cpp/exports.cpp), by itself: each export beside its definition, and what it refuses.
#pragma once
#include <stdio.h>
#include "definition.h"
#include "kernels/gemm.h"
#include "kernels/peak.h"
#include "kernels/scalar.h"
#include "model/forward.h"
#include "model/kv.h"
#include "native.h"

extern "C" {
int abi_version();
int abi_bytes(int);
int packed_kind_of(int);
int machine_traits();
void dequantize(int, const uint8_t*, int, float*);
void gelu_row(float*, const float*, int);
void gelu_row_ref(float*, const float*, int);
void cap_row(float*, int, float);
void cap_row_ref(float*, int, float);
void rope_row(const double*, int, float, float*, int);
void kv_store(const Model*, const Sequence*, int, int, int, const float*, const float*);
int attention(const Model*, const Batch*, int, int, const float*, float*, int);
double choices(const Model*, const Batch*, int);
int choice_words(const Model*, const Batch*, int);
void compress_row(const Model*, const Sequence*, int, int, int, int, float*, float*);
void compress_row_ref(const Model*, const Sequence*, int, int, int, int, float*, float*);
int draft_taps(const Model*, const Batch*, int, const int32_t*, int, float*, int, int, float);
int forward_phase(const Model*, const Batch*, int, int, int, int);
int peak_read(const uint8_t*, int, int);
int peak_dot(int, int);
}

static void differ(const char* what, int a, int b);
static bool same(const float* a, const float* b, size_t n);

static void sizes() {
  const int want[] = {sizeof(Tensor),    sizeof(Layer),      sizeof(Model),     sizeof(Row),     sizeof(Sequence), sizeof(Batch),
                      sizeof(DraftHead), sizeof(DraftBatch), sizeof(LoraLayer), sizeof(LoraUse), sizeof(LoraSet)};
  if (abi_version() != kAbiVersion) differ("abi_version", abi_version(), kAbiVersion);
  for (int i = -1; i < 13; i++)
    if (abi_bytes(i) != (i >= 0 && i < 11 ? want[i] : 0)) differ("abi_bytes", i, abi_bytes(i));
  for (int type = -1; type < 60; type++) {
    bool known = false;
    for (int one : kTypes) known |= one == type;
    if (packed_kind_of(type) != (known ? (int)packed_kind(type) : -1)) differ("packed_kind", type, packed_kind_of(type));
  }
  // Natively no instruction dots bytes; what the sign of 0 / 0 is, the processor says.
  float zero = 0;
  asm volatile("" : "+x"(zero));
  if (machine_traits() != kNeither + (signbit(zero / zero) ? 0 : 4)) differ("machine_traits", machine_traits(), 0);
}

// Rows of a file type beside the packed ones, in the order of heads that turn, too. The error allowed is test/kernels/rows.test.ts's.
static void values() {
  const float loss[] = {0, 0, 0, 1e-6f, 0, 1e-6f, 0, 5e-3f, 5e-3f, 2e-3f, 2e-3f, 0, 0, 0, 0};
  int which = below(15), type = kTypes[which], unit = file_block(type), cols = 256, heads = below(2) ? 3 : 0, rows = 24;
  size_t bytes = (size_t)cols / unit * file_block_bytes(type);
  uint8_t* raw = file_rows(type, rows, cols, false);
  Tensor t{packed_kind(type), rows, cols, 32, {}};
  if (t.kind == kTernary) t.group = 256;
  t.data = W(memory((size_t)tensor_bytes(&t)));
  if (pack_rows(&t, type, raw, 0, 10, heads) || pack_rows(&t, type, raw + 10 * bytes, 10, rows - 10, heads))
    differ("pack_rows: status", type, heads);
  if (pack_rows(&t, type, raw, rows - 3, 4, 0) != kBadArgument || pack_rows(&t, type, raw, -1, 1, 0) != kBadArgument)
    differ("pack_rows: check", type, rows);
  float *want = memory<float>(4 * cols), *got = memory<float>(4 * cols);
  for (int row = 0; row < rows; row++) {
    int dim = rows / (heads ? heads : 1), r = row % dim;
    dequantize(type, raw + row * bytes, cols / unit, want);
    tensor_row(&t, heads ? row - r + r % 2 * (dim / 2) + r / 2 : row, got);
    float most = 0;
    for (int k = 0; k < cols; k++) most = fmaxf(most, fabsf(want[k]));
    for (int k = 0; k < cols; k++)
      // Scales become halves, the least of which are 2^-24 apart, times a code of at most 127.
      if (fabsf(want[k] - got[k]) > loss[which] * most + (loss[which] > 0 ? ldexpf(127, -25) : 0)) {
        fprintf(stderr, "%g for %g, most %g\n", got[k], want[k], most);
        differ("dequantize", type, row);
      }
  }
}

// One value of any size, and the ends.
static float any_value() {
  const float ends[] = {0, -0.f, 1e-30f, -1e-30f, 88, -88, 1e4f, -1e4f, 1e30f, -1e30f};
  return below(4) ? (float)(below(4001) - 2000) / 100.f : ends[below(10)];
}

static void row_functions() {
  int n = 4 * (1 + below(60)), count = n - below(4);
  float *gate = memory<float>(4 * n), *up = floats(n, 100), *got = memory<float>(4 * n), *want = memory<float>(4 * n);
  for (int i = 0; i < n; i++) gate[i] = any_value();
  memcpy(got, gate, 4 * n), memcpy(want, gate, 4 * n);
  gelu_row(got, up, n), gelu_row_ref(want, up, n);
  for (int i = 0; i < n; i++) {
    // Far below zero the gate is e^-w, and what w is rounded by counts |w| times.
    double g = gate[i], w = fmin(100, 1.6 * fabs(g + .044715 * g * g * g));
    if (fabs(got[i] - want[i]) > (1e-6 + 2e-7 * w) * fabs(want[i]) + 1e-30) differ("gelu", n, i);
  }
  float cap = (float)(1 + below(100)) / 2;
  float *ends = memory<float>(4 * count), *other = memory<float>(4 * count);  // exactly what may be touched
  memcpy(ends, gate, 4 * count), memcpy(other, gate, 4 * count);
  cap_row(ends, count, cap), cap_row_ref(other, count, cap);
  for (int i = 0; i < count; i++)
    if (fabsf(ends[i] - other[i]) > 3e-7f * fabsf(other[i])) differ("cap", count, i);
  int dim = 2 * (1 + below(64)), position = below(3) ? below(1000) : below(131072);
  double* frequency = memory<double>(8 * (dim / 2));
  float *factors = ones(dim / 2), *table = memory<float>(4 * dim);
  rope_frequencies(frequency, dim, 10000, below(2) ? factors : nullptr);
  rope_row(frequency, position, 1.5f, table, dim);
  for (int i = 0; i < dim / 2; i++) {
    double angle = position * frequency[i];
    if (fabs(table[i] - 1.5 * cos(angle)) > 3e-7 || fabs(table[dim / 2 + i] - 1.5 * sin(angle)) > 3e-7) differ("rope", dim, i);
  }
}

// What peaks are measured with: bytes that are read, products that are counted.
static void peaks() {
  int pieces = 1 + below(5);
  size_t bytes = (size_t)pieces << 16;
  uint8_t* all = memory(bytes);
  if (read_all(all, bytes)) differ("read_all: zeros", pieces, 0);
  all[(next() << 8 | below(256)) % bytes] = (uint8_t)(1 + below(255));
  if (!read_all(all, bytes)) differ("read_all: a byte", pieces, 0);
  if (peak_read(all, pieces, 2) || peak_dot(pieces, 1 + below(9))) differ("peak: status", pieces, 0);
  // The first 32-bit lane of six sums of products of int8 by [0, 127], a pair in each 16-bit half, as dot_all() forms them.
  int rounds = below(5), want = 0;
  int8_t w[2][4], x[3][4];
  for (int i = 0; i < 2; i++) memcpy(w[i], &held_bits[i ? kLowPairs : kLowNibbles], 4);
  for (int i = 0; i < 3; i++) memcpy(x[i], &held_bits[i], 4);
  uint16_t sums[6][2];
  for (int i = 0; i < 6; i++)
    for (uint16_t& s : sums[i]) s = (uint16_t)(uint8_t)(i + rounds) * 0x101;
  for (int step = 0; step < 10 * rounds; step++) {
    for (int i = 0; i < 6; i++)
      for (int h = 0; h < 2; h++)
        for (int b = 2 * h; b < 2 * h + 2; b++) sums[i][h] = (uint16_t)(sums[i][h] + x[i / 2][b] * (uint8_t)w[i % 2][b]);
    for (int i = 0; i < 2; i++)
      for (int b = 0; b < 4; b++) w[i][b] = (int8_t)(w[i][b] + x[i][b]);
  }
  for (auto& s : sums) want ^= (int)((uint32_t)s[1] << 16 | s[0]);
  if (dot_all(rounds) != want) differ("dot_all", dot_all(rounds), want);
}

// A layer's attention alone, dense or sparse, over a cache that was stored slot by slot: rows in order, or a tree's.
static void attentions() {
  Model m{};
  const int dims[] = {16, 20, 32, 64}, groups[] = {1, 2, 3, 4, 8, 16}, blocks[] = {8, 16, 32, 64, 96, 128};
  m.layers = 1, m.kv_heads = 1 + below(3), m.heads = m.kv_heads * groups[below(6)], m.head_dim = dims[below(4)],
  m.kv_type = below(3);
  m.hidden = m.intermediate = m.vocab = 32, m.ternary_block = 256;
  int dim = m.head_dim, group = m.heads / m.kv_heads, capacity = 64 * (3 + below(4)), most = 9;
  if (below(4)) {
    Sparse& p = m.sparse;
    p.stride = 4 << below(3), p.kernel = p.stride * (1 + below(4));
    do p.block = blocks[below(6)];
    while (p.block % p.stride);
    p.init = below(3), p.local = 1 + below(4), p.chosen = below(3) ? below(6) : 1000, p.coarse = below(2);
  }
  const Sparse& p = m.sparse;
  Sequence s{};
  s.data = W(memory((size_t)kv_bytes(&m, capacity))), s.capacity = capacity;
  bool tree = below(3) == 0;
  int n = 1 + below(capacity - most), filled = n + (tree ? most : 0), count = 1 + below(tree || n > most ? most : n);
  float *key = memory<float>(4 * dim), *value = memory<float>(4 * dim);
  std::vector<std::vector<Vec>> keys((size_t)m.kv_heads), stored((size_t)m.kv_heads);
  for (int slot = 0; slot < filled; slot++)
    for (int head = 0; head < m.kv_heads; head++) {
      float scale = below(20) ? 1.5f : 6;
      for (int d = 0; d < dim; d++)
        key[d] = scale * (float)(below(2001) - 1000) / 1000, value[d] = (float)(below(2001) - 1000) / 1000;
      kv_store(&m, &s, 0, head, slot, key, value);
      Vec a(key, key + dim), b(value, value + dim);
      kv_read(m, s, 0, head, slot, key, value);
      double unit = m.kv_type == kKvF32 ? 0 : m.kv_type == kKvF16 ? ldexp(1, -11) : .51 / 127;
      for (int d = 0; d < dim; d++)
        if (fabs(a[(size_t)d] - key[d]) > unit * largest(a) || fabs(b[(size_t)d] - value[d]) > unit * largest(b))
          differ("kv_store", slot, d);
      keys[(size_t)head].push_back(Vec(key, key + dim)), stored[(size_t)head].push_back(Vec(value, value + dim));
    }
  Row* rows = memory<Row>(sizeof(Row) * most);
  uint64_t mask[16] = {};
  for (int i = 0; i < count; i++) {
    int slot = n - count + i, parent = below(i + 1) - 1, depth = 0;
    mask[i] = tree ? 1ull << i | (parent < 0 ? 0 : mask[parent]) : 0;
    for (uint64_t left = mask[i] & (mask[i] - 1); left; left &= left - 1) depth++;
    rows[i] = tree ? Row{W(&s), 0, n + depth, n + i, n, (uint32_t)mask[i], 0, n + count, 0}
                   : Row{W(&s), 0, slot, slot, slot + 1, 0, 0, n, 0};
  }
  Batch b{};
  b.rows = W(rows), b.scratch = W(memory((size_t)scratch_bytes(&m, most, lanes, capacity)));
  b.count = count, b.capacity = most, b.lanes = lanes, b.logit_capacity = 1;
  size_t width = (size_t)m.heads * dim;
  float *q = memory<float>(4 * width * count), *o = memory<float>(4 * width * count);
  for (size_t i = 0; i < width * count; i++) q[i] = (float)(below(2001) - 1000) / 1000 * 3 / sqrtf((float)dim);
  if (attention(&m, &b, capacity, 0, q, o, 7)) differ("attention: status", count, n);
  for (int head = 0; head < m.kv_heads; head++) {
    const auto &k = keys[(size_t)head], &v = stored[(size_t)head];
    std::vector<Vec> text(k.begin(), k.begin() + n), fine, coarse;
    if (p.block) fine = compressed(text, p.kernel, p.stride), coarse = compressed(text, 4 * p.kernel, 4 * p.stride);
    for (int t = 0; t < count; t++) {
      std::vector<Vec> queries;
      for (int g = 0; g < group; g++) {
        const float* at = q + (size_t)t * width + (size_t)(head * group + g) * dim;
        queries.push_back(Vec(at, at + dim));
      }
      std::vector<int> own;
      if (p.block) {
        const int32_t* list = (const int32_t*)(uintptr_t)choices(&m, &b, capacity) +
                              (size_t)(t * m.kv_heads + head) * choice_words(&m, &b, capacity);
        own.assign(list + 1, list + 1 + list[0]);
        Vec scores = block_scores(queries, fine, coarse, rows[t].position, p);
        std::vector<int> want = chosen_blocks(scores, rows[t].position, p), extra, missing;
        std::set_difference(own.begin(), own.end(), want.begin(), want.end(), std::back_inserter(extra));
        std::set_difference(want.begin(), want.end(), own.begin(), own.end(), std::back_inserter(missing));
        // Blocks chosen otherwise have scores that rounding cannot tell apart.
        if (extra.size() != missing.size() || !std::is_sorted(own.begin(), own.end())) differ("choices", t, head);
        for (size_t i = 0; i < extra.size(); i++)
          if (fabs(scores[(size_t)extra[i]] / scores[(size_t)missing[i]] - 1) > (m.kv_type == kKvF32 ? 1e-4 : 1e-2))
            differ("choices", t, extra[i]);
      }
      auto seen = [&](int slot) {
        int beyond = slot - rows[t].base;
        if (beyond >= 0) return beyond < 64 && (mask[t] >> beyond & 1) != 0;
        return !p.block || std::find(own.begin(), own.end(), slot / p.block) != own.end();
      };
      for (int g = 0; g < group; g++) {
        Vec bound, want = attended(queries[(size_t)g], k, v, seen, m.kv_type == kKvQ8, &bound);
        const float* got = o + (size_t)t * width + (size_t)(head * group + g) * dim;
        for (int d = 0; d < dim; d++)
          if (!(fabs(got[d] - want[(size_t)d]) - bound[(size_t)d] < 3e-6)) differ("attention", t, head * group + g);
      }
    }
    float *mean = memory<float>(4 * dim), *ref = memory<float>(4 * dim), *scratch = memory<float>(4 * 32 * dim);
    for (int level = 0; p.block && level < 2; level++) {
      const auto& windows = level ? coarse : fine;
      for (size_t w = 0; w < windows.size(); w++) {
        int from = (int)w * p.stride * (level ? 4 : 1);
        compress_row(&m, &s, 0, head, level, from, mean, scratch), compress_row_ref(&m, &s, 0, head, level, from, ref, scratch);
        for (int d = 0; d < dim; d++)
          if (fabs(ref[d] - windows[w][(size_t)d]) > 1e-6 || fabs(mean[d] - windows[w][(size_t)d]) > 1e-5)
            differ("compress", level, d);
      }
    }
  }
  if (kv_move(&m, &s, capacity - 1, &s, 0, 2) != kBadArgument || kv_slide(&m, &s, 1, 1, 1) != kBadArgument)
    differ("kv_move, kv_slide: check", capacity, 0);
}

// A step in phases, one kind of operation after the other, beside the whole; states taken out of it, and logits made of those.
static void phases() {
  Drawn d = model();
  Model& m = d.m;
  int capacity = 64, most = 1 + below(16), count = 1 + below(most), hidden = m.hidden;
  Batch b[2];
  Sequence* s[2];
  for (int i = 0; i < 2; i++) {
    s[i] = memory<Sequence>(sizeof(Sequence));
    s[i]->data = W(memory((size_t)kv_bytes(&m, capacity))), s[i]->capacity = capacity;
    Row* rows = memory<Row>(sizeof(Row) * most);
    b[i] = {}, b[i].capacity = most, b[i].lanes = lanes, b[i].logit_capacity = 1, b[i].count = count, b[i].rows = W(rows);
    b[i].scratch = W(memory((size_t)scratch_bytes(&m, most, lanes, capacity))), b[i].logits = W(memory(4ull * m.vocab));
    for (int r = 0; r < count; r++)
      rows[r] = {W(s[i]), i ? ((Row*)b[0].rows)[r].token : below(m.vocab), r, r, r + 1, 0, 0, count, 0};
  }
  int32_t first = 0, beyond = count;
  // Weights of any bytes may give what is no number.
  if (d.wild || forward(&m, &b[0], capacity, 0, m.layers) || head(&m, &b[0], capacity, &first, 1)) return;
  for (int l = 0; l < m.layers; l++)
    if (forward_phase(&m, &b[1], capacity, l, l + 1, (l ? 0 : kEmbed) | kNorm | kQkv | kAttend | kOut) ||
        forward_phase(&m, &b[1], capacity, l, l + 1, kNorm | kGateUp) || forward_phase(&m, &b[1], capacity, l, l + 1, kDown))
      differ("forward_phase: status", l, 0);
  if (forward_phase(&m, &b[1], capacity, m.layers, m.layers, kNorm | kHead)) differ("forward_phase: status", m.layers, 0);
  if (!same((float*)b[0].logits, (float*)b[1].logits, m.vocab)) differ("phases", count, m.layers);
  if (forward_phase(&m, &b[1], capacity, 0, m.layers + 1, 255) != kBadArgument) differ("forward_phase: check", m.layers, 0);
  int stride = hidden + below(9);
  int32_t* picked = memory<int32_t>(4 * count);
  for (int i = 0; i < count; i++) picked[i] = count - 1 - i;
  float *raw = memory<float>(4ull * stride * count), *normed = memory<float>(4ull * stride * count),
        *want = memory<float>(4 * hidden);
  if (draft_taps(&m, &b[0], capacity, picked, count, raw, stride, 0, 1) ||
      draft_taps(&m, &b[0], capacity, picked, count, normed, stride, 1, 1))
    differ("draft_taps: status", count, 0);
  if (draft_taps(&m, &b[0], capacity, &beyond, 1, raw, stride, 0, 1) != kBadArgument) differ("draft_taps: check", count, 0);
  for (int i = 0; i < count; i++) {
    norm_row_ref(raw + (size_t)i * stride, (const float*)m.norm, want, hidden, m.rms_eps, 1);
    for (int k = 0; k < hidden; k++)
      if (fabsf(normed[(size_t)i * stride + k] - want[k]) > 1e-6f * fabsf(want[k]) + 1e-30f) differ("draft_taps: norm", i, k);
  }
  // The first row's final state times the head is its logits, bit for bit; logit_scale is 1 here.
  int padded = (hidden + 31) / 32 * 32, block = m.head.kind == kTernary ? 256 : 32;
  if (padded % block || m.logit_cap > 0) return;
  float *x = memory<float>(4 * padded), *logits = memory<float>(4 * m.vocab);
  memcpy(x, normed + (size_t)(count - 1) * stride, 4 * hidden);
  size_t codes = (size_t)padded / block * (sizeof(BlockScale) + sizeof(BlockCentre));
  gemm_rows(&m.head, x, memory<int8_t>(padded), (BlockScale*)memory(codes), logits, 1, block, 1);
  if (!same(logits, (float*)b[0].logits, m.vocab)) differ("head of a state", m.head.kind, hidden);
}

static void boundary() {
  sizes(), values(), row_functions(), drop();
  peaks(), drop();
  attentions(), drop();
  phases(), drop();
}
