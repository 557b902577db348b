// Low-rank additions to a layer's linears (LoRA, arXiv 2106.09685), for rows whose sequences have adapters.
// Definition, for each adapter of a row's set in order: u[j] = sum_k A[j][k] x[k], then y[i] = y[i] + (r s) (sum_j B[i][j] u[j]),
// where x is the linear's input in float32 whatever the linear's kind, s the adapter's scale times the linear's own (alpha / rank), and y what the linear has given times r
// (1, or the residual scale). Sums in order, every operation rounded once: the float kernels compute them, so a row's bits depend neither
// on the rows beside it nor on lanes. Biases and norms come after.
#pragma once
#include "../kernels/gemm.h"
#include "../pool.h"

enum LoraPart : int { kLoraQ = 0, kLoraO = 3, kLoraGate = 4, kLoraUp = 5, kLoraDown = 6 };

struct LoraRows {
  const Batch& b;
  const Row* rows;
  int layer;
};

static inline word lora_of(const Row& row) { return ((const Sequence*)row.sequence)->lora; }

// u of `count` linears from `first` on, which read the rows `in`, into the batch's memory.
void lora_down(Lane& lane, const LoraRows& st, const Inputs& in, int first, int count);

// Adds B u to panels [begin, end) of one of these linears, as gemm() has just written them to `out`.
void lora_up(const LoraRows& st, const Output& out, int first, int linear, int begin, int end);
