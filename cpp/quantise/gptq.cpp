#include "gptq.h"

namespace {

// Rows [0, rows) of w (stride), columns [0, cols), less E (rows, n) times rows [first, first + n) of the inverse. e is (rows, kGptqBlock).
void spread(double* w, size_t stride, const double* e, const double* u, size_t su, int rows, int cols, int n) {
  for (int j = 0; j < cols; j += 4)
    for (int i = 0; i < rows; i += 4) {
      if (i + 4 > rows || j + 4 > cols) {
        for (int r = i; r < i + 4 && r < rows; r++)
          for (int c = j; c < j + 4 && c < cols; c++) {
            double s = 0;
            for (int k = 0; k < n; k++) s += e[r * kGptqBlock + k] * u[k * su + c];
            w[r * stride + c] -= s;
          }
        continue;
      }
      v128_t s[4][2];
      for (int r = 0; r < 4; r++) s[r][0] = s[r][1] = wasm_f64x2_const_splat(0);
      for (int k = 0; k < n; k++) {
        v128_t low = wasm_v128_load(u + k * su + j), high = wasm_v128_load(u + k * su + j + 2);
#pragma clang loop unroll(full)
        for (int r = 0; r < 4; r++) {
          v128_t v = wasm_v128_load64_splat(e + (i + r) * kGptqBlock + k);
          s[r][0] = wasm_f64x2_add(s[r][0], wasm_f64x2_mul(v, low)), s[r][1] = wasm_f64x2_add(s[r][1], wasm_f64x2_mul(v, high));
          pin(s[r][0]), pin(s[r][1]);
        }
      }
      for (int r = 0; r < 4; r++)
        for (int h = 0; h < 2; h++) {
          double* to = w + (i + r) * stride + j + 2 * h;
          wasm_v128_store(to, wasm_f64x2_sub(wasm_v128_load(to), s[r][h]));
        }
    }
}

// Codes of rows [row, row + rows), whose columns `w` has in order.
void rows_of(const GptqJob& j, int row, int rows, double* w, double* e) {
  int cols = j.w.cols, groups = cols / j.grid.group;
  size_t n = cols;
  for (int end = cols; end > 0;) {
    int begin = end > kGptqBlock ? end - kGptqBlock : 0;
    for (int i = end - 1; i >= begin; i--) {
      int column = j.order[i];
      const double* u = j.inverse + i * n;
      for (int r = 0; r < rows; r++) {
        double* x = w + r * n;
        size_t at = (size_t)(row + r) * groups + column / j.grid.group;
        double s = j.grid.scales[at], z = j.grid.zeros[at], q = code_of(x[i], s, z, j.grid.top),
               error = (x[i] - s * (q - z)) / u[i];
        j.codes[(row + r) * n + column] = (uint8_t)q;
        j.losses[row + r] += error * error;
        e[r * kGptqBlock + i - begin] = error;
        v128_t v = wasm_f64x2_splat(error);
        int c = begin;
        for (; c + 2 <= i; c += 2)
          wasm_v128_store(x + c, wasm_f64x2_sub(wasm_v128_load(x + c), wasm_f64x2_mul(v, wasm_v128_load(u + c))));
        for (; c < i; c++) x[c] -= error * u[c];
      }
    }
    spread(w, n, e, j.inverse + begin * n, n, rows, begin, end - begin);
    end = begin;
  }
}

}  // namespace

void gptq_task(void* arg, Lane& lane) {
  const GptqJob& j = *(const GptqJob*)arg;
  size_t n = j.w.cols;
  double *w = j.scratch + (size_t)lane.index * kGptqRows * (n + kGptqBlock), *e = w + kGptqRows * n;
  for (int row, end; pool_claim(lane, j.w.rows, kGptqRows, &row, &end);) {
    for (int r = row; r < end; r++) {
      j.losses[r] = 0;
      for (int i = 0; i < j.w.cols; i++) w[(r - row) * n + i] = j.dead[j.order[i]] ? 0 : j.w.at(r, j.order[i]);
    }
    rows_of(j, row, end - row, w, e);
  }
}

void gptq_ref(const GptqJob& j, int row, double* w, uint8_t* codes) {
  int cols = j.w.cols, groups = cols / j.grid.group;
  for (int i = 0; i < cols; i++) w[i] = j.dead[j.order[i]] ? 0 : j.w.at(row, j.order[i]);
  for (int i = cols - 1; i >= 0; i--) {
    int column = j.order[i];
    const double* u = j.inverse + (size_t)i * cols;
    double s = j.grid.scales[row * groups + column / j.grid.group], z = j.grid.zeros[row * groups + column / j.grid.group];
    double q = code_of(w[i], s, z, j.grid.top), e = (w[i] - s * (q - z)) / u[i];
    codes[column] = (uint8_t)q;
    for (int c = 0; c < i; c++) w[c] -= e * u[c];
  }
}

void loss_task(void* arg, Lane& lane) {
  const LossJob& j = *(const LossJob*)arg;
  int cols = j.w.cols, groups = j.codes ? cols / j.grid.group : 0;
  size_t n = cols;
  double* d = j.scratch + (size_t)lane.index * kLossRows * n;
  for (int row, end; pool_claim(lane, j.w.rows, kLossRows, &row, &end);) {
    int rows = end - row;
    for (int r = 0; r < kLossRows; r++)
      for (int k = 0; k < cols; k++) {
        double v = r < rows ? j.w.at(row + r, k) : 0;
        if (r < rows && j.codes) {
          size_t at = (size_t)(row + r) * groups + k / j.grid.group;
          v -= j.grid.scales[at] * (j.codes[(row + r) * n + k] - j.grid.zeros[at]);
        }
        // The error that inputs see: weights and codes are those of W f, and f is divided out again.
        d[r * n + k] = j.w.factor ? v / j.w.factor[k] : v;
      }
    double sum[kLossRows] = {};
    for (int i = 0; i < cols; i++) {
      const double* h = j.h + i * n;
      v128_t s[kLossRows];
      for (int r = 0; r < kLossRows; r++) s[r] = wasm_f64x2_const_splat(0);
      int k = i + 1;
      double tail[kLossRows] = {};
      for (; k + 2 <= cols; k += 2) {
        v128_t v = wasm_v128_load(h + k);
        for (int r = 0; r < kLossRows; r++) s[r] = wasm_f64x2_add(s[r], wasm_f64x2_mul(v, wasm_v128_load(d + r * n + k)));
      }
      for (; k < cols; k++)
        for (int r = 0; r < kLossRows; r++) tail[r] += h[k] * d[r * n + k];
      for (int r = 0; r < kLossRows; r++) {
        double x = d[r * n + i], cross = wasm_f64x2_extract_lane(s[r], 0) + wasm_f64x2_extract_lane(s[r], 1) + tail[r];
        sum[r] += x * (j.diag[i] * x + 2 * cross);
      }
    }
    for (int r = 0; r < rows; r++) j.losses[row + r] = sum[r] / 2;
  }
}
