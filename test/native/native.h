// What native programs share: the exports as C sees them, memory of exact size (so that ASan sees the first byte beyond), drawn models.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <vector>
#include "abi.h"
#include "kernels/pack.h"
#include "kernels/gemm.h"
#include "model/draft.h"

extern "C" {
int pack_rows(const Tensor*, int, const uint8_t*, int, int, int);
int pack_words(const Tensor*, const uint32_t*, int, int, const uint16_t*, const uint32_t*, int, int);
int gather_rows(const Tensor*, const int32_t*, int, const Tensor*);
double tensor_bytes(const Tensor*);
void tensor_row(const Tensor*, int, float*);
int gemm_rows(const Tensor*, const float*, int8_t*, BlockScale*, float*, int, int, int);
void gemm_rows_ref(const Tensor*, const float*, int8_t*, BlockScale*, float*, int, int);
int choose_form(int, int);
void quantize_row(const float*, int, int, int8_t*, BlockScale*);
void quantize_row_ref(const float*, int, int, int8_t*, BlockScale*);
void norm_row(const float*, const float*, float*, int, float, float);
void norm_row_ref(const float*, const float*, float*, int, float, float);
void silu_row(float*, const float*, int);
void silu_row_ref(float*, const float*, int);
double kv_bytes(const Model*, int);
double scratch_bytes(const Model*, int, int, int);
double draft_scratch_bytes(const DraftHead*, int, int);
void rope_frequencies(double*, int, double, const float*);
int forward(const Model*, const Batch*, int, int, int);
int head(const Model*, const Batch*, int, const int32_t*, int);
int kv_move(const Model*, const Sequence*, int, Sequence*, int, int);
int kv_slide(const Model*, Sequence*, int, int, int);
int draft_forward(const DraftHead*, const DraftBatch*);
int draft_logits(const DraftHead*, const DraftBatch*, const int32_t*, int);
void pool_start(int);
void pool_worker(int);
void pool_fail();
}

static int lanes = 1;
static uint64_t state = 88172645463325252ull;
static void seed(uint64_t value) { state = 88172645463325252ull ^ value * 0x9e3779b97f4a7c15ull; }
static uint32_t next() { return state ^= state << 13, state ^= state >> 7, state ^= state << 17, (uint32_t)(state >> 16); }
static int below(int n) { return n > 0 ? (int)(next() % (uint32_t)n) : 0; }

static std::vector<void*> held_memory;
template <class T = uint8_t>
static T* memory(size_t bytes, bool random = false) {
  void* p = nullptr;
  if (posix_memalign(&p, 64, bytes ? bytes : 1)) abort();
  if (!random) memset(p, 0, bytes);
  for (size_t i = 0; random && i < bytes; i++) ((uint8_t*)p)[i] = (uint8_t)next();
  held_memory.push_back(p);
  return (T*)p;
}
static void drop() {
  for (void* p : held_memory) free(p);
  held_memory.clear();
}
static word W(const void* p) { return word{(uint64_t)(uintptr_t)p}; }
static float* floats(size_t n, int scale) {
  float* v = memory<float>(4 * n);
  for (size_t i = 0; i < n; i++) v[i] = (float)(below(2001) - 1000) / (float)scale;
  return v;
}
static float* ones(size_t n) {
  float* v = memory<float>(4 * n);
  for (size_t i = 0; i < n; i++) v[i] = 0.5f + (float)below(100) / 100.f;
  return v;
}

static const int kTypes[] = {0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 30, 34, 35};

// Rows of a file type. Tame: finite and small; wild: any bytes.
static uint8_t* file_rows(int type, int rows, int cols, bool wild) {
  size_t bytes = (size_t)cols / file_block(type) * file_block_bytes(type);
  uint8_t* raw = memory(bytes * rows, true);
  if (!wild && type == 0)
    for (size_t i = 0; i < bytes * rows / 4; i++) ((float*)raw)[i] = (float)(below(2001) - 1000) / 8000.f;
  if (!wild && type == 1)
    for (size_t i = 0; i < bytes * rows / 2; i++) ((uint16_t*)raw)[i] = (next() & 0x83ff) | 0x2800;
  if (!wild && type == 30)
    for (size_t i = 0; i < bytes * rows / 2; i++) ((uint16_t*)raw)[i] = (next() & 0x807f) | 0x3d00;
  int unit = file_block(type), size = file_block_bytes(type);
  for (size_t i = 0; !wild && unit > 1 && i < bytes * rows; i += size) {
    float values[256];
    for (bool finite = false;
         !finite;) {  // a scale of any bytes may be infinite: kernels need not agree with definitions on those
      dequantize_block(type, raw + i, values);
      finite = true;
      for (int j = 0; j < unit; j++) finite &= isfinite(values[j]) && fabsf(values[j]) < 1e4f;
      for (int j = 0; !finite && j < size; j++) raw[i + j] = (uint8_t)next();
    }
  }
  return raw;
}
// A packed weight of such rows, given in parts.
static Tensor weight(int type, int rows, int cols, int heads, bool wild) {
  Tensor t{packed_kind(type), rows, cols, 32, {}};
  if (t.kind == kTernary) t.group = 256;
  t.data = W(memory((size_t)tensor_bytes(&t)));
  size_t bytes = (size_t)cols / file_block(type) * file_block_bytes(type);
  uint8_t* raw = file_rows(type, rows, cols, wild);
  for (int at = 0; at < rows;) {
    int n = 1 + below(rows - at);
    uint8_t* part = memory(bytes * n);
    memcpy(part, raw + bytes * at, bytes * n);
    if (pack_rows(&t, type, part, at, n, heads)) abort();
    at += n;
  }
  return t;
}

