#include "hessian.h"

namespace {

constexpr int kLeft = 4;  // columns by kPackCols of a tile of sums: 8 vectors of
                          // sums, 2 + 1 operands and a product, of 15 registers

// A panel of 8 columns: (rows, 8), columns past the end zero.
void pack(const HessianJob& j, int panel) {
  float* to = j.packed + (size_t)panel * j.rows * kPackCols;
  int first = panel * kPackCols, count = j.cols - first < kPackCols ? j.cols - first : kPackCols;
  for (int t = 0; t < j.rows; t++, to += kPackCols) {
    const float* from = j.x + (size_t)t * j.cols + first;
    if (count == kPackCols) {
      wasm_v128_store(to, wasm_v128_load(from)), wasm_v128_store(to + 4, wasm_v128_load(from + 4));
      continue;
    }
    for (int c = 0; c < kPackCols; c++) to[c] = c < count ? from[c] : 0;
  }
}

// Four columns of panel a by the eight of panel b, over all rows of the chunk:
// out (4, 8).
KERNEL_PART void outer(const float* a, const float* b, int rows, float* out) {
  v128_t low[kLeft], high[kLeft];
  for (int i = 0; i < kLeft; i++) low[i] = high[i] = wasm_f32x4_const_splat(0);
  for (int t = rows; t > 0; t--, a += kPackCols, b += kPackCols) {
    v128_t b0 = wasm_v128_load(b), b1 = wasm_v128_load(b + 4);
#pragma clang loop unroll(full)
    for (int i = 0; i < kLeft; i++) {
      v128_t s = wasm_v128_load32_splat(a + i);
      low[i] = madd_f32(b0, s, low[i]), high[i] = madd_f32(b1, s, high[i]);
      pin(low[i]), pin(high[i]);
    }
  }
  for (int i = 0; i < kLeft; i++) wasm_v128_store(out + 8 * i, low[i]), wasm_v128_store(out + 8 * i + 4, high[i]);
}

// Adds sums (4, 8) to H from row i and column k on.
void add(const HessianJob& j, const float* sums, int i, int k) {
  size_t stride = j.cols;
  double* h = j.h + i * stride + k;
  bool whole = i + kLeft <= k + 1 && k + kPackCols <= j.cols;
  for (int r = 0; r < kLeft && i + r < j.cols; r++, h += stride, sums += kPackCols)
    if (whole) {
      for (int c = 0; c < kPackCols; c += 2)
        wasm_v128_store(h + c,
                        wasm_f64x2_add(wasm_v128_load(h + c), wasm_f64x2_promote_low_f32x4(wasm_v128_load64_zero(sums + c))));
    } else {  // on the diagonal, or at the edge
      for (int c = 0; c < kPackCols; c++)
        if (k + c >= i + r && k + c < j.cols) h[c] += sums[c];
    }
}

void tile(const HessianJob& j, int ti, int tj) {
  float sums[kLeft * kPackCols];
  int row_end = (ti + 1) * kTileCols < j.cols ? (ti + 1) * kTileCols : j.cols,
      col_end = (tj + 1) * kTileCols < j.cols ? (tj + 1) * kTileCols : j.cols;
  for (int k = tj * kTileCols; k < col_end; k += kPackCols)
    for (int i = ti * kTileCols; i < row_end && i < k + kPackCols; i += kLeft)
      outer(j.packed + (size_t)(i / kPackCols * kPackCols) * j.rows + i % kPackCols, j.packed + (size_t)k * j.rows, j.rows, sums),
          add(j, sums, i, k);
}

}  // namespace

void hessian_task(void* arg, Lane& lane) {
  const HessianJob& j = *(const HessianJob*)arg;
  int panels = packed_cols(j.cols) / kPackCols, tiles = (j.cols + kTileCols - 1) / kTileCols, pairs = tiles * (tiles + 1) / 2;
  for (int p, end; pool_claim(lane, panels, pool_grain(panels), &p, &end);)
    for (; p < end; p++) pack(j, p);
  pool_barrier(lane);
  for (int at, end; pool_claim(lane, pairs, 1, &at, &end);)
    for (; at < end; at++) {
      int ti = 0, left = at;
      for (; left >= tiles - ti; ti++) left -= tiles - ti;
      tile(j, ti, ti + left);
    }
}

double hessian_ref(const HessianJob& job, int i, int j, double before) {
  float sum = 0;
  for (int t = 0; t < job.rows; t++) sum += job.x[(size_t)t * job.cols + i] * job.x[(size_t)t * job.cols + j];
  return before + sum;
}
