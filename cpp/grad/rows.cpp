// Operations that go row by row or number by number.
#include "grad.h"

constexpr int kChunk = 4096;  // numbers of a claim
static inline int chunks(int count) { return (count + kChunk - 1) / kChunk; }
static inline int chunk_end(int i, int count) { return count - i * kChunk < kChunk ? count : (i + 1) * kChunk; }

// Rotates every head in place: (a, b) -> (a c - b s, b c + a s) with c, s of the row's position, or back with s negated, which is the
// transposed rotation, and so the gradient.
//   n: rows, heads, head_dim, back      p: x, table (position: head_dim / 2 cosines, then sines, both times mscale), positions
void rope_turn(const Op& op, Lane& lane) {
  const int heads = op.n[1], dim = op.n[2], half = dim / 2;
  const Real sign = op.n[3] ? -1 : 1;
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++) {
      const Real *cosine = op.at<Real>(1) + (size_t)op.at<int32_t>(2)[row] * dim, *sine = cosine + half;
      Real* x = op.at<Real>(0) + (size_t)row * heads * dim;
      for (int h = 0; h < heads; h++, x += dim)
        for (int i = 0; i < half; i++) {
          const Real a = x[i], b = x[half + i], s = sign * sine[i];
          x[i] = a * cosine[i] - b * s, x[half + i] = b * cosine[i] + a * s;
        }
    }
}

KERNEL_PART v128_t sigmoid(v128_t g, v128_t one, const Exp& e) { return vdiv(one, vadd(one, vexp(vsub(vsplat(0), g), e))); }
static double sigmoid_ref(double g) { return 1 / (1 + exp_clamped(-g)); }

// s = silu(g) u.      n: count      p: g, u, s
void swiglu_forward(const Op& op, Lane& lane) {
  const int count = op.n[0];
  const Real *g = op.at<Real>(0), *u = op.at<Real>(1);
  Real* s = op.at<Real>(2);
  const Exp e = held_exp();
  const v128_t one = vsplat(1);
  for (int c, last; pool_claim(lane, chunks(count), pool_grain(chunks(count)), &c, &last);) {
    const int end = chunk_end(last - 1, count);
    int i = c * kChunk;
    for (; i + kWide <= end; i += kWide) {
      const v128_t x = vload(g + i);
      vstore(s + i, vmul(vmul(x, sigmoid(x, one, e)), vload(u + i)));
    }
    for (; i < end; i++) s[i] = (Real)(g[i] * sigmoid_ref(g[i]) * u[i]);
  }
}

// With t = sigmoid(g): g <- ds u t (1 + g (1 - t)), u <- ds g t.      n: count      p: g, u, ds, s out (0: not asked for)
void swiglu_backward(const Op& op, Lane& lane) {
  const int count = op.n[0];
  Real *g = op.at<Real>(0), *u = op.at<Real>(1);
  const Real* ds = op.at<Real>(2);
  Real* s = op.at<Real>(3);
  const Exp e = held_exp();
  const v128_t one = vsplat(1);
  for (int c, last; pool_claim(lane, chunks(count), pool_grain(chunks(count)), &c, &last);) {
    const int end = chunk_end(last - 1, count);
    int i = c * kChunk;
    for (; i + kWide <= end; i += kWide) {
      const v128_t x = vload(g + i), up = vload(u + i), t = sigmoid(x, one, e), dt = vmul(vload(ds + i), t);
      if (s) vstore(s + i, vmul(vmul(x, t), up));
      vstore(g + i, vmul(vmul(dt, up), vadd(one, vmul(x, vsub(one, t)))));
      vstore(u + i, vmul(dt, x));
    }
    for (; i < end; i++) {
      const double x = g[i], t = sigmoid_ref(x), dt = ds[i] * t;
      if (s) s[i] = (Real)(x * t * u[i]);
      g[i] = (Real)(dt * u[i] * (1 + x * (1 - t))), u[i] = (Real)(dt * x);
    }
  }
}

void swiglu_backward_ref(const Op& op, Lane& lane) {
  if (lane.index) return;
  Real *g = op.at<Real>(0), *u = op.at<Real>(1);
  for (int i = 0; i < op.n[0]; i++) {
    const double x = g[i], t = sigmoid_ref(x), dt = op.at<Real>(2)[i] * t;
    if (op.p[3]) op.at<Real>(3)[i] = (Real)(x * t * u[i]);
    g[i] = (Real)(dt * u[i] * (1 + x * (1 - t))), u[i] = (Real)(dt * x);
  }
}

// y = E[token] scale.      n: rows, columns, stride of y      p: E, tokens, y      f: scale
void embed_forward(const Op& op, Lane& lane) {
  const int cols = op.n[1];
  const Real scale = (Real)op.f[0];
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++) {
      const Real* from = op.at<Real>(0) + (size_t)op.at<int32_t>(1)[row] * cols;
      Real* y = op.at<Real>(2) + (size_t)row * op.n[2];
      for (int c = 0; c < cols; c++) y[c] = from[c] * scale;
    }
}

// dE[token] += dy scale, rows in order. Lanes take columns: rows of one token must be added by one of them.
//   n: rows, columns, stride of dy      p: dE, tokens, dy      f: scale
void embed_backward(const Op& op, Lane& lane) {
  constexpr int kStripe = 16;
  const int cols = op.n[1], stripes = (cols + kStripe - 1) / kStripe;
  const Real scale = (Real)op.f[0];
  for (int s, end; pool_claim(lane, stripes, pool_grain(stripes), &s, &end);) {
    const int first = s * kStripe, last = end * kStripe < cols ? end * kStripe : cols;
    for (int row = 0; row < op.n[0]; row++) {
      const Real* dy = op.at<Real>(2) + (size_t)row * op.n[2];
      Real* to = op.at<Real>(0) + (size_t)op.at<int32_t>(1)[row] * cols;
      for (int c = first; c < last; c++) to[c] += scale * dy[c];
    }
  }
}

// y = a x + b y; b 0: y is not read.      n: rows, columns, strides of x and y      p: x, y      f: a, b
void combine(const Op& op, Lane& lane) {
  const int cols = op.n[1];
  const Real a = (Real)op.f[0], b = (Real)op.f[1];
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++) {
      const Real* x = op.at<Real>(0) + (size_t)row * op.n[2];
      Real* y = op.at<Real>(1) + (size_t)row * op.n[3];
      if (b == 0) {
        for (int c = 0; c < cols; c++) y[c] = a * x[c];
      } else {
        for (int c = 0; c < cols; c++) y[c] = a * x[c] + b * y[c];
      }
    }
}

// y = b in every row.      n: rows, columns, stride of y      p: b, y
void broadcast(const Op& op, Lane& lane) {
  for (int row, end; pool_claim(lane, op.n[0], pool_grain(op.n[0]), &row, &end);)
    for (; row < end; row++)
      for (int c = 0; c < op.n[1]; c++) op.at<Real>(1)[(size_t)row * op.n[2] + c] = op.at<Real>(0)[c];
}

// n: count      p: x
void fill_zero(const Op& op, Lane& lane) {
  const int count = op.n[0];
  Real* x = op.at<Real>(0);
  for (int c, last; pool_claim(lane, chunks(count), pool_grain(chunks(count)), &c, &last);)
    for (int i = c * kChunk, end = chunk_end(last - 1, count); i < end; i++) x[i] = 0;
}
