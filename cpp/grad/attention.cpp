// Grouped-query attention without a T x T matrix: forward keeps the log-sum-exp of each row, backward computes the weights again, tile
// by tile. A document is a sequence of its own; sparse documents (InfLLM v2) skip what select.cpp did not choose, and the choice is a
// constant for the gradient.
//
//   n: heads, kv heads, head_dim, window (0: none), block of sparse documents, words of a mask
//   p: 0 q, 1 k, 2 v, 3 o, 4 lse (rows, heads), 5 tiles, 6 their number, 7 scratch, 8 mask (rows, kv heads, words), 9 do, 10 delta, 11 dq,
//      12 dk, 13 dv      f: 1 / sqrt(head_dim)
//
// Every product of tiles has its left side stored with k as rows, as the micro-kernel wants it: scores are computed keys by queries where
// queries are the rows of the next product, and queries by keys where keys are.
#include "attention.h"

namespace {

constexpr int kT = kTileRows;
constexpr Real kHidden = (Real)-1e30, kNothing = (Real)-1e29;  // a hidden score; a maximum over none

struct Shape {
  int heads, kv, dim, wide, window, block, words;
  Real scale;
  explicit Shape(const Op& op)
      : heads(op.n[0]), kv(op.n[1]), dim(op.n[2]), wide(round_up(op.n[2], kPanel)), window(op.n[3]), block(op.n[4]),
        words(op.n[5]), scale((Real)op.f[0]) {}
  int group() const { return heads / kv; }
};

// A lane's tiles: (dim, 48) turned ones, (48, wide) plain ones, (48, 48) weights and rows of 48.
struct Work {
  Real *qt, *kt, *vt, *dt, *q, *k, *d, *out, *out2, *s, *ds, *row;
  Work(Real* at, const Shape& a) {
    const size_t turned = (size_t)a.dim * kT, plain = (size_t)a.wide * kT;
    qt = at, kt = qt + turned, vt = kt + turned, dt = vt + turned;
    q = dt + turned, k = q + plain, d = k + plain, out = d + plain, out2 = out + plain;
    s = out2 + plain, ds = s + kT * kT, row = ds + kT * kT;
  }
};

// Rows [first, first + count) of one head as (dim, 48), the rest zero.
void load_turned(const Real* x, int row, int first, int count, int dim, Real* to) {
  for (int j = 0; j < count; j++) {
    const Real* from = x + (size_t)(first + j) * row;
    for (int d = 0; d < dim; d++) to[d * kT + j] = from[d];
  }
  for (int d = 0; d < dim; d++)
    for (int j = count; j < kT; j++) to[d * kT + j] = 0;
}

void load_plain(const Real* x, int row, int first, int count, int dim, int wide, Real* to) {
  for (int j = 0; j < count; j++, to += wide) {
    const Real* from = x + (size_t)(first + j) * row;
    for (int d = 0; d < dim; d++) to[d] = from[d];
    for (int d = dim; d < wide; d++) to[d] = 0;
  }
}

// c (m, n) = or += sum over k of a[k][m] b[k][n]; m is rounded up to 6, n to a panel.
void tile_product(int m, int n, int k, const Real* a, const Real* b, int b_step, Real* c, int c_step, bool add) {
  for (int i = 0; i < m; i += kRows)
    for (int j = 0; j < n; j += kPanel) {
      v128_t acc[kRows][2];
      Real* to = c + i * c_step + j;
      if (add)
        for (int r = 0; r < kRows; r++) acc[r][0] = vload(to + r * c_step), acc[r][1] = vload(to + r * c_step + kWide);
      else micro_clear(acc);
      micro_tile(k, a + i, kT, b + j, b_step, acc);
      for (int r = 0; r < kRows; r++) vstore(to + r * c_step, acc[r][0]), vstore(to + r * c_step + kWide, acc[r][1]);
    }
}

bool bit(const Op& op, const Shape& a, int row, int kv, int block) {
  return op.at<uint32_t>(8)[((size_t)row * a.kv + kv) * a.words + (block >> 5)] >> (block & 31) & 1;
}

// Whether a query sees a key of its document, keys of one block.
bool sees(const Op& op, const Shape& a, const Tile& t, int kv, int query, int key) {
  if (key > query || (a.window && key <= query - a.window)) return false;
  return !t.sparse || bit(op, a, query, kv, (key - t.begin) / a.block);
}

// End of the tile of keys that begins at `key`: within a block where the document is sparse.
int key_end(const Shape& a, const Tile& t, int key, int most) {
  int end = key + kT < most ? key + kT : most;
  if (!t.sparse) return end;
  int block = t.begin + ((key - t.begin) / a.block + 1) * a.block;
  return block < end ? block : end;
}

bool any_sees(const Op& op, const Shape& a, const Tile& t, int kv, int from, int to, int key) {
  if (!t.sparse) return true;
  for (int i = from; i < to; i++)
    if (bit(op, a, i, kv, (key - t.begin) / a.block)) return true;
  return false;
}

// First key that the first query of a tile sees, to where tiles of keys begin.
int first_key(const Shape& a, const Tile& t, int query) {
  int key = a.window && query - a.window + 1 > t.begin ? query - a.window + 1 : t.begin;
  return t.sparse ? t.begin + (key - t.begin) / a.block * a.block : key;
}

// Keys by queries: hides what a query does not see.
void hide(const Op& op, const Shape& a, const Tile& t, int kv, int key, int keys, int query, int queries, Real* s, Real with) {
  const bool inside = !t.sparse && key + keys - 1 <= query && (!a.window || key > query + queries - 1 - a.window);
  for (int j = 0; j < keys && !inside; j++)
    for (int i = 0; i < queries; i++)
      if (!sees(op, a, t, kv, query + i, key + j)) s[j * kT + i] = with;
}

}  // namespace

