// From H to U with inv(H + damp) = U^T U, U upper triangular, in the lower triangle of the same matrix.
//
// `order` gives the columns in the order in which GPTQ takes them, LAST first: position p of the result is column order[p].
// With A = H + damp in that reversed order and A = L L^T, L^-1 is U turned about both axes: U of the step at position p is
// row p of L^-1, from the diagonal to the left. One factorisation and one triangular inverse, no inverse of A.
#pragma once
#include "../pool.h"
#include "numbers.h"

struct SolveJob {
  double* h;             // (cols, cols): the strict upper triangle is H and stays; the rest becomes L^-1
  const double* diag;    // (cols) of H by column
  const int32_t* order;  // (cols)
  double* rows;          // (kSolveBlock, cols) scratch
  double damp;           // added to the diagonal
  int cols;
  int failed;  // 1: not positive definite
};

constexpr int kSolveBlock = 64;

void solve_task(void* job, Lane& lane);
