// H = sum of x x^T over the rows of inputs (rows, cols) float32, in float64. Only the upper triangle, diagonal included, is kept.
// Rows come in chunks, and chunks are added in float64 in the order of calls; neither lanes nor tiles change the order, so every
// runtime has the same bits. Within a chunk
//   float:  products and sums are float32 in the order of rows;
//   int16:  each column k is rounded to 12 bits and a sign, q = rint(x * (float)(4095 / m)) with m its largest magnitude in the
//           chunk (below 2^-100: all 0), sums of q_i q_k are exact (128 * 4095^2 < 2^31), and times (m_i / 4095) * (m_k / 4095) they
//           are added. Products of 16 bits take two rows an instruction.
#pragma once
#include "../pool.h"
#include "numbers.h"

constexpr int kTileCols = 64;     // columns of a tile of H
constexpr int kPackCols = 8;      // columns that lie together in the packed inputs
constexpr int kChunkRows = 128;   // rows that the packed inputs hold at most
constexpr double kLevels = 4095;  // magnitudes of a rounded input

static inline int packed_cols(int cols) { return (cols + kPackCols - 1) / kPackCols * kPackCols; }

struct HessianJob {
  double* h;       // (cols, cols)
  const float* x;  // (rows, cols)
  float* packed;   // float: (packed_cols / 8, rows, 8); int16: int16 (packed_cols / 8, (rows + 1) / 2, 8, 2)
  double* steps;   // int16 alone: (packed_cols), m / 4095 of each column
  int rows, cols;
};

void hessian_task(void* job, Lane& lane);
void hessian_int16_task(void* job, Lane& lane);

// The definitions, element (i, j).
double hessian_ref(const HessianJob& job, int i, int j, double before);
double hessian_int16_ref(const HessianJob& job, int i, int j, double before);