size_t attend_scratch(int dim) { return ((size_t)4 * dim + 5 * round_up(dim, kPanel) + 2 * kT + 4) * kT; }

void attend_forward(const Op& op, Lane& lane) {
  const Shape a(op);
  const Work w(op.at<Real>(7) + lane.index * attend_scratch(a.dim), a);
  const Tile* tiles = op.at<Tile>(5);
  const int items = *op.at<int32_t>(6) * a.heads, q_row = a.heads * a.dim, kv_row = a.kv * a.dim;
  const Exp e = held_exp();
  const v128_t scale = vsplat(a.scale);
  for (int at, end; pool_claim(lane, items, 1, &at, &end);) {
    const Tile& t = tiles[at / a.heads];
    const int h = at % a.heads, kv = h / a.group(), queries = t.last - t.first;
    Real *most = w.row, *sum = w.row + kT, *shrink = w.row + 2 * kT;
    load_turned(op.at<Real>(0) + h * a.dim, q_row, t.first, queries, a.dim, w.qt);
    for (int i = 0; i < kT; i++) most[i] = kNothing, sum[i] = 0;
    for (int i = 0; i < kT * a.wide; i++) w.out[i] = 0;
    const int wide = round_up(queries, kPanel);
    for (int key = first_key(a, t, t.first); key < t.last;) {
      const int keys = key_end(a, t, key, t.last) - key;
      if (any_sees(op, a, t, kv, t.first, t.last, key)) {
        load_turned(op.at<Real>(1) + kv * a.dim, kv_row, key, keys, a.dim, w.kt);
        load_plain(op.at<Real>(2) + kv * a.dim, kv_row, key, keys, a.dim, a.wide, w.k);
        tile_product(keys, wide, a.dim, w.kt, w.qt, kT, w.s, kT, false);
        hide(op, a, t, kv, key, keys, t.first, queries, w.s, kHidden);
        for (int i = 0; i < wide; i += kWide) {
          v128_t old = vload(most + i), m = old;
          for (int j = 0; j < keys; j++) {
            v128_t s = vmax(vmul(vload(w.s + j * kT + i), scale), vsplat(kHidden));
            vstore(w.s + j * kT + i, s), m = vmax(m, s);
          }
          v128_t by = vexp(vsub(old, m), e), total = vmul(vload(sum + i), by);
          for (int j = 0; j < keys; j++) {
            v128_t p = vexp(vsub(vload(w.s + j * kT + i), m), e);
            vstore(w.s + j * kT + i, p), total = vadd(total, p);
          }
          vstore(most + i, m), vstore(sum + i, total), vstore(shrink + i, by);
        }
        for (int i = 0; i < queries; i++)
          for (int d = 0; d < a.wide; d += kWide)
            vstore(w.out + i * a.wide + d, vmul(vload(w.out + i * a.wide + d), vload_splat(shrink + i)));
        tile_product(queries, a.wide, keys, w.s, w.k, a.wide, w.out, a.wide, true);
      }
      key += keys;
    }
    for (int i = 0; i < queries; i++) {
      Real* o = op.at<Real>(3) + (size_t)(t.first + i) * q_row + h * a.dim;
      const Real by = 1 / sum[i];
      for (int d = 0; d < a.dim; d++) o[d] = w.out[i * a.wide + d] * by;
      op.at<Real>(4)[(size_t)(t.first + i) * a.heads + h] = (Real)(most[i] + log_positive(sum[i]));
    }
  }
}

