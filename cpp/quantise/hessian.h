// H = sum of x x^T over the rows of inputs (rows, cols) float32, in float64. Only the upper triangle, diagonal included, is kept.
// Rows come in chunks: products and sums within a chunk are float32 in the order of rows, chunks are added in float64 in the
// order of calls. Neither lanes nor tiles change the order, so every runtime has the same bits.
#pragma once
#include "../pool.h"
#include "numbers.h"

constexpr int kTileCols = 64;    // columns of a tile of H
constexpr int kPackCols = 8;     // columns that lie together in the packed inputs
constexpr int kChunkRows = 128;  // rows that the packed inputs hold at most

static inline int packed_cols(int cols) { return (cols + kPackCols - 1) / kPackCols * kPackCols; }

struct HessianJob {
  double* h;       // (cols, cols)
  const float* x;  // (rows, cols)
  float* packed;   // (packed_cols / 8, rows, 8)
  int rows, cols;
};

void hessian_task(void* job, Lane& lane);

// The definition, element (i, j).
double hessian_ref(const HessianJob& job, int i, int j, double before);
