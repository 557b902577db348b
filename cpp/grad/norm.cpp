// RMSNorm: y = x r w with r = 1 / sqrt(mean x^2 + eps). Sums are in float64.
#include "grad.h"

// n: rows, columns, strides of x and y      p: x, w, y, r (one a row)      f: eps
void norm_forward(const Op& op, Lane& lane) {
  const int cols = op.n[1];
  const Real* w = op.at<Real>(1);
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++) {
      const Real* x = op.at<Real>(0) + (size_t)row * op.n[2];
      Real* y = op.at<Real>(2) + (size_t)row * op.n[3];
      double sums[4] = {};
      for (int c = 0; c < cols; c++) sums[c & 3] += (double)x[c] * x[c];
      const Real r = (Real)(1 / __builtin_sqrt(((sums[0] + sums[1]) + (sums[2] + sums[3])) / cols + op.f[0]));
      op.at<Real>(3)[row] = r;
      for (int c = 0; c < cols; c++) y[c] = x[c] * r * w[c];
    }
}

// dx += r (w dy - x r^2 mean(w dy x)).      n: rows, columns, strides of x (and dx) and dy      p: x, w, dx, r, dy
void norm_backward(const Op& op, Lane& lane) {
  const int cols = op.n[1];
  const Real* w = op.at<Real>(1);
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++) {
      const Real *x = op.at<Real>(0) + (size_t)row * op.n[2], *dy = op.at<Real>(4) + (size_t)row * op.n[3];
      Real* dx = op.at<Real>(2) + (size_t)row * op.n[2];
      const Real r = op.at<Real>(3)[row];
      double sums[4] = {};
      for (int c = 0; c < cols; c++) sums[c & 3] += (double)w[c] * dy[c] * x[c];
      const Real mean = (Real)(((sums[0] + sums[1]) + (sums[2] + sums[3])) / cols * r * r);
      for (int c = 0; c < cols; c++) dx[c] += r * (w[c] * dy[c] - x[c] * mean);
    }
}

constexpr int kStripe = 16;  // columns of a claim

// dw += sum over rows of dy x r.      n, p as norm_backward; p[5]: dw
void norm_weight(const Op& op, Lane& lane) {
  const int cols = op.n[1], stripes = (cols + kStripe - 1) / kStripe;
  for (int s, end; pool_claim(lane, stripes, 1, &s, &end);) {
    const int c0 = s * kStripe, count = cols - c0 < kStripe ? cols - c0 : kStripe;
    double sums[kStripe] = {};
    for (int row = 0; row < op.n[0]; row++) {
      const Real *x = op.at<Real>(0) + (size_t)row * op.n[2] + c0, *dy = op.at<Real>(4) + (size_t)row * op.n[3] + c0;
      const double r = op.at<Real>(3)[row];
      for (int c = 0; c < count; c++) sums[c] += r * x[c] * dy[c];
    }
    for (int c = 0; c < count; c++) op.at<Real>(5)[c0 + c] += (Real)sums[c];
  }
}

// out += sum over rows of x.      n: rows, columns, stride      p: x, out
void column_sums(const Op& op, Lane& lane) {
  const int cols = op.n[1], stripes = (cols + kStripe - 1) / kStripe;
  for (int s, end; pool_claim(lane, stripes, 1, &s, &end);) {
    const int c0 = s * kStripe, count = cols - c0 < kStripe ? cols - c0 : kStripe;
    double sums[kStripe] = {};
    for (int row = 0; row < op.n[0]; row++) {
      const Real* x = op.at<Real>(0) + (size_t)row * op.n[2] + c0;
      for (int c = 0; c < count; c++) sums[c] += x[c];
    }
    for (int c = 0; c < count; c++) op.at<Real>(1)[c0 + c] += (Real)sums[c];
  }
}