// delta = sum over head_dim of do o.      n[6]: rows
void attend_delta(const Op& op, Lane& lane) {
  const int heads = op.n[0], dim = op.n[2];
  for (int row, end; pool_claim(lane, op.n[6], pool_grain(op.n[6]), &row, &end);)
    for (; row < end; row++)
      for (int h = 0; h < heads; h++) {
        const Real *o = op.at<Real>(3) + ((size_t)row * heads + h) * dim, *d = op.at<Real>(9) + ((size_t)row * heads + h) * dim;
        double sum = 0;
        for (int i = 0; i < dim; i++) sum += (double)o[i] * d[i];
        op.at<Real>(10)[(size_t)row * heads + h] = (Real)sum;
      }
}

// dq of a tile of queries: p = exp(s - lse), ds = p (dp - delta) scale, dq = ds k.
void attend_backward_q(const Op& op, Lane& lane) {
  const Shape a(op);
  const Work w(op.at<Real>(7) + lane.index * attend_scratch(a.dim), a);
  const Tile* tiles = op.at<Tile>(5);
  const int items = *op.at<int32_t>(6) * a.heads, q_row = a.heads * a.dim, kv_row = a.kv * a.dim;
  const Exp e = held_exp();
  const v128_t scale = vsplat(a.scale);
  for (int at, end; pool_claim(lane, items, 1, &at, &end);) {
    const Tile& t = tiles[at / a.heads];
    const int h = at % a.heads, kv = h / a.group(), queries = t.last - t.first;
    Real *lse = w.row, *delta = w.row + kT;
    for (int i = 0; i < kT; i++) {
      const size_t from = (size_t)(t.first + (i < queries ? i : 0)) * a.heads + h;
      lse[i] = op.at<Real>(4)[from], delta[i] = op.at<Real>(10)[from];
    }
    load_turned(op.at<Real>(0) + h * a.dim, q_row, t.first, queries, a.dim, w.qt);
    load_turned(op.at<Real>(9) + h * a.dim, q_row, t.first, queries, a.dim, w.dt);
    for (int i = 0; i < kT * a.wide; i++) w.out[i] = 0;
    const int wide = round_up(queries, kPanel);
    for (int key = first_key(a, t, t.first); key < t.last;) {
      const int keys = key_end(a, t, key, t.last) - key;
      if (any_sees(op, a, t, kv, t.first, t.last, key)) {
        load_turned(op.at<Real>(1) + kv * a.dim, kv_row, key, keys, a.dim, w.kt);
        load_turned(op.at<Real>(2) + kv * a.dim, kv_row, key, keys, a.dim, w.vt);
        load_plain(op.at<Real>(1) + kv * a.dim, kv_row, key, keys, a.dim, a.wide, w.k);
        tile_product(keys, wide, a.dim, w.kt, w.qt, kT, w.s, kT, false);
        tile_product(keys, wide, a.dim, w.vt, w.dt, kT, w.ds, kT, false);
        for (int j = 0; j < keys; j++)
          for (int i = 0; i < wide; i += kWide) {
            v128_t p = vexp(vsub(vmul(vload(w.s + j * kT + i), scale), vload(lse + i)), e);
            vstore(w.ds + j * kT + i, vmul(vmul(p, vsub(vload(w.ds + j * kT + i), vload(delta + i))), scale));
          }
        hide(op, a, t, kv, key, keys, t.first, queries, w.ds, 0);
        tile_product(queries, a.wide, keys, w.ds, w.k, a.wide, w.out, a.wide, true);
      }
      key += keys;
    }
    for (int i = 0; i < queries; i++) {
      Real* dq = op.at<Real>(11) + (size_t)(t.first + i) * q_row + h * a.dim;
      for (int d = 0; d < a.dim; d++) dq[d] = w.out[i * a.wide + d];
    }
  }
}

