// Grouped-query attention without a T x T matrix: forward keeps the log-sum-exp of each row, backward computes the weights again, tile
// by tile. A document is a sequence of its own; sparse documents (InfLLM v2) skip what select.cpp did not choose, and the choice is a
// constant for the gradient.
//
//   n: heads, kv heads, head_dim, window (0: none), block of sparse documents, words of a mask; backward: rows, bytes from the tiles of
//      queries to those of keys and to the documents
//   p: 0 q, 1 k, 2 v, 3 o, 4 lse (rows, heads), 5 tiles of queries, 6 counts (TileCounts), 7 scratch, 8 mask (rows, kv heads, words),
//      9 do, 10 delta, 11 dq, 12 dk, 13 dv      f: 1 / sqrt(head_dim)
//
// No product copies its sides where it can read them as they lie: left sides by rows or by columns, right sides by rows (matmul.h). Where
// a tile lies on the diagonal, pieces that no query sees are left out of products and exponentials: they would add zeros.
#include "attention.h"

namespace {

constexpr int kT = kTileRows;
constexpr Real kHidden = (Real)-1e30, kNothing = (Real)-1e29;  // a hidden score; a maximum over none
// Fewer pairs of a document and a kv head than these go tile by tile, so that many lanes have work.
constexpr int kWholeDocuments = 16;

static inline int least(int a, int b) { return a < b ? a : b; }
static inline int most_of(int a, int b) { return a > b ? a : b; }

struct Shape {
  int heads, kv, dim, wide, window, block, words;
  Real scale;
  explicit Shape(const Op& op)
      : heads(op.n[0]), kv(op.n[1]), dim(op.n[2]), wide(round_up(op.n[2], kPanel)), window(op.n[3]), block(op.n[4]),
        words(op.n[5]), scale((Real)op.f[0]) {}
  int group() const { return heads / kv; }
  int q_row() const { return heads * dim; }
  int kv_row() const { return kv * dim; }
};

// A lane's tiles: (dim, 48) turned ones, (48, wide) padded ones and sums, (48, 48) weights, rows of 48.
struct Work {
  Real *turned, *turned2, *plain, *plain2, *plain3, *out, *out2, *out3, *s, *ds, *row;
  Work(Real* at, const Shape& a) {
    const size_t columns = (size_t)a.dim * kT, padded = (size_t)a.wide * kT;
    turned = at, turned2 = turned + columns;
    plain = turned2 + columns, plain2 = plain + padded, plain3 = plain2 + padded;
    out = plain3 + padded, out2 = out + padded, out3 = out2 + padded;
    s = out3 + padded, ds = s + kT * kT, row = ds + kT * kT;
  }
};

// Rows that a product reads: where they begin, how far apart they are.
struct Rows {
  const Real* at;
  int row;
};

// `count` rows times `scale` as (dim, 48), the rest zero.
void load_turned(const Rows& x, int count, int dim, Real scale, Real* to) {
  const v128_t by = vsplat(scale);
  int d = 0;
  for (; !kDouble && d + 4 <= dim; d += 4) {
    int j = 0;
    for (; j + 4 <= count; j += 4) {
      v128_t a[4];
      for (int i = 0; i < 4; i++) a[i] = vload(x.at + (size_t)(j + i) * x.row + d);
      transpose(a);
      for (int i = 0; i < 4; i++) vstore(to + (d + i) * kT + j, vmul(a[i], by));
    }
    for (; j < count; j++)
      for (int i = 0; i < 4; i++) to[(d + i) * kT + j] = x.at[(size_t)j * x.row + d + i] * scale;
  }
  for (; d < dim; d++)
    for (int j = 0; j < count; j++) to[d * kT + j] = x.at[(size_t)j * x.row + d] * scale;
  for (d = 0; d < dim; d++)
    for (int j = count; j < kT; j++) to[d * kT + j] = 0;
}

// Rows whose vectors end with them: as they are, or copied to `to` with zeros behind.
Rows in_panels(const Rows& x, int count, const Shape& a, Real* to) {
  if (a.dim == a.wide) return x;
  for (int j = 0; j < count; j++)
    for (int d = 0; d < a.wide; d++) to[j * a.wide + d] = d < a.dim ? x.at[(size_t)j * x.row + d] : 0;
  return {to, a.wide};
}

// Which part of a product on the diagonal counts: `first` is the left side's first row less the right side's first column, or less the
// first of the summed.
enum Part {
  kWhole,
  kKeysAreRows,     // scores: a key (row) is seen by queries (columns) from it on
  kQueriesAreRows,  // scores: a query (row) sees keys (columns) up to itself
  kSumsOverKeys,    // rows are queries, each sums over the keys up to itself
  kSumsOverQueries  // rows are keys, each sums over the queries from it on
};

// c (m, n) = or += a b, n rounded up to a panel and m to 6 rows: c has room. A: rows (by_rows) or (k, 48). `first`: query less key.
template <bool by_rows>
void tile_product(int m, int n, int k, const Rows& a, const Rows& b, Real* c, int c_step, bool add, Part part = kWhole,
                  int first = 0) {
  for (int i = 0; i < m; i += kRows) {
    const int height = least(kRows, m - i);
    int from = 0, to = k;
    if (part == kSumsOverKeys) to = least(k, first + i + kRows);
    if (part == kSumsOverQueries) from = most_of(0, i - first);
    for (int j = 0; j < n; j += kPanel) {
      if (part == kKeysAreRows && i > first + j + kPanel - 1) continue;
      if (part == kQueriesAreRows && j > first + i + kRows - 1) continue;
      v128_t acc[kRows][2];
      Real* at = c + i * c_step + j;
      if (add)
        for (int r = 0; r < kRows; r++) acc[r][0] = vload(at + r * c_step), acc[r][1] = vload(at + r * c_step + kWide);
      else micro_clear(acc);
      const Real* right = b.at + (size_t)from * b.row + j;
      if (by_rows) micro_rows(to - from, a.at + (size_t)i * a.row + from, a.row, height, right, b.row, acc);
      else micro_tile(to - from, a.at + from * a.row + i, a.row, right, b.row, acc);
      for (int r = 0; r < kRows; r++) vstore(at + r * c_step, acc[r][0]), vstore(at + r * c_step + kWide, acc[r][1]);
    }
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
  int end = least(key + kT, most);
  if (!t.sparse) return end;
  return least(end, t.begin + ((key - t.begin) / a.block + 1) * a.block);
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

// Whether causality alone hides what is hidden between these queries and keys.
bool only_causal(const Shape& a, const Tile& t, int key, int query, int queries) {
  return !t.sparse && (!a.window || key > query + queries - 1 - a.window);
}

// Queries [query, query + queries) of head h and the keys [key, key + keys) of its kv head, as products read them.
Rows rows_of(const Op& op, int p, int head, int dim, int row, int first) {
  return {op.at<Real>(p) + (size_t)first * row + head * dim, row};
}

}  // namespace

size_t attend_scratch(int dim) { return ((size_t)2 * dim + 6 * round_up(dim, kPanel) + 2 * kT + 4) * kT; }

void attend_forward(const Op& op, Lane& lane) {
  const Shape a(op);
  const Work w(op.at<Real>(7) + lane.index * attend_scratch(a.dim), a);
  const Tile* tiles = op.at<Tile>(5);
  const int items = op.at<TileCounts>(6)->queries * a.heads;
  const Exp e = held_exp();
  for (int at, end; pool_claim(lane, items, 1, &at, &end);) {
    const Tile& t = tiles[at / a.heads];
    const int h = at % a.heads, kv = h / a.group(), queries = t.last - t.first, wide = round_up(queries, kPanel);
    Real *most = w.row, *sum = w.row + kT, *shrink = w.row + 2 * kT;
    load_turned(rows_of(op, 0, h, a.dim, a.q_row(), t.first), queries, a.dim, a.scale, w.turned);
    for (int i = 0; i < kT; i++) most[i] = kNothing, sum[i] = 0;
    for (int i = 0; i < kT * a.wide; i++) w.out[i] = 0;
    for (int key = first_key(a, t, t.first); key < t.last;) {
      const int keys = key_end(a, t, key, t.last) - key, ahead = t.first - key;  // key j is seen from query j - ahead on
      if (any_sees(op, a, t, kv, t.first, t.last, key)) {
        const Rows k = rows_of(op, 1, kv, a.dim, a.kv_row(), key);
        const Rows v = in_panels(rows_of(op, 2, kv, a.dim, a.kv_row(), key), keys, a, w.plain);
        tile_product<true>(keys, wide, a.dim, k, {w.turned, kT}, w.s, kT, false, kKeysAreRows, ahead);
        const bool simple = only_causal(a, t, key, t.first, queries);
        for (int j = simple ? most_of(ahead + 1, 0) : 0; j < keys;
             j++)  // what is hidden, for simple tiles the queries before the key
          for (int i = 0; i < (simple ? least(j - ahead, wide) : queries); i++)
            if (simple || !sees(op, a, t, kv, t.first + i, key + j)) w.s[j * kT + i] = kHidden;
        for (int i = 0; i < wide; i += kWide) {
          const int seen = least(keys, ahead + i + kWide);
          v128_t old = vload(most + i), m = old;
          for (int j = 0; j < seen; j++) m = vmax(m, vload(w.s + j * kT + i));
          v128_t by = vexp(vsub(old, m), e), total = vmul(vload(sum + i), by);
          for (int j = 0; j < seen; j++) {
            v128_t p = vexp(vsub(vload(w.s + j * kT + i), m), e);
            vstore(w.s + j * kT + i, p), total = vadd(total, p);
          }
          for (int j = most_of(seen, 0); j < keys; j++) vstore(w.s + j * kT + i, vsplat(0));
          vstore(most + i, m), vstore(sum + i, total), vstore(shrink + i, by);
        }
        for (int i = 0; i < queries; i++)
          for (int d = 0; d < a.wide; d += kWide)
            vstore(w.out + i * a.wide + d, vmul(vload(w.out + i * a.wide + d), vload_splat(shrink + i)));
        tile_product<false>(queries, a.wide, keys, {w.s, kT}, v, w.out, a.wide, true, kSumsOverKeys, ahead);
      }
      key += keys;
    }
    for (int i = 0; i < queries; i++) {
      Real* o = op.at<Real>(3) + (size_t)(t.first + i) * a.q_row() + h * a.dim;
      const Real by = 1 / sum[i];
      for (int d = 0; d < a.dim; d++) o[d] = w.out[i * a.wide + d] * by;
      op.at<Real>(4)[(size_t)(t.first + i) * a.heads + h] = (Real)(most[i] + log_positive(sum[i]));
    }
  }
}

namespace {

// delta = sum over head_dim of do o.
void row_deltas(const Op& op, const Shape& a, Lane& lane) {
  for (int row, end; pool_claim(lane, op.n[6], pool_grain(op.n[6]), &row, &end);)
    for (; row < end; row++)
      for (int h = 0; h < a.heads; h++) {
        const Real *o = op.at<Real>(3) + ((size_t)row * a.heads + h) * a.dim,
                   *d = op.at<Real>(9) + ((size_t)row * a.heads + h) * a.dim;
        double sum = 0;
        for (int i = 0; i < a.dim; i++) sum += (double)o[i] * d[i];
        op.at<Real>(10)[(size_t)row * a.heads + h] = (Real)sum;
      }
}

// A tile of keys of a kv head, turned for products with queries.
struct Keys {
  int kv, first, count;
  Rows plain;
  Keys(const Op& op, const Shape& a, const Work& w, int kv, int first, int count) : kv(kv), first(first), count(count) {
    const Rows k = rows_of(op, 1, kv, a.dim, a.kv_row(), first);
    load_turned(k, count, a.dim, a.scale, w.turned);
    load_turned(rows_of(op, 2, kv, a.dim, a.kv_row(), first), count, a.dim, 1, w.turned2);
    plain = in_panels(k, count, a, w.plain);
  }
};

// p = exp(s - lse) and p (dp - delta), which is ds but for the scale, of a head's queries and a tile of keys: (queries, 48) both, zero where nothing is seen.
void pair_weights(const Op& op, const Shape& a, const Work& w, const Tile& t, const Keys& k, int h, int query, int queries,
                  const Exp& e) {
  const int wide = round_up(k.count, kPanel), ahead = query - k.first;  // query i sees keys up to ahead + i
  const Rows q = rows_of(op, 0, h, a.dim, a.q_row(), query), d = rows_of(op, 9, h, a.dim, a.q_row(), query);
  tile_product<true>(queries, wide, a.dim, q, {w.turned, kT}, w.s, kT, false, kQueriesAreRows, ahead);
  tile_product<true>(queries, wide, a.dim, d, {w.turned2, kT}, w.ds, kT, false, kQueriesAreRows, ahead);
  const bool simple = only_causal(a, t, k.first, query, queries);
  for (int i = 0; i < queries; i++) {
    const size_t row = (size_t)(query + i) * a.heads + h;
    const v128_t lse = vsplat(op.at<Real>(4)[row]), delta = vsplat(op.at<Real>(10)[row]);
    Real *s = w.s + i * kT, *ds = w.ds + i * kT;
    const int seen = most_of(0, least(k.count, ahead + i + 1)), vectors = round_up(seen, kWide);
    for (int j = 0; j < vectors; j += kWide) {
      v128_t p = vexp(vsub(vload(s + j), lse), e);
      vstore(s + j, p), vstore(ds + j, vmul(p, vsub(vload(ds + j), delta)));
    }
    for (int j = seen; j < wide; j++) s[j] = ds[j] = 0;
    for (int j = 0; j < seen && !simple; j++)
      if (!sees(op, a, t, k.kv, query + i, k.first + j)) s[j] = ds[j] = 0;
  }
}

// dq of the pair's queries but for the scale, (48, wide): = or += ds k.
void pair_queries(const Shape& a, const Work& w, const Keys& k, int query, int queries, Real* to, bool add) {
  tile_product<true>(queries, a.wide, k.count, {w.ds, kT}, k.plain, to, a.wide, add, kSumsOverKeys, query - k.first);
}

// dv and, but for the scale, dk of the pair's keys: += p^T do, ds^T q.
void pair_keys(const Op& op, const Shape& a, const Work& w, const Keys& k, int h, int query, int queries) {
  const Rows q = in_panels(rows_of(op, 0, h, a.dim, a.q_row(), query), queries, a, w.plain2);
  const Rows d = in_panels(rows_of(op, 9, h, a.dim, a.q_row(), query), queries, a, w.plain3);
  tile_product<false>(k.count, a.wide, queries, {w.s, kT}, d, w.out2, a.wide, true, kSumsOverQueries, query - k.first);
  tile_product<false>(k.count, a.wide, queries, {w.ds, kT}, q, w.out, a.wide, true, kSumsOverQueries, query - k.first);
}

// A tile of keys and all queries that see it, heads of the group in order: dk and dv; and their share of dq where `queries_too`.
void keys_backward(const Op& op, const Shape& a, const Work& w, const Tile& t, int kv, bool queries_too, const Exp& e) {
  const Keys k(op, a, w, kv, t.first, t.last - t.first);
  for (int i = 0; i < kT * a.wide; i++) w.out[i] = w.out2[i] = 0;
  const int most = a.window ? least(t.end, t.last - 1 + a.window) : t.end;
  for (int h = kv * a.group(); h < (kv + 1) * a.group(); h++)
    for (int query = t.first; query < most; query += kT) {
      const int queries = least(kT, most - query);
      if (!any_sees(op, a, t, kv, query, query + queries, t.first)) continue;
      pair_weights(op, a, w, t, k, h, query, queries, e);
      pair_keys(op, a, w, k, h, query, queries);
      if (!queries_too) continue;
      pair_queries(a, w, k, query, queries, w.out3, false);
      for (int i = 0; i < queries; i++) {
        Real* dq = op.at<Real>(11) + (size_t)(query + i) * a.q_row() + h * a.dim;
        for (int d = 0; d < a.dim; d++) dq[d] += a.scale * w.out3[i * a.wide + d];
      }
    }
  for (int j = 0; j < k.count; j++) {
    const size_t to = (size_t)(t.first + j) * a.kv_row() + kv * a.dim;
    for (int d = 0; d < a.dim; d++)
      op.at<Real>(12)[to + d] = a.scale * w.out[j * a.wide + d], op.at<Real>(13)[to + d] = w.out2[j * a.wide + d];
  }
}

// dq of a tile of queries of one head.
void queries_backward(const Op& op, const Shape& a, const Work& w, const Tile& t, int h, const Exp& e) {
  const int kv = h / a.group(), queries = t.last - t.first;
  for (int i = 0; i < kT * a.wide; i++) w.out[i] = 0;
  for (int key = first_key(a, t, t.first); key < t.last;) {
    const int keys = key_end(a, t, key, t.last) - key;
    if (any_sees(op, a, t, kv, t.first, t.last, key)) {
      const Keys k(op, a, w, kv, key, keys);
      pair_weights(op, a, w, t, k, h, t.first, queries, e);
      pair_queries(a, w, k, t.first, queries, w.out, true);
    }
    key += keys;
  }
  for (int i = 0; i < queries; i++) {
    Real* dq = op.at<Real>(11) + (size_t)(t.first + i) * a.q_row() + h * a.dim;
    for (int d = 0; d < a.dim; d++) dq[d] = a.scale * w.out[i * a.wide + d];
  }
}

}  // namespace

// Where there are many documents, a lane takes a kv head of one whole: weights are computed once for dq, dk and dv. Few documents are
// cut into tiles of queries, then into tiles of keys. Which way is taken depends on the batch alone.
void attend_backward(const Op& op, Lane& lane) {
  const Shape a(op);
  const Work w(op.at<Real>(7) + lane.index * attend_scratch(a.dim), a);
  const TileCounts& counts = *op.at<TileCounts>(6);
  const Tile *tiles = op.at<Tile>(5), *key_tiles = (const Tile*)(op.at<char>(5) + op.n[7]);
  const int32_t* documents = (const int32_t*)(op.at<char>(5) + op.n[8]);
  const Exp e = held_exp();
  row_deltas(op, a, lane);
  pool_barrier(lane);
  const bool whole = counts.documents * a.kv >= kWholeDocuments;
  const int items = whole ? counts.documents * a.kv : counts.queries * a.heads;
  for (int at, end; pool_claim(lane, items, 1, &at, &end);) {
    if (!whole) {
      queries_backward(op, a, w, tiles[at / a.heads], at % a.heads, e);
      continue;
    }
    const int kv = at % a.kv, width = a.group() * a.dim;
    const Tile *t = key_tiles + documents[at / a.kv], *last = key_tiles + documents[at / a.kv + 1];
    for (int row = t->begin; row < t->end; row++) {
      Real* dq = op.at<Real>(11) + (size_t)row * a.q_row() + kv * width;
      for (int d = 0; d < width; d++) dq[d] = 0;
    }
    for (; t < last; t++) keys_backward(op, a, w, *t, kv, true, e);
  }
  if (whole) return;
  pool_barrier(lane);
  for (int at, end; pool_claim(lane, counts.keys * a.kv, 1, &at, &end);)
    keys_backward(op, a, w, key_tiles[at / a.kv], at % a.kv, false, e);
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
  for (int n = 0; n < op.at<TileCounts>(6)->queries; n++) {
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
  for (int n = 0; n < op.at<TileCounts>(6)->queries; n++) {
    const Tile& t = op.at<Tile>(5)[n];
    for (int i = t.first; i < t.last; i++)
      for (int h = 0; h < a.heads; h++) {
        const size_t row = (size_t)i * a.heads + h;
        const Real *q = op.at<Real>(0) + row * a.dim, *d = op.at<Real>(9) + row * a.dim;
        double delta = 0;
        for (int c = 0; c < a.dim; c++) delta += (double)op.at<Real>(3)[row * a.dim + c] * d[c];
        Real* dq = op.at<Real>(11) + row * a.dim;
        for (int c = 0; c < a.dim; c++) dq[c] = 0;
        for (int j = t.begin; j <= i; j++) {
          if (!sees(op, a, t, h / a.group(), i, j)) continue;
          const size_t key = ((size_t)j * a.kv + h / a.group()) * a.dim;
          double p = exp_clamped(score(op, a, h, i, j) - op.at<Real>(4)[row]), dp = 0;
          for (int c = 0; c < a.dim; c++) dp += (double)d[c] * op.at<Real>(2)[key + c];
          const double ds = p * (dp - delta) * op.f[0];
          for (int c = 0; c < a.dim; c++) {
            dq[c] += (Real)(ds * op.at<Real>(1)[key + c]);
            op.at<Real>(12)[key + c] += (Real)(ds * q[c]), op.at<Real>(13)[key + c] += (Real)(p * d[c]);
          }
        }
      }
  }
}
