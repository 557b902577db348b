#include "solve.h"

namespace {

constexpr int kB = kSolveBlock;

double dot(const double* a, const double* b, int n) {
  v128_t s0 = wasm_f64x2_const_splat(0), s1 = s0;
  int k = 0;
  for (; k + 4 <= n; k += 4) {
    s0 = wasm_f64x2_add(s0, wasm_f64x2_mul(wasm_v128_load(a + k), wasm_v128_load(b + k)));
    s1 = wasm_f64x2_add(s1, wasm_f64x2_mul(wasm_v128_load(a + k + 2), wasm_v128_load(b + k + 2)));
  }
  s0 = wasm_f64x2_add(s0, s1);
  double sum = wasm_f64x2_extract_lane(s0, 0) + wasm_f64x2_extract_lane(s0, 1);
  for (; k < n; k++) sum += a[k] * b[k];
  return sum;
}

// C (4, 2) -= rows a ... of length n by rows b: the inner loop of the factorisation.
KERNEL_PART void dots(const double* a, size_t stride, const double* b, int n, double* c) {
  v128_t s[4][2];
  for (int i = 0; i < 4; i++) s[i][0] = s[i][1] = wasm_f64x2_const_splat(0);
  for (int k = 0; k < n; k += 2) {
    v128_t b0 = wasm_v128_load(b + k), b1 = wasm_v128_load(b + stride + k);
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; i++) {
      v128_t v = wasm_v128_load(a + i * stride + k);
      s[i][0] = wasm_f64x2_add(s[i][0], wasm_f64x2_mul(v, b0)), s[i][1] = wasm_f64x2_add(s[i][1], wasm_f64x2_mul(v, b1));
      pin(s[i][0]), pin(s[i][1]);
    }
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 2; j++) c[i * stride + j] -= wasm_f64x2_extract_lane(s[i][j], 0) + wasm_f64x2_extract_lane(s[i][j], 1);
}

// Rows [row, row + rows) by columns [col, col + cols) of A -= L L^T over columns [from, from + n); below the diagonal alone.
void update(double* m, size_t stride, int row, int rows, int col, int cols, int from, int n) {
  for (int i = 0; i < rows; i += 4)
    for (int j = 0; j < cols; j += 2) {
      const double *a = m + (row + i) * stride + from, *b = m + (col + j) * stride + from;
      if (i + 4 <= rows && j + 2 <= cols && col + j + 1 <= row + i && n % 2 == 0) {
        dots(a, stride, b, n, m + (row + i) * stride + col + j);
        continue;
      }
      for (int r = i; r < i + 4 && r < rows; r++)
        for (int c = j; c < j + 2 && c < cols && col + c <= row + r; c++)
          m[(row + r) * stride + col + c] -= dot(m + (row + r) * stride + from, m + (col + c) * stride + from, n);
    }
}

// C (rows, cols) = or += sign * A (rows, n) B (n, cols); `lower`: B is lower triangular, `lower_a`: A is. Multiples of 4 are fast.
void product(const double* a, size_t sa, const double* b, size_t sb, double* c, size_t sc, int rows, int cols, int n, bool add,
             double sign, bool lower, bool lower_a) {
  for (int i = 0; i < rows; i += 4)
    for (int j = 0; j < cols; j += 4) {
      if (i + 4 <= rows && j + 4 <= cols && !lower && !lower_a) {
        v128_t s[4][2];
        for (int r = 0; r < 4; r++) s[r][0] = s[r][1] = wasm_f64x2_const_splat(0);
        for (int k = 0; k < n; k++) {
          v128_t b0 = wasm_v128_load(b + k * sb + j), b1 = wasm_v128_load(b + k * sb + j + 2);
#pragma clang loop unroll(full)
          for (int r = 0; r < 4; r++) {
            v128_t v = wasm_v128_load64_splat(a + (i + r) * sa + k);
            s[r][0] = wasm_f64x2_add(s[r][0], wasm_f64x2_mul(v, b0)), s[r][1] = wasm_f64x2_add(s[r][1], wasm_f64x2_mul(v, b1));
            pin(s[r][0]), pin(s[r][1]);
          }
        }
        v128_t g = wasm_f64x2_splat(sign);
        for (int r = 0; r < 4; r++)
          for (int h = 0; h < 2; h++) {
            double* to = c + (i + r) * sc + j + 2 * h;
            v128_t v = wasm_f64x2_mul(g, s[r][h]);
            wasm_v128_store(to, add ? wasm_f64x2_add(wasm_v128_load(to), v) : v);
          }
        continue;
      }
      for (int r = i; r < i + 4 && r < rows; r++)
        for (int q = j; q < j + 4 && q < cols; q++) {
          double s = 0;
          for (int k = lower ? q : 0; k < (lower_a ? r + 1 : n); k++) s += a[r * sa + k] * b[k * sb + q];
          c[r * sc + q] = add ? c[r * sc + q] + sign * s : sign * s;
        }
    }
}