// dk and dv of a tile of keys (of one block): sums over the heads of the group and the queries that see it, in order.
void attend_backward_kv(const Op& op, Lane& lane) {
  const Shape a(op);
  const Work w(op.at<Real>(7) + lane.index * attend_scratch(a.dim), a);
  const Tile* tiles = op.at<Tile>(5);
  const int items = *op.at<int32_t>(6) * a.kv, q_row = a.heads * a.dim, kv_row = a.kv * a.dim;
  const Exp e = held_exp();
  for (int at, end; pool_claim(lane, items, 1, &at, &end);) {
    const Tile& t = tiles[at / a.kv];
    const int kv = at % a.kv, keys = t.last - t.first, wide = round_up(keys, kPanel);
    load_turned(op.at<Real>(1) + kv * a.dim, kv_row, t.first, keys, a.dim, w.kt);
    load_turned(op.at<Real>(2) + kv * a.dim, kv_row, t.first, keys, a.dim, w.vt);
    for (int i = 0; i < kT * a.wide; i++) w.out[i] = w.out2[i] = 0;
    int most = t.end;
    if (a.window && t.last - 1 + a.window < most) most = t.last - 1 + a.window;
    for (int h = kv * a.group(); h < (kv + 1) * a.group(); h++)
      for (int query = t.first; query < most; query += kT) {
        const int queries = most - query < kT ? most - query : kT;
        if (!any_sees(op, a, t, kv, query, query + queries, t.first)) continue;
        load_turned(op.at<Real>(0) + h * a.dim, q_row, query, queries, a.dim, w.qt);
        load_turned(op.at<Real>(9) + h * a.dim, q_row, query, queries, a.dim, w.dt);
        load_plain(op.at<Real>(0) + h * a.dim, q_row, query, queries, a.dim, a.wide, w.q);
        load_plain(op.at<Real>(9) + h * a.dim, q_row, query, queries, a.dim, a.wide, w.d);
        tile_product(queries, wide, a.dim, w.qt, w.kt, kT, w.s, kT, false);
        tile_product(queries, wide, a.dim, w.dt, w.vt, kT, w.ds, kT, false);
        const bool inside = !t.sparse && t.last - 1 <= query && (!a.window || t.first > query + queries - 1 - a.window);
        for (int i = 0; i < queries; i++) {
          const size_t row = (size_t)(query + i) * a.heads + h;
          const v128_t lse = vsplat(op.at<Real>(4)[row]), delta = vsplat(op.at<Real>(10)[row]), scale = vsplat(a.scale);
          Real *s = w.s + i * kT, *ds = w.ds + i * kT;
          for (int j = 0; j < wide; j += kWide) {
            v128_t p = vexp(vsub(vmul(vload(s + j), scale), lse), e);
            vstore(s + j, p), vstore(ds + j, vmul(vmul(p, vsub(vload(ds + j), delta)), scale));
          }
          if (!inside)
            for (int j = 0; j < keys; j++)
              if (!sees(op, a, t, kv, query + i, t.first + j)) s[j] = ds[j] = 0;
        }
        tile_product(keys, a.wide, queries, w.s, w.d, a.wide, w.out2, a.wide, true);
        tile_product(keys, a.wide, queries, w.ds, w.q, a.wide, w.out, a.wide, true);
      }
    for (int j = 0; j < keys; j++) {
      const size_t to = (size_t)(t.first + j) * kv_row + kv * a.dim;
      for (int d = 0; d < a.dim; d++)
        op.at<Real>(12)[to + d] = w.out[j * a.wide + d], op.at<Real>(13)[to + d] = w.out2[j * a.wide + d];
    }
  }
}

