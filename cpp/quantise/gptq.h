// GPTQ on a static grid (arXiv 2210.17323): columns in order, each rounded, its error spread over those that follow.
//   q = code(w), e = (w - S (q - Z)) / U_ii, w_j -= e U_ij for all later j
// The result does not depend on how columns are taken together or rows are shared among lanes.
#pragma once
#include "../pool.h"
#include "grid.h"

constexpr int kGptqRows = 16;    // rows of weights that a lane takes together
constexpr int kGptqBlock = 128;  // columns whose effect on the rest is applied together

struct GptqJob {
  RowsOf w;
  const double* inverse;  // (cols, cols): L^-1 of solve.h in the lower triangle
  const int32_t* order;   // (cols) as in solve.h
  const uint8_t* dead;    // (cols) 1: this input is always 0, and so become its weights
  Grid grid;
  uint8_t* codes;   // (rows, cols) by column
  double* losses;   // (rows) sum of e^2: the error in the damped Hessian
  double* scratch;  // (lanes, kGptqRows, cols + kGptqBlock)
};

void gptq_task(void* job, Lane& lane);

// The definition, for one row; `row` (cols) is scratch.
void gptq_ref(const GptqJob& job, int row, double* w, uint8_t* codes);

// Sum over columns j and k of d_j H_jk d_k / 2 for each row, d = w - S (q - Z) / factor; without codes d = w.
struct LossJob {
  RowsOf w;
  const double *h, *diag;  // the strict upper triangle of H, and its diagonal
  Grid grid;
  const uint8_t* codes;
  double* losses;   // (rows)
  double* scratch;  // (lanes, kLossRows, cols)
};
constexpr int kLossRows = 4;

void loss_task(void* job, Lane& lane);