// The damped matrix in its order, into the lower triangle.
void gather(const SolveJob& j, int row) {
  size_t n = j.cols;
  double* to = j.h + row * n;
  int a = j.order[row];
  for (int p = 0; p < row; p++) {
    int b = j.order[p];
    to[p] = a < b ? j.h[a * n + b] : j.h[b * n + a];
  }
  to[row] = j.diag[a] + j.damp;
}

bool factor(double* m, size_t stride, int at, int n) {
  for (int i = at; i < at + n; i++)
    for (int c = at; c <= i; c++) {
      double v = m[i * stride + c] - dot(m + i * stride + at, m + c * stride + at, c - at);
      if (c < i) m[i * stride + c] = v / m[c * stride + c];
      else if (!(v > 0) || v > 1.7e308) return false;
      else m[i * stride + i] = __builtin_sqrt(v);
    }
  return true;
}

// A lower triangle inverted in place.
void invert(double* m, size_t stride, int at, int n) {
  for (int i = at; i < at + n; i++) {
    double inverse = 1 / m[i * stride + i], row[kB];
    for (int c = at; c < i; c++) {
      double s = 0;
      for (int k = c; k < i; k++) s += m[i * stride + k] * m[k * stride + c];
      row[c - at] = -s * inverse;
    }
    for (int c = at; c < i; c++) m[i * stride + c] = row[c - at];
    m[i * stride + i] = inverse;
  }
}

}  // namespace

void solve_task(void* arg, Lane& lane) {
  SolveJob& j = *(SolveJob*)arg;
  double* m = j.h;
  size_t n = j.cols;
  int blocks = (j.cols + kB - 1) / kB;
  auto height = [&](int block) { return (block + 1) * kB < j.cols ? kB : j.cols - block * kB; };
  // The strict upper triangle is read, the lower one and the diagonal are written.
  for (int r, end; pool_claim(lane, j.cols, 16, &r, &end);)
    for (; r < end; r++) gather(j, r);
  pool_barrier(lane);
  for (int k = 0; k < blocks; k++) {
    int from = k * kB, width = height(k), rest = j.cols - from - width;
    for (int once, end; pool_claim(lane, 1, 1, &once, &end);)
      if (!factor(m, n, from, width)) j.failed = 1;
    pool_barrier(lane);
    if (j.failed) return;
    for (int r, end; pool_claim(lane, rest, 8, &r, &end);)
      for (; r < end; r++) {
        double* row = m + (from + width + r) * n + from;
        for (int c = 0; c < width; c++) row[c] = (row[c] - dot(row, m + (from + c) * n + from, c)) / m[(from + c) * n + from + c];
      }
    pool_barrier(lane);
    int below = blocks - k - 1;
    for (int at, end; pool_claim(lane, below * (below + 1) / 2, 1, &at, &end);)
      for (; at < end; at++) {
        int bi = 0, left = at;
        for (; left > bi; bi++) left -= bi + 1;
        update(m, n, (k + 1 + bi) * kB, height(k + 1 + bi), (k + 1 + left) * kB, height(k + 1 + left), from, width);
      }
    pool_barrier(lane);
  }
  for (int i = 0; i < blocks; i++) {
    int row = i * kB, rows = height(i);
    for (int b, end; pool_claim(lane, i, 1, &b, &end);)
      for (; b < end; b++)
        for (int k = b; k < i; k++)
          product(m + row * n + k * kB, n, m + (size_t)k * kB * n + b * kB, n, j.rows + b * kB, n, rows, kB, kB, k > b, 1, k == b,
                  false);
    pool_barrier(lane);
    for (int once, end; pool_claim(lane, 1, 1, &once, &end);) invert(m, n, row, rows);
    pool_barrier(lane);
    for (int b, end; pool_claim(lane, i, 1, &b, &end);)
      for (; b < end; b++)
        product(m + row * n + row, n, j.rows + b * kB, n, m + row * n + b * kB, n, rows, kB, rows, false, -1, false, true);
    pool_barrier(lane);
  }
}