namespace {

// Score of a query and a key, in float64.
double score(const Op& op, const Shape& a, int h, int query, int key) {
  const Real *q = op.at<Real>(0) + ((size_t)query * a.heads + h) * a.dim,
             *k = op.at<Real>(1) + ((size_t)key * a.kv + h / a.group()) * a.dim;
  double sum = 0;
  for (int d = 0; d < a.dim; d++) sum += (double)q[d] * k[d];
  return sum * op.f[0];
}

}  // namespace

void attend_forward_ref(const Op& op, Lane& lane) {
  if (lane.index) return;
  const Shape a(op);
  for (int n = 0; n < *op.at<int32_t>(6); n++) {
    const Tile& t = op.at<Tile>(5)[n];
    for (int i = t.first; i < t.last; i++)
      for (int h = 0; h < a.heads; h++) {
        double most = -1e300, sum = 0;
        for (int j = t.begin; j <= i; j++)
          if (sees(op, a, t, h / a.group(), i, j)) {
            double s = score(op, a, h, i, j);
            if (s > most) most = s;
          }
        for (int j = t.begin; j <= i; j++)
          if (sees(op, a, t, h / a.group(), i, j)) sum += exp_clamped(score(op, a, h, i, j) - most);
        op.at<Real>(4)[(size_t)i * a.heads + h] = (Real)(most + log_positive(sum));
        for (int d = 0; d < a.dim; d++) {
          double o = 0;
          for (int j = t.begin; j <= i; j++)
            if (sees(op, a, t, h / a.group(), i, j))
              o += exp_clamped(score(op, a, h, i, j) - most) / sum *
                   op.at<Real>(2)[((size_t)j * a.kv + h / a.group()) * a.dim + d];
          op.at<Real>(3)[((size_t)i * a.heads + h) * a.dim + d] = (Real)o;
        }
      }
  }
}

// dq, dk and dv; dk and dv are added to.
void attend_backward_ref(const Op& op, Lane& lane) {
  if (lane.index) return;
  const Shape a(op);
  for (int n = 0; n < *op.at<int32_t>(6); n++) {
    const Tile& t = op.at<Tile>(5)[n];
    for (int i = t.first; i < t.last; i++)
      for (int h = 0; h < a.heads; h++) {
        const size_t row = (size_t)i * a.heads + h;
        const Real *q = op.at<Real>(0) + row * a.dim, *d = op.at<Real>(9) + row * a.dim;
        Real* dq = op.at<Real>(11) + row * a.dim;
        for (int c = 0; c < a.dim; c++) dq[c] = 0;
        for (int j = t.begin; j <= i; j++) {
          if (!sees(op, a, t, h / a.group(), i, j)) continue;
          const size_t key = ((size_t)j * a.kv + h / a.group()) * a.dim;
          double p = exp_clamped(score(op, a, h, i, j) - op.at<Real>(4)[row]), dp = 0;
          for (int c = 0; c < a.dim; c++) dp += (double)d[c] * op.at<Real>(2)[key + c];
          const double ds = p * (dp - op.at<Real>(10)[row]) * op.f[0];
          for (int c = 0; c < a.dim; c++) {
            dq[c] += (Real)(ds * op.at<Real>(1)[key + c]);
            op.at<Real>(12)[key + c] += (Real)(ds * q[c]), op.at<Real>(13)[key + c] += (Real)(p * d[c]);
          }
        }
      }
  }
}
