// Calibration: the inference forward pass of one layer, run in parts, with what enters each linear read out between them.
// A Model of one layer, whose weights are float32, and rows that carry hidden states in place of tokens.
#include "../abi.h"
#include "../kernels/norm.h"
#include "../model/rows.h"

namespace {

// What lies in the scratch of a batch: (capacity, stride).
struct Part {
  float* at;
  int cols, stride;
};

enum Which : int { kHidden = 0, kAttended = 1, kInner = 2 };

Part part_of(const Model& m, const Batch& b, int context, int which) {
  Scratch s = plan_scratch(m, b.scratch.at, b.capacity, b.lanes, context);
  switch (which) {
    case kHidden: return {s.x, m.hidden, s.hidden};
    case kAttended: return {s.o, m.heads * m.head_dim, s.heads};
    default: return {s.gate, m.intermediate, s.inner};
  }
}

}  // namespace

// Rows of a batch from plain memory (count, cols) into its scratch; with the hidden states go the angles of their positions.
ABI(calibrate_put) int calibrate_put(Ref<const Model> m, Ref<const Batch> b, int context, int which, Ref<const float> from) {
  if (b->count < 1 || b->count > b->capacity) return kBadArgument;
  Part p = part_of(*m, *b, context, which);
  for (int t = 0; t < b->count; t++) {
    float* to = p.at + (size_t)t * p.stride;
    __builtin_memcpy(to, from + (size_t)t * p.cols, (size_t)p.cols * 4);
    for (int k = p.cols; k < p.stride; k++) to[k] = 0;
  }
  if (which != kHidden) return kOk;
  Scratch s = plan_scratch(*m, b->scratch.at, b->capacity, b->lanes, context);
  const Row* rows = (const Row*)b->rows;
  for (int t = 0; t < b->count; t++) put_angles(*m, rows[t], s.angles + (size_t)t * s.turn);
  return kOk;
}

// The same in the other direction.
ABI(calibrate_take) int calibrate_take(Ref<const Model> m, Ref<const Batch> b, int context, int which, Ref<float> to) {
  if (b->count < 1 || b->count > b->capacity) return kBadArgument;
  Part p = part_of(*m, *b, context, which);
  for (int t = 0; t < b->count; t++) __builtin_memcpy(to + (size_t)t * p.cols, p.at + (size_t)t * p.stride, (size_t)p.cols * 4);
  return kOk;
}

// Normed rows (count, cols) of hidden states (count, cols), as the linears of the layer read them: as they are where w is null.
ABI(calibrate_norm) void calibrate_norm(Ref<const float> x, Ref<const float> w, Ref<float> y, int count, int cols, float eps) {
  for (int t = 0; t < count && w; t++) rms_norm(x + (size_t)t * cols, w, y + (size_t)t * cols, cols, eps, 1);
  if (!w) __builtin_memcpy(y, x, (size_t)count * cols * sizeof(float));
}
