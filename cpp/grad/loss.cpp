// Losses over a slice of rows, so that only that slice's logits exist. Each writes its gradient over the logits it was given.
#include "grad.h"

// x <- e^(x - max), sum: of those; gives the maximum. Sums are float64 over pieces of 256 numbers.
static double exponentials(Real* x, int count, double* sum, const Exp& e) {
  Real most = x[0];
  v128_t top = vsplat(x[0]);
  int i = 0;
  for (; i + kWide <= count; i += kWide) top = vmax(top, vload(x + i));
  Real lanes[kWide];
  vstore(lanes, top);
  for (int l = 0; l < kWide; l++) most = lanes[l] > most ? lanes[l] : most;
  for (; i < count; i++) most = x[i] > most ? x[i] : most;
  double total = 0;
  for (i = 0; i + kWide <= count;) {
    v128_t part = vsplat(0);
    for (int n = 0; n < 256 && i + kWide <= count; n += kWide, i += kWide) {
      v128_t p = vexp(vsub(vload(x + i), vsplat(most)), e);
      vstore(x + i, p), part = vadd(part, p);
    }
    vstore(lanes, part);
    for (int l = 0; l < kWide; l++) total += lanes[l];
  }
  for (; i < count; i++) x[i] = (Real)exp_clamped((double)x[i] - most), total += x[i];
  *sum = total;
  return most;
}

double log_sum_exp(Real* x, int count, double* sum, const Exp& e) {
  double most = exponentials(x, count, sum, e);
  return most + log_positive(*sum);
}

double log_sum_exp_ref(const Real* x, int count) {
  double most = -1e300, sum = 0;
  for (int i = 0; i < count; i++) most = x[i] > most ? x[i] : most;
  for (int i = 0; i < count; i++) sum += exp_clamped(x[i] - most);
  return most + log_positive(sum);
}

// Row loss w (nll + z lse^2) / W, with W the weight of the whole batch; d logits = factor w / W (p (1 + 2 z lse) - onehot).
//   n: rows, vocabulary, whether logits become gradients
//   p: logits, labels, weights, 1 / W (float64), nll out, w (nll + z lse^2) / W out (float64 a row, unscaled)      f: z, factor
void cross_entropy(const Op& op, Lane& lane) {
  const int vocab = op.n[1];
  const Exp e = held_exp();
  const double inverse = *op.at<double>(3);
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++) {
      Real* x = op.at<Real>(0) + (size_t)row * vocab;
      const double weight = op.at<Real>(2)[row];
      const int label = op.at<int32_t>(1)[row];
      op.at<double>(4)[row] = op.at<double>(5)[row] = 0;
      if (!(weight > 0)) {
        for (int i = 0; i < vocab && op.n[2]; i++) x[i] = 0;
        continue;
      }
      const double right = x[label];
      double sum, lse = log_sum_exp(x, vocab, &sum, e);
      op.at<double>(4)[row] = lse - right;
      op.at<double>(5)[row] = weight * inverse * (lse - right + op.f[0] * lse * lse);
      if (!op.n[2]) continue;
      const double by = op.f[1] * weight * inverse;
      const Real p = (Real)(by * (1 + 2 * op.f[0] * lse) / sum);
      for (int i = 0; i < vocab; i++) x[i] *= p;
      x[label] -= (Real)by;
    }
}

void cross_entropy_ref(const Op& op, Lane& lane) {
  if (lane.index) return;
  const int vocab = op.n[1];
  for (int row = 0; row < op.n[0]; row++) {
    Real* x = op.at<Real>(0) + (size_t)row * vocab;
    const double by = op.at<Real>(2)[row] * *op.at<double>(3);
    const int label = op.at<int32_t>(1)[row];
    const double lse = log_sum_exp_ref(x, vocab), nll = by > 0 ? lse - x[label] : 0;
    op.at<double>(4)[row] = nll, op.at<double>(5)[row] = by > 0 ? by * (nll + op.f[0] * lse * lse) : 0;
    for (int i = 0; i < vocab && op.n[2]; i++)
      x[i] = by > 0 ? (Real)(op.f[1] * by * (exp_clamped(x[i] - lse) * (1 + 2 * op.f[0] * lse) - (i == label))) : 0;
  }
}

// Against a distribution: row loss w / W * -sum p log q, p = softmax of the target's logits; d logits = factor w / W (q - p).
//   n: rows, vocabulary, whether logits become gradients
//   p: logits, target logits (overwritten), weights, 1 / W, row loss out      f: factor
void soft_cross_entropy(const Op& op, Lane& lane) {
  const int vocab = op.n[1];
  const Exp e = held_exp();
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++) {
      Real *x = op.at<Real>(0) + (size_t)row * vocab, *t = op.at<Real>(1) + (size_t)row * vocab;
      const double by = op.at<Real>(2)[row] * *op.at<double>(3);
      op.at<double>(4)[row] = 0;
      if (!(by > 0)) {
        for (int i = 0; i < vocab && op.n[2]; i++) x[i] = 0;
        continue;
      }
      double target, sum, cross = 0;
      exponentials(t, vocab, &target, e);
      for (int i = 0; i < vocab; i++) cross += (double)t[i] * x[i];
      double lse = log_sum_exp(x, vocab, &sum, e);
      op.at<double>(4)[row] = by * (lse - cross / target);
      const Real q = (Real)(op.f[0] * by / sum), p = (Real)(op.f[0] * by / target);
      for (int i = 0; i < vocab && op.n[2]; i++) x[i] = q * x[i] - p * t[i];
    }
}

// Smooth L1 (beta 1), mean over features: row loss w / W mean f(y - t); dy = factor w / W clamp(y - t, -1, 1) / features.
//   n: rows, features, strides of y, t and dy      p: y, t, weights, 1 / W, row loss out, dy      f: factor
void smooth_l1(const Op& op, Lane& lane) {
  const int cols = op.n[1];
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++) {
      const Real *y = op.at<Real>(0) + (size_t)row * op.n[2], *t = op.at<Real>(1) + (size_t)row * op.n[3];
      Real* dy = op.at<Real>(5) + (size_t)row * op.n[4];
      const double by = op.at<Real>(2)[row] * *op.at<double>(3);
      double sum = 0;
      for (int c = 0; c < cols; c++) {
        // Rows that do not count may lie beside what was never computed.
        double d = by > 0 ? (double)y[c] - t[c] : 0, size = d < 0 ? -d : d;
        sum += size < 1 ? 0.5 * d * d : size - 0.5;
        dy[c] = (Real)(op.f[0] * by / cols * (d > 1 ? 1 : d < -1 ? -1 : d));
      }
      op.at<double>(4)[row] = by * sum / cols;
    }
}
