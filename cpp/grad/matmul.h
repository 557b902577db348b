// The micro-kernel, for whole matrices (matmul.cpp) and for the tiles of attention.
#pragma once
#include "grad.h"

constexpr int kRows = 6, kPanel = 2 * kWide;  // one tile of C: 6 rows, two vectors: 12 sums, 2 + 1 operands, of 15 registers
constexpr int kDepth = 256;                   // k of a slice
constexpr int kColumns = 1024;                // columns of B packed at once
constexpr int kRowsMost = 96;                 // rows of A that a lane packs at once

constexpr size_t packed_b() { return (size_t)kDepth * kColumns; }

KERNEL_PART void micro_clear(v128_t (&acc)[kRows][2]) {
  for (int r = 0; r < kRows; r++) acc[r][0] = acc[r][1] = vsplat(0);
}

// acc[r][.] += sum over k of a[k * a_step + r] * b[k * b_step ...].
KERNEL_PART void micro_tile(int k, const Real* a, int a_step, const Real* b, int b_step, v128_t (&acc)[kRows][2]) {
  for (; k > 0; k--, a += a_step, b += b_step) {
    v128_t b0 = vload(b), b1 = vload(b + kWide);
    for (int r = 0; r < kRows; r++) {
      v128_t x = vload_splat(a + r);
      acc[r][0] = vmadd(x, b0, acc[r][0]), acc[r][1] = vmadd(x, b1, acc[r][1]);
    }
  }
}

// The same with A as it lies: row r at a + r * a_row, numbers of k side by side. Rows from `height` on read row 0 again.
KERNEL_PART void micro_rows(int k, const Real* a, int a_row, int height, const Real* b, int b_step, v128_t (&acc)[kRows][2]) {
  const Real* at[kRows];
  for (int r = 0; r < kRows; r++) at[r] = a + (r < height ? (size_t)r * a_row : 0);
  for (; k >= 4; k -= 4) {
    for (int u = 0; u < 4; u++, b += b_step) {
      v128_t b0 = vload(b), b1 = vload(b + kWide);
      for (int r = 0; r < kRows; r++) {
        v128_t x = vload_splat(at[r] + u);
        acc[r][0] = vmadd(x, b0, acc[r][0]), acc[r][1] = vmadd(x, b1, acc[r][1]);
      }
    }
    for (int r = 0; r < kRows; r++) at[r] += 4;
  }
  for (; k > 0; k--, b += b_step) {
    v128_t b0 = vload(b), b1 = vload(b + kWide);
    for (int r = 0; r < kRows; r++) {
      v128_t x = vload_splat(at[r]++);
      acc[r][0] = vmadd(x, b0, acc[r][0]), acc[r][1] = vmadd(x, b1, acc[r][1]);
    }
  }
}