struct Drawn {
  Model m;
  bool traits, wild;
};
static double* angles(int dim, double theta) {
  double* table = memory<double>(8 * (dim / 2));
  rope_frequencies(table, dim, theta, nullptr);
  return table;
}
// What families add, drawn one by one: norms behind, norms of queries and keys, biases, GELU, caps, a part of each head turning, a second
// table of angles and one for long texts, layers that do not turn, windows. Memory of exact size.
static void traits(Model& m, Layer* layers) {
  m.sparse = {};
  m.gelu = below(2), m.norms_whole = below(2), m.tables = 1 + below(2);
  m.rope_dim = below(2) ? 2 * (1 + below(m.head_dim / 2)) : 0;
  int dim = m.rope_dim ? m.rope_dim : m.head_dim;
  m.rope = W(angles(dim, 5e5));
  if (m.tables == 2) m.rope2 = W(angles(dim, 1e4)), m.rope_scale2 = 1.25f;
  if (below(2)) m.rope_long = W(angles(dim, 1e6)), m.rope_original = 1 + below(150);
  if (below(2)) m.score_cap = 2, m.attention_scale = .1f;
  if (below(2)) m.logit_cap = 3;
  bool post = below(2), both = below(2), normed = below(2), biased = below(2);
  int window = below(2) ? 1 + below(70) : 0, rings = 0, q = m.heads * m.head_dim, k = m.kv_heads * m.head_dim;
  // Room for a window and the rows of a batch and a tree behind it.
  if (window) m.ring = (window + 64 + 64 + 31) / 32 * 32;
  for (int i = 0; i < m.layers; i++) {
    Layer& l = layers[i];
    if (post) {
      l.attn_post = W(ones(m.hidden)), l.ffn_post = W(ones(m.hidden));
      if (!both) l.attn_norm = {0}, l.ffn_norm = {0};
    }
    if (normed) l.q_norm = W(ones(m.norms_whole ? q : m.head_dim)), l.k_norm = W(ones(m.norms_whole ? k : m.head_dim));
    word* biases[] = {&l.q_bias, &l.k_bias, &l.v_bias, &l.o_bias, &l.gate_bias, &l.up_bias, &l.down_bias};
    const int sizes[] = {q, k, k, m.hidden, m.intermediate, m.intermediate, m.hidden};
    for (int b = 0; biased && b < 7; b++)
      if (below(3)) *biases[b] = W(floats(sizes[b], 1000));
    l.rope = below(m.tables + 1) - 1;
    bool windowed = window && below(3);
    l.window = windowed ? window : 0, l.whole = i - rings, l.rings = rings;
    rings += windowed && m.ring;
  }
  m.rings = rings;
  if (!rings) m.ring = 0;
}
static Drawn model(bool plain = false) {
  Model m{};
  m.layers = 1 + below(3), m.kv_heads = 1 + below(3), m.heads = m.kv_heads * (1 + below(4)), m.head_dim = 4 * (1 + below(20));
  bool blocks = !plain && below(2);
  m.hidden = 4 * (1 + below(30)), m.intermediate = 4 * (1 + below(40));
  if (blocks) {
    m.head_dim = 32 * (1 + below(3)), m.hidden = 256, m.intermediate = 256 * (1 + below(2));
    if (m.heads * m.head_dim % 256) m.heads = m.kv_heads * 8;
  }
  m.vocab = 3 + below(70), m.kv_type = below(3), m.ternary_block = 256;
  m.rms_eps = 1e-5f, m.embedding_scale = 12, m.residual_scale = .3f, m.logit_scale = 1, m.rope_scale = 1;
  if (below(2)) {
    int stride = 1 << below(5);
    const int sizes[] = {32, 64, 16, 8, 96};
    m.sparse.stride = stride, m.sparse.kernel = stride * (1 + below(3)), m.sparse.block = sizes[below(5)];
    if (m.sparse.block % stride) m.sparse.block = 64;
    m.sparse.init = below(3), m.sparse.local = 1 + below(3), m.sparse.chosen = below(5),
    m.sparse.dense_len = below(2) ? 0 : below(150), m.sparse.coarse = below(2);
  }
  double* rope = memory<double>(8 * (m.head_dim / 2));
  rope_frequencies(rope, m.head_dim, 10000, nullptr);
  m.rope = W(rope), m.norm = W(ones(m.hidden));
  bool wild = !plain && below(3) == 0;
  auto type = [&] {
    static const int some[] = {0, 1, 30};
    return blocks ? kTypes[below(15)] : some[below(3)];
  };
  m.embedding = weight(type(), m.vocab, m.hidden, 0, wild);
  m.head = below(2) ? m.embedding : weight(type(), m.vocab, m.hidden, 0, wild);
  Layer* layer = memory<Layer>(sizeof(Layer) * m.layers);
  int q = m.heads * m.head_dim, k = m.kv_heads * m.head_dim;
  for (int l = 0; l < m.layers; l++)
    layer[l] = {W(ones(m.hidden)),
                W(ones(m.hidden)),
                weight(type(), q, m.hidden, below(2) ? m.heads : 0, wild),
                weight(type(), k, m.hidden, 0, wild),
                weight(type(), k, m.hidden, 0, wild),
                weight(type(), m.hidden, q, 0, wild),
                weight(type(), m.intermediate, m.hidden, 0, wild),
                weight(type(), m.intermediate, m.hidden, 0, wild),
                weight(type(), m.hidden, m.intermediate, 0, wild)};
  m.layer = W(layer);
  bool more = !plain && below(2);
  if (more) traits(m, layer);
  else
    for (int l = 0; l < m.layers; l++) layer[l].whole = l;
  return {m, more, wild};
}
