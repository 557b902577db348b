#include "hessian.h"

namespace {

// A panel of 8 columns: (rows, 8), columns past the end zero.
void pack(const HessianJob& j, int panel) {
  float* to = j.packed + (size_t)panel * j.rows * kPackCols;
  int first = panel * kPackCols, count = j.cols - first < kPackCols ? j.cols - first : kPackCols;
  for (int t = 0; t < j.rows; t++, to += kPackCols) {
    const float* from = j.x + (size_t)t * j.cols + first;
    for (int c = 0; c < kPackCols; c++) to[c] = c < count ? from[c] : 0;
  }
}

// Four columns of panel a by the eight of panel b, over all rows of the chunk: out (4, 8).
KERNEL_PART void outer(const float* a, const float* b, int rows, float* out) {
  v128_t sum[4][2];
  for (int i = 0; i < 4; i++) sum[i][0] = sum[i][1] = wasm_f32x4_const_splat(0);
  for (int t = 0; t < rows; t++, a += kPackCols, b += kPackCols) {
    v128_t low = wasm_v128_load(b), high = wasm_v128_load(b + 4);
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; i++) {
      v128_t s = wasm_v128_load32_splat(a + i);
      sum[i][0] = madd_f32(s, low, sum[i][0]), sum[i][1] = madd_f32(s, high, sum[i][1]);
      pin(sum[i][0]), pin(sum[i][1]);
    }
  }
  for (int i = 0; i < 4; i++) wasm_v128_store(out + 8 * i, sum[i][0]), wasm_v128_store(out + 8 * i + 4, sum[i][1]);
}

void tile(const HessianJob& j, int ti, int tj) {
  float out[32];
  int row_end = (ti + 1) * kTileCols < j.cols ? (ti + 1) * kTileCols : j.cols,
      col_end = (tj + 1) * kTileCols < j.cols ? (tj + 1) * kTileCols : j.cols;
  for (int b = tj * kTileCols; b < col_end; b += kPackCols) {
    const float* pb = j.packed + (size_t)b * j.rows;
    for (int a = ti * kTileCols; a < row_end && a < b + kPackCols; a += 4) {
      outer(j.packed + (size_t)(a / kPackCols * kPackCols) * j.rows + a % kPackCols, pb, j.rows, out);
      for (int i = 0; i < 4 && a + i < row_end; i++)
        for (int c = 0; c < kPackCols; c++)
          if (b + c >= a + i && b + c < j.cols) j.h[(size_t)(a + i) * j.cols + b + c] += out[8 * i + c];
    }
  }
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
