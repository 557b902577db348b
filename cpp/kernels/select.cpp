#include "select.h"
#include "../model/kv.h"
#include "scalar.h"

constexpr float kNothing = -1e30f;
constexpr float kNone = -__builtin_inff();

void weigh_tile(const Query* queries, int count, const float* keys, int dim, int visible, float* weights, float* most,
                float* sum) {
  const Exp held = held_exp();
  score_tile(queries, count, keys, dim, weights);
  for (int n = 0; n < count; n++) {
    float* w = weights + n * kTile;
    for (int j = visible; j < kTile; j++) w[j] = kNothing;
    v128_t top = wasm_v128_load(w);
    for (int j = 4; j < kTile; j += 4) top = wasm_f32x4_pmax(top, wasm_v128_load(w + j));
    most[n] = max_f32(top);
    v128_t m = wasm_f32x4_splat(most[n]), total = wasm_f32x4_const_splat(0);
    for (int j = 0; j < kTile; j += 4) {
      v128_t e = exp_f32(wasm_f32x4_sub(wasm_v128_load(w + j), m), held);
      wasm_v128_store(w + j, e), total = wasm_f32x4_add(total, e);
    }
    sum[n] = sum_f32(total);
  }
}

// Largest maximum and the sum against it, four heads at a time.
static void combine(const float* most, const float* sum, int tiles, int lanes, int g, v128_t* top, v128_t* total) {
  v128_t m = wasm_v128_load(most + g), s = wasm_f32x4_const_splat(0);
  for (int t = 1; t < tiles; t++) m = wasm_f32x4_pmax(m, wasm_v128_load(most + t * lanes + g));
  const Exp held = held_exp();
  for (int t = 0; t < tiles; t++)
    s = madd_f32(wasm_v128_load(sum + t * lanes + g), exp_f32(wasm_f32x4_sub(wasm_v128_load(most + t * lanes + g), m), held), s);
  *top = m, *total = s;
}

// most = e^(most - LSE), the LSE being exact.
static void exact_factors(const Choice& c, int tiles) {
  const Exp held = held_exp();
  int lanes = group_lanes(c.group);
  for (int g = 0; g < lanes; g += 4) {
    v128_t top, total;
    combine(c.most, c.sum, tiles, lanes, g, &top, &total);
    v128_t inverse = wasm_f32x4_div(wasm_f32x4_const_splat(1), total);
    for (int t = 0; t < tiles; t++) {
      float* m = c.most + t * lanes + g;
      wasm_v128_store(m, wasm_f32x4_mul(exp_f32(wasm_f32x4_sub(wasm_v128_load(m), top), held), inverse));
    }
  }
}

static void coarse_factors(const Choice& c, int tiles, int coarse_tiles) {
  int lanes = group_lanes(c.group);
  float largest = 0;
  for (int g = 0; g < lanes; g += 4) {
    v128_t top, total;
    combine(c.most2, c.sum2, coarse_tiles, lanes, g, &top, &total);
    float tops[4], totals[4], lse[4];
    wasm_v128_store(tops, top), wasm_v128_store(totals, total);
    // Lanes beyond the group hold zeros.
    for (int i = 0; i < 4; i++) lse[i] = totals[i] > 0 && totals[i] < 1e30f ? (float)(tops[i] + log_f64(totals[i])) : tops[i];
    v128_t l = wasm_v128_load(lse);
    for (int t = 0; t < tiles; t++) {
      float* m = c.most + t * lanes + g;
      wasm_v128_store(m, wasm_f32x4_sub(wasm_v128_load(m), l));
      for (int i = 0; i < 4 && g + i < c.group; i++) largest = larger(m[i], largest);
    }
  }
  const Exp held = held_exp();
  v128_t down = wasm_f32x4_splat(largest);
  for (int i = 0; i < tiles * lanes; i += 4)
    wasm_v128_store(c.most + i, exp_f32(wasm_f32x4_sub(wasm_v128_load(c.most + i), down), held));
}

void weigh_windows(const Choice& c, int visible, int coarse_visible) {
  int lanes = group_lanes(c.group), tiles = (visible + kTile - 1) / kTile;
  if (coarse_visible > 0) coarse_factors(c, tiles, (coarse_visible + kTile - 1) / kTile);
  else exact_factors(c, tiles);
  for (int t = 0; t < tiles; t++) {
    v128_t s[kTile / 4];
    for (v128_t& x : s) x = wasm_f32x4_const_splat(0);
    for (int g = 0; g < c.group; g++) {
      const float* w = c.weights + ((size_t)t * c.group + g) * kTile;
      v128_t f = wasm_v128_load32_splat(c.most + t * lanes + g);
      for (int j = 0; j < kTile / 4; j++) s[j] = madd_f32(wasm_v128_load(w + 4 * j), f, s[j]);
    }
    for (int j = 0; j < kTile / 4; j++) wasm_v128_store(c.windows + t * kTile + 4 * j, s[j]);
  }
}

void pool_blocks(const float* windows, int visible, int per, int begin, int end, float* blocks) {
  for (int b = begin; b < end; b++) {
    int from = per * b - 1 > 0 ? per * b - 1 : 0, to = per * b + per < visible ? per * b + per : visible;
    float most = kNone;
    for (int c = from; c < to; c++) most = larger(windows[c], most);
    blocks[b] = most;
  }
}

// Whether block a is a worse choice than b.
static bool worse(const float* blocks, int32_t a, int32_t b) {
  return blocks[a] < blocks[b] || (blocks[a] == blocks[b] && a > b);
}

static void sift_down(const float* blocks, int32_t* heap, int count, int at) {
  for (int child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && worse(blocks, heap[child + 1], heap[child])) child++;
    if (!worse(blocks, heap[child], heap[at])) return;
    int32_t swap = heap[at];
    heap[at] = heap[child], heap[child] = swap;
  }
}

int pick_blocks(const Sparse& p, float* blocks, int own, int32_t* out) {
  int first = p.init < own + 1 ? p.init : own + 1;                   // [0, first) are forced
  int last = own - p.local + 1 > first ? own - p.local + 1 : first;  // [last, own] too
  // The best so far lie in a heap (in `out`) with the worst on top.
  int kept = 0;
  for (int b = first; b < last && p.chosen > 0; b++) {
    if (!(blocks[b] > kNone && blocks[b] < __builtin_inff())) {
      blocks[b] = kNone;
      continue;
    }
    if (kept < p.chosen) {
      out[kept++] = b;
      if (kept == p.chosen)
        for (int i = kept / 2 - 1; i >= 0; i--) sift_down(blocks, out, kept, i);
    } else if (worse(blocks, out[0], b)) {
      out[0] = b;
      sift_down(blocks, out, kept, 0);
    }
  }
  for (int i = 0; i < kept; i++) blocks[out[i]] = __builtin_inff();
  int count = 0;
  for (int b = 0; b <= own; b++)
    if (b < first || b >= last || blocks[b] == __builtin_inff()) out[count++] = b;
  return count;
}
