// Where a step's activations lie inside Batch.scratch.
#pragma once
#include "../kernels/attend.h"
#include "../kernels/gemm.h"
#include "kv.h"
#include "sparse.h"

struct Scratch {
  float *x, *h, *q, *k, *v, *o, *gate, *up, *angles, *parts, *lane;
  int8_t *q32, *qt;
  BlockScale *s32, *st;
  int hidden, heads, inner, widest;  // row strides: hidden, heads * dim, intermediate, and their maximum
  size_t lane_floats;
  uint64_t bytes;  // may exceed what can be allocated, so that it can be refused by its true size
  word units;  // of sparse attention: see sparse.h
  int32_t* choices;
  UnitPlan unit;
};

static inline int spans_of(int context) { return (context + kSpan - 1) / kSpan; }

static inline Scratch plan_scratch(const Model& m, word at, int rows, int lanes, int context) {
  Scratch s;
  uint64_t used = 0;
  auto take = [&](uint64_t bytes) {
    word p = at + (word)used;
    used += (bytes + 63) & ~(uint64_t)63;
    return p;
  };
  uint64_t n = rows;
  s.hidden = pad_to(m.hidden, kBlock), s.heads = pad_to(m.heads * m.head_dim, kBlock), s.inner = pad_to(m.intermediate, kBlock);
  s.widest = s.hidden > s.heads ? s.hidden : s.heads;
  if (s.inner > s.widest) s.widest = s.inner;
  s.x = (float*)take(n * s.hidden * 4), s.h = (float*)take(n * s.hidden * 4);
  s.q = (float*)take(n * s.heads * 4), s.o = (float*)take(n * s.heads * 4);
  s.k = (float*)take(n * m.kv_heads * m.head_dim * 4), s.v = (float*)take(n * m.kv_heads * m.head_dim * 4);
  s.gate = (float*)take(n * s.inner * 4), s.up = (float*)take(n * s.inner * 4);
  s.angles = (float*)take(n * m.head_dim * 4);
  s.q32 = (int8_t*)take(n * s.widest), s.s32 = (BlockScale*)take(n * (s.widest / kBlock) * sizeof(BlockScale));
  s.qt = (int8_t*)take(n * s.widest), s.st = (BlockScale*)take(n * (s.widest / kBlock) * sizeof(BlockScale));
  s.parts = (float*)take((uint64_t)spans_of(context) * m.heads * (m.head_dim + 2) * 4);
  // A lane's tile of keys and of values, and the running and the partial state of its queries.
  size_t queries = kQueries + m.heads / m.kv_heads;
  s.lane_floats = (size_t)2 * kTile * m.head_dim + queries * m.head_dim;
  s.lane = (float*)take((uint64_t)s.lane_floats * lanes * 4);
  s.unit = plan_unit(m, rows, context);
  s.units = take(m.sparse.block ? (uint64_t)units_of(m, s.unit, lanes) * s.unit.bytes : 0);
  s.choices = (int32_t*)take(m.sparse.block ? n * m.kv_heads * s.unit.listed * 4 : 0);
  s.bytes = used;
  return s;
}
