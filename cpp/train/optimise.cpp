// Optimisers. `step` is what changes from update to update, float64: learning rate, factor that clips, 1 - b1^t, 1 - b2^t.
#include "optimise.h"

namespace {
enum { kRate, kClip, kFirst, kSecond };
static inline int pieces(int count) { return (count + kSquaresOf - 1) / kSquaresOf; }
static inline int piece_end(int i, int count) { return count - i * kSquaresOf < kSquaresOf ? count : (i + 1) * kSquaresOf; }

double squares(const Real* x, int count) {
  double sums[4] = {};
  for (int i = 0; i < count; i++) sums[i & 3] += (double)x[i] * x[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}
}  // namespace

// One sum of squares for each 4096 numbers: whoever adds them up does so in order.      n: count      p: x, sums out
void sum_squares(const Op& op, Lane& lane) {
  const int count = op.n[0];
  for (int i, end; pool_claim(lane, pieces(count), pool_grain(pieces(count)), &i, &end);)
    for (; i < end; i++)
      op.at<double>(1)[i] = squares(op.at<Real>(0) + (size_t)i * kSquaresOf, piece_end(i, count) - i * kSquaresOf);
}

// Decoupled decay, bias-corrected moments, eps outside the root (Loshchilov and Hutter 2019).
//   n: count      p: p, g, m, v, step      f: b1, b2, eps, decay, factor of the learning rate
void adamw(const Op& op, Lane& lane) {
  const int count = op.n[0];
  const double* step = op.at<double>(4);
  const Real clip = (Real)step[kClip], b1 = (Real)op.f[0], b2 = (Real)op.f[1], c1 = (Real)(1 - op.f[0]), c2 = (Real)(1 - op.f[1]),
             eps = (Real)op.f[2];
  const double lr = step[kRate] * op.f[4];
  const Real keep = (Real)(lr * op.f[3]), rate = (Real)(lr / step[kFirst]), second = (Real)(1 / step[kSecond]);
  Real *p = op.at<Real>(0), *m = op.at<Real>(2), *v = op.at<Real>(3);
  const Real* g = op.at<Real>(1);
  for (int c, last; pool_claim(lane, pieces(count), pool_grain(pieces(count)), &c, &last);)
    for (int i = c * kSquaresOf, end = piece_end(last - 1, count); i < end; i++) {
      const Real x = g[i] * clip;
      const Real m1 = b1 * m[i] + c1 * x, v1 = b2 * v[i] + c2 * x * x;
      m[i] = m1, v[i] = v1;
      p[i] = p[i] - keep * p[i] - rate * m1 / ((Real)__builtin_sqrt(v1 * second) + eps);
    }
}

// m <- mu m + (1 - mu) g; u = (1 - mu) g + mu m; sums of u^2 as sum_squares.      n: count      p: g, m, u, sums, step      f: mu
void muon_moment(const Op& op, Lane& lane) {
  const int count = op.n[0];
  const Real clip = (Real)op.at<double>(4)[kClip], mu = (Real)op.f[0], rest = (Real)(1 - op.f[0]);
  Real *m = op.at<Real>(1), *u = op.at<Real>(2);
  const Real* g = op.at<Real>(0);
  for (int c, last; pool_claim(lane, pieces(count), pool_grain(pieces(count)), &c, &last);)
    for (; c < last; c++) {
      const int begin = c * kSquaresOf, end = piece_end(c, count);
      for (int i = begin; i < end; i++) {
        const Real x = rest * (g[i] * clip);
        m[i] = mu * m[i] + x, u[i] = x + mu * m[i];
      }
      op.at<double>(3)[c] = squares(u + begin, end - begin);
    }
}

// x <- x / (|x| + 1e-7).      n: count      p: x, sums
void muon_unit(const Op& op, Lane& lane) {
  const int count = op.n[0];
  double sum = 0;
  for (int i = 0; i < pieces(count); i++) sum += op.at<double>(1)[i];
  const Real by = (Real)(1 / (__builtin_sqrt(sum) + 1e-7));
  for (int c, last; pool_claim(lane, pieces(count), pool_grain(pieces(count)), &c, &last);)
    for (int i = c * kSquaresOf, end = piece_end(last - 1, count); i < end; i++) op.at<Real>(0)[i] *= by;
}

// p <- p - lr decay p - lr c x.      n: count      p: p, x, step      f: decay, factor of the learning rate, c
void muon_apply(const Op& op, Lane& lane) {
  const int count = op.n[0];
  const double lr = op.at<double>(2)[kRate] * op.f[1];
  const Real keep = (Real)(lr * op.f[0]), rate = (Real)(lr * op.f[2]);
  Real* p = op.at<Real>(0);
  for (int c, last; pool_claim(lane, pieces(count), pool_grain(pieces(count)), &c, &last);)
    for (int i = c * kSquaresOf, end = piece_end(last - 1, count); i < end; i++)
      p[i] = p[i] - keep * p[i] - rate * op.at<Real>(1)[i];
}
