// RMSNorm: y = x r w with r = 1 / sqrt(mean x^2 + eps). Sums are in float64.
#include "grad.h"

namespace {

// The numbers of a float vector as two of float64.
v128_t low_half(v128_t x) { return wasm_f64x2_promote_low_f32x4(x); }
v128_t high_half(v128_t x) { return wasm_f64x2_promote_low_f32x4(wasm_i64x2_shuffle(x, x, 1, 1)); }

// Sum of x y, or of w x y, in float64: four sums by turns.
double dot(const Real* w, const Real* x, const Real* y, int count) {
  double sums[4] = {};
  int c = 0;
  if (!kDouble) {
    v128_t a = wasm_f64x2_splat(0), b = a;
    for (; c + 4 <= count; c += 4) {
      v128_t p = vload(x + c), q = vload(y + c), low = low_half(p), high = high_half(p);
      if (w) {
        v128_t v = vload(w + c);
        low = wasm_f64x2_mul(low_half(v), low), high = wasm_f64x2_mul(high_half(v), high);
      }
      a = wasm_f64x2_add(a, wasm_f64x2_mul(low, low_half(q))), b = wasm_f64x2_add(b, wasm_f64x2_mul(high, high_half(q)));
    }
    wasm_v128_store(sums, a), wasm_v128_store(sums + 2, b);
  }
  for (; c < count; c++) sums[c & 3] += (w ? (double)w[c] * x[c] : (double)x[c]) * y[c];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace

// n: rows, columns, strides of x and y      p: x, w, y, r (one a row)      f: eps
void norm_forward(const Op& op, Lane& lane) {
  const int cols = op.n[1];
  const Real* w = op.at<Real>(1);
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++) {
      const Real* x = op.at<Real>(0) + (size_t)row * op.n[2];
      Real* y = op.at<Real>(2) + (size_t)row * op.n[3];
      const Real r = (Real)(1 / __builtin_sqrt(dot(nullptr, x, x, cols) / cols + op.f[0]));
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
      const Real mean = (Real)(dot(w, dy, x, cols) / cols * r * r);
      for (int c = 0; c < cols; c++) dx[c] += r * (w[c] * dy[c] - x[c] * mean);
    }
}

constexpr int kStripe = 16;  // columns of a claim
constexpr int kWhole = 256;  // most of them where rows are read side by side

// dw += sum over rows of dy x r.      n, p as norm_backward; p[5]: dw
void norm_weight(const Op& op, Lane& lane) {
  // A lane's columns as one piece: pieces of a row lie together, and caches read ahead.
  const int cols = op.n[1], share = round_up((cols + pool_lanes() - 1) / pool_lanes(), kStripe);
  const int stripe = share < kWhole ? share : kWhole, stripes = (cols + stripe - 1) / stripe;
  for (int s, end; pool_claim(lane, stripes, 1, &s, &end);) {
    const int c0 = s * stripe, count = cols - c0 < stripe ? cols - c0 : stripe;
    double sums[kWhole] = {};
    for (int row = 0; row < op.n[0]; row++) {
      const Real *x = op.at<Real>(0) + (size_t)row * op.n[2] + c0, *dy = op.at<Real>(4) + (size_t)row * op.n[3] + c0;
      const double r = op.at<Real>(3)[row];
      int c = 0;
      for (const v128_t by = wasm_f64x2_splat(r); !kDouble && c + 4 <= count; c += 4) {
        v128_t p = vload(x + c), q = vload(dy + c);
        wasm_v128_store(sums + c,
                        wasm_f64x2_add(wasm_v128_load(sums + c), wasm_f64x2_mul(wasm_f64x2_mul(by, low_half(p)), low_half(q))));
        wasm_v128_store(sums + c + 2, wasm_f64x2_add(wasm_v128_load(sums + c + 2),
                                                     wasm_f64x2_mul(wasm_f64x2_mul(by, high_half(p)), high_half(q))));
      }
      for (; c < count; c++) sums[c] += r * x[c] * dy[c];
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
