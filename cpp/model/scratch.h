// Where a step's activations lie inside Batch.scratch.
#pragma once
#include "../kernels/attend.h"
#include "../kernels/attend8.h"
#include "../kernels/gemm.h"
#include "kv.h"
#include "sparse.h"

// Integer forms of rows: in blocks of 32, and of ternary_block. Row strides are those of the floats they came from.
struct Codes {
  int8_t *q32, *qt;
  BlockScale *s32, *st;
  BlockCentre* c32;
};

// What weights ask of the rows they read.
struct Reads {
  bool int8 = false, int6 = false, ternary = false;
  template <typename... T>
  explicit Reads(const T&... w) {
    (add(w), ...);
  }
  void add(const Tensor& w) {
    int8 |= w.kind >= kInt4 && w.kind <= kInt8Min, int6 |= w.kind == kInt6, ternary |= w.kind == kTernary;
  }
};

// Columns [at, at + width) of x, counted over all rows, in whole blocks, as the integers that are read.
static inline void quantize_codes(const float* x, const Codes& c, size_t at, int width, int ternary_block, Reads reads) {
  if (reads.int8) quantize(x + at, width, kBlock, c.q32 + at, c.s32 + at / kBlock, reads.int6 ? c.c32 + at / kBlock : nullptr);
  if (reads.ternary) quantize(x + at, width, ternary_block, c.qt + at, c.st + at / ternary_block, nullptr);
}

// So few rows are normed by every lane for itself: that takes less than waiting for one lane and fetching its results.
constexpr int kFew = 8;

struct Scratch {
  float *x, *h, *q, *k, *v, *o, *gate, *up, *angles, *parts, *lane;
  Codes codes, inner_codes;        // of h and o in turn; of gate
  int hidden, heads, inner, turn;  // row strides: hidden, heads * dim, intermediate, angles
  size_t lane_floats, lane_states, lane_codes;
  uintptr_t own;  // (lanes) of own_bytes: see own_rows
  size_t own_bytes;
  uint64_t bytes;   // may exceed what can be allocated, so that it can be refused by its true size
  uintptr_t units;  // of sparse attention: see sparse.h
  int32_t* choices;
  UnitPlan unit;
};

static inline int spans_of(int context) { return (context + kSpan - 1) / kSpan; }

// (rows, stride) codes that `take` finds memory for.
template <typename Take>
static inline Codes take_codes(uint64_t rows, uint64_t stride, Take&& take) {
  uint64_t values = rows * stride, blocks = values / kBlock, scales = blocks * sizeof(BlockScale);
  Codes c;
  c.q32 = (int8_t*)take(values), c.s32 = (BlockScale*)take(scales), c.qt = (int8_t*)take(values),
  c.st = (BlockScale*)take(scales), c.c32 = (BlockCentre*)take(blocks * sizeof(BlockCentre));
  return c;
}

// A lane's own kFew rows of normed states (hidden), and their codes.
static inline float* own_rows(const Scratch& s, int lane, Codes* codes, size_t* bytes = nullptr) {
  uintptr_t at = s.own + lane * s.own_bytes, begin = at;
  auto take = [&](uint64_t count) {
    uintptr_t p = at;
    at += (uintptr_t)((count + 63) & ~(uint64_t)63);
    return p;
  };
  float* h = (float*)take((uint64_t)kFew * s.hidden * 4);
  *codes = take_codes(kFew, s.hidden, take);
  if (bytes) *bytes = at - begin;
  return h;
}

static inline Scratch plan_scratch(const Model& m, uintptr_t at, int rows, int lanes, int context) {
  Scratch s;
  uint64_t used = 0;
  auto take = [&](uint64_t bytes) {
    uintptr_t p = at + (uintptr_t)used;
    used += (bytes + 63) & ~(uint64_t)63;
    return p;
  };
  uint64_t n = rows;
  s.hidden = pad_to(m.hidden, kBlock), s.heads = pad_to(m.heads * m.head_dim, kBlock), s.inner = pad_to(m.intermediate, kBlock);
  s.x = (float*)take(n * s.hidden * 4), s.h = (float*)take(n * s.hidden * 4);
  s.q = (float*)take(n * s.heads * 4), s.o = (float*)take(n * s.heads * 4);
  s.k = (float*)take(n * m.kv_heads * m.head_dim * 4), s.v = (float*)take(n * m.kv_heads * m.head_dim * 4);
  s.gate = (float*)take(n * s.inner * 4), s.up = (float*)take(n * s.inner * 4);
  s.turn = m.head_dim * (m.tables > 1 ? 2 : 1);
  s.angles = (float*)take(n * s.turn * 4);
  s.codes = take_codes(n, s.hidden > s.heads ? s.hidden : s.heads, take), s.inner_codes = take_codes(n, s.inner, take);
  s.parts = (float*)take((uint64_t)spans_of(context) * m.heads * (m.head_dim + 2) * 4);
  // A lane's tile of keys and of values, the partial state of its queries, and their codes.
  size_t queries = kQueries + m.heads / m.kv_heads;
  s.lane_states = 2 * tile_floats(m.head_dim), s.lane_codes = s.lane_states + queries * m.head_dim;
  s.lane_floats = s.lane_codes + (m.kv_type == kKvQ8 ? queries * query_code_bytes(m.head_dim) / sizeof(float) : 0);
  s.lane = (float*)take((uint64_t)s.lane_floats * lanes * 4);
  Codes own;
  s.own = 0, own_rows(s, 0, &own, &s.own_bytes);
  s.own = take((uint64_t)s.own_bytes * lanes);
  s.unit = plan_unit(m, rows, context);
  s.units = take(m.sparse.block ? (uint64_t)units_of(m, s.unit, lanes) * s.unit.bytes : 0);
  s.choices = (int32_t*)take(m.sparse.block ? n * m.kv_heads * s.unit.listed * 4 : 0);
  s.bytes = used;
  return s;
}
