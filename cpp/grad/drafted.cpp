// One key more for every query, of its own row: what a later step of a draft head sees beside the keys of the first step (attention.cpp).
// Forward is merged into what attention gave before by its log-sum-exp; backward takes the log-sum-exp and delta of the whole.
//
//   n: rows, heads, kv heads, head_dim
//   p: 0 q, 1 k, 2 v, 3 o, 4 lse (rows, heads), 5 do, 6 delta, 7 dq, 8 dk, 9 dv      f: 1 / sqrt(head_dim)
#include "grad.h"

namespace {

double dot(const Real* a, const Real* b, int count) {
  double sum = 0;
  for (int i = 0; i < count; i++) sum += (double)a[i] * b[i];
  return sum;
}

}  // namespace

// o, lse <- those over one key more.
void drafted_forward(const Op& op, Lane& lane) {
  const int heads = op.n[1], kv = op.n[2], dim = op.n[3], group = heads / kv;
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++)
      for (int h = 0; h < heads; h++) {
        const size_t at = ((size_t)row * heads + h) * dim, key = ((size_t)row * kv + h / group) * dim;
        Real *lse = op.at<Real>(4) + (size_t)row * heads + h, *o = op.at<Real>(3) + at;
        const Real* v = op.at<Real>(2) + key;
        const double s = dot(op.at<Real>(0) + at, op.at<Real>(1) + key, dim) * op.f[0], old = *lse, most = old > s ? old : s;
        const double now = most + log_positive(exp_clamped(old - most) + exp_clamped(s - most));
        const Real keep = (Real)exp_clamped(old - now), add = (Real)exp_clamped(s - now);
        for (int i = 0; i < dim; i++) o[i] = keep * o[i] + add * v[i];
        *lse = (Real)now;
      }
}

// dq, dk, dv += that key's share.
void drafted_backward(const Op& op, Lane& lane) {
  const int heads = op.n[1], kv = op.n[2], dim = op.n[3], group = heads / kv;
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++)
      for (int h = 0; h < heads; h++) {
        const size_t at = ((size_t)row * heads + h) * dim, key = ((size_t)row * kv + h / group) * dim;
        const Real *q = op.at<Real>(0) + at, *k = op.at<Real>(1) + key, *d = op.at<Real>(5) + at;
        const double p = exp_clamped(dot(q, k, dim) * op.f[0] - op.at<Real>(4)[(size_t)row * heads + h]);
        const double dp = dot(d, op.at<Real>(2) + key, dim) - op.at<Real>(6)[(size_t)row * heads + h];
        const Real weight = (Real)p, ds = (Real)(p * dp * op.f[0]);
        Real *dq = op.at<Real>(7) + at, *dk = op.at<Real>(8) + key, *dv = op.at<Real>(9) + key;
        for (int i = 0; i < dim; i++) dq[i] += ds * k[i], dk[i] += ds * q[i], dv[i] += weight * d[i];
      }
}
