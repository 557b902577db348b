// The clipped objective of reinforcement learning over chosen tokens, with a dual clip and the KL estimate k3 (GRPO).
//   r = e^x, x = clamp(logp - behaviour, +-20);  F = min(r A, clip(r, 1 - low, 1 + high) A), where A < 0: max(F, dual A)
//   k3 = min(e^d - d - 1, 10), d = clamp(reference - logp, +-20)
//   loss = sum mask (-F + beta k3) / W, W the sum of the whole batch's mask; what is clamped has derivative 0
#include "grad.h"

namespace {

struct Term {
  double policy, kl, slope;  // -F, k3, and the derivative of -F + beta k3 by logp
};

Term term(double logp, double behaviour, double reference, double advantage, const double* f) {
  constexpr double kMost = 20, kMostKl = 10;
  const double x = logp - behaviour, clamped = x > kMost ? kMost : x < -kMost ? -kMost : x;
  const double r = exp_clamped(clamped), low = 1 - f[0], high = 1 + f[1], dual = f[2];
  const double clipped = r < low ? low : r > high ? high : r;
  double value = r * advantage < clipped * advantage ? r * advantage : clipped * advantage;
  if (advantage < 0 && value < dual * advantage) value = dual * advantage;
  const bool open = x == clamped && (advantage >= 0 ? r <= high : r >= low && r <= dual);
  const double d = reference - logp, near = d > kMost ? kMost : d < -kMost ? -kMost : d;
  const double e = exp_clamped(near), k3 = e - near - 1;
  const double dk3 = near == d && k3 <= kMostKl ? 1 - e : 0;
  return {-value, k3 < kMostKl ? k3 : kMostKl, (open ? -advantage * r : 0) + f[3] * dk3};
}

}  // namespace

// d logits = mask / W slope (onehot - p).
//   n: rows, vocabulary, whether logits become gradients
//   p: logits, labels, mask, 1 / W (float64); float64 a row: logp out, mask / W times -F out, and k3 out, behaviour, reference, advantage
//   f: low, high, dual, beta
void policy(const Op& op, Lane& lane) {
  const int vocab = op.n[1];
  const Exp e = held_exp();
  const double inverse = *op.at<double>(3);
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++) {
      Real* x = op.at<Real>(0) + (size_t)row * vocab;
      const double by = op.at<Real>(2)[row] * inverse;
      const int label = op.at<int32_t>(1)[row];
      op.at<double>(4)[row] = op.at<double>(5)[row] = op.at<double>(6)[row] = 0;
      if (!(by > 0)) {
        for (int i = 0; i < vocab && op.n[2]; i++) x[i] = 0;
        continue;
      }
      const double right = x[label];
      double sum, lse = log_sum_exp(x, vocab, &sum, e);
      const Term t = term(right - lse, op.at<double>(7)[row], op.at<double>(8)[row], op.at<double>(9)[row], op.f);
      op.at<double>(4)[row] = right - lse;
      op.at<double>(5)[row] = by * t.policy;
      op.at<double>(6)[row] = by * t.kl;
      if (!op.n[2]) continue;
      const Real p = (Real)(-by * t.slope / sum);
      for (int i = 0; i < vocab; i++) x[i] *= p;
      x[label] += (Real)(by * t.slope);
    }
}

void policy_ref(const Op& op, Lane& lane) {
  if (lane.index) return;
  const int vocab = op.n[1];
  for (int row = 0; row < op.n[0]; row++) {
    Real* x = op.at<Real>(0) + (size_t)row * vocab;
    const double by = op.at<Real>(2)[row] * *op.at<double>(3);
    const int label = op.at<int32_t>(1)[row];
    const double lse = log_sum_exp_ref(x, vocab), logp = by > 0 ? x[label] - lse : 0;
    const Term t = term(logp, op.at<double>(7)[row], op.at<double>(8)[row], op.at<double>(9)[row], op.f);
    op.at<double>(4)[row] = logp, op.at<double>(5)[row] = by > 0 ? by * t.policy : 0,
    op.at<double>(6)[row] = by > 0 ? by * t.kl : 0;
    for (int i = 0; i < vocab && op.n[2]; i++)
      x[i] = by > 0 ? (Real)(by * t.slope * ((i == label) - exp_clamped(x[i] - lse))) : 0;
  }
}
