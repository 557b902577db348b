// BitCPM's weights in use: per group of a row s = max(mean |w|, 1e-5), code = w / s rounded half to even and clamped to -1, 0, 1.
// The gradient passes straight through: dL/dW is dL/dWq, and nothing flows through s.
#include "grad.h"

// n: rows, columns, group (the last of a row may be shorter)      p: W, Wq
void ternary(const Op& op, Lane& lane) {
  const int cols = op.n[1], group = op.n[2];
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++)
      for (int c0 = 0; c0 < cols; c0 += group) {
        const Real* w = op.at<Real>(0) + (size_t)row * cols + c0;
        Real* q = op.at<Real>(1) + (size_t)row * cols + c0;
        const int count = cols - c0 < group ? cols - c0 : group;
        double sum = 0;
        for (int c = 0; c < count; c++) sum += __builtin_fabs((double)w[c]);
        double mean = sum / count;
        const Real s = (Real)(mean > 1e-5 ? mean : 1e-5);
        for (int c = 0; c < count; c++) {
          double code = __builtin_rint((double)w[c] / s);
          q[c] = (Real)(code > 1 ? 1 : code < -1 ? -1 : code) * s;
        }
      }
}
