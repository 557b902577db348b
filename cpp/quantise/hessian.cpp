#include "hessian.h"

namespace {

constexpr int kLeft = 4;  // columns by kPackCols of a tile of sums: 8 vectors of
                          // sums, 2 + 1 operands and a product, of 15 registers

int columns_of(const HessianJob& j, int first) { return j.cols - first < kPackCols ? j.cols - first : kPackCols; }

// The largest magnitude of a column, and a value's level by what it is multiplied by.
float largest(const HessianJob& j, int col) {
  float m = 0;
  for (int t = 0; t < j.rows; t++) {
    float v = __builtin_fabsf(j.x[(size_t)t * j.cols + col]);
    m = v > m ? v : m;
  }
  return m;
}
float per_level(float most) { return most < 0x1p-100f ? 0 : (float)(kLevels / most); }

// Row t of a panel's columns, past the end zero.
struct Row8 {
  v128_t low, high;
};
Row8 row_of(const HessianJob& j, int t, int first, int count) {
  if (t >= j.rows) return {wasm_f32x4_const_splat(0), wasm_f32x4_const_splat(0)};
  const float* from = j.x + (size_t)t * j.cols + first;
  if (count == kPackCols) return {wasm_v128_load(from), wasm_v128_load(from + 4)};
  float part[kPackCols] = {};
  for (int c = 0; c < count; c++) part[c] = from[c];
  return {wasm_v128_load(part), wasm_v128_load(part + 4)};
}

struct FloatForm {
  using Packed = float;
  static int steps_of(int rows) { return rows; }
  static constexpr int kValues = 1;  // rows of a step

  // A panel of 8 columns: (rows, 8), columns past the end zero.
  static void pack(const HessianJob& j, int panel) {
    float* to = j.packed + (size_t)panel * j.rows * kPackCols;
    int first = panel * kPackCols, count = columns_of(j, first);
    for (int t = 0; t < j.rows; t++, to += kPackCols) {
      const float* from = j.x + (size_t)t * j.cols + first;
      if (count == kPackCols) {
        wasm_v128_store(to, wasm_v128_load(from)), wasm_v128_store(to + 4, wasm_v128_load(from + 4));
        continue;
      }
      for (int c = 0; c < kPackCols; c++) to[c] = c < count ? from[c] : 0;
    }
  }
  static v128_t zero() { return wasm_f32x4_const_splat(0); }
  KERNEL_PART v128_t more(v128_t sum, v128_t b, v128_t s) { return madd_f32(b, s, sum); }
  // Two sums as float64, of columns i and k, k + 1 on.
  static v128_t pair(const HessianJob&, const void* sums, int, int) {
    return wasm_f64x2_promote_low_f32x4(wasm_v128_load64_zero(sums));
  }
  static double one(const HessianJob&, const void* sum, int, int) { return *(const float*)sum; }
};

struct Int16Form {
  using Packed = int16_t;
  static int steps_of(int rows) { return (rows + 1) / 2; }
  static constexpr int kValues = 2;

  // A panel of 8 columns: (pairs of rows, 8, 2), what is past the end zero.
  static void pack(const HessianJob& j, int panel) {
    int first = panel * kPackCols, count = columns_of(j, first), steps = steps_of(j.rows);
    int16_t* to = (int16_t*)j.packed + (size_t)panel * steps * kPackCols * 2;
    float most[kPackCols], per[kPackCols];
    Row8 m = {wasm_f32x4_const_splat(0), wasm_f32x4_const_splat(0)};
    for (int t = 0; t < j.rows; t++) {
      Row8 x = row_of(j, t, first, count);
      m = {wasm_f32x4_pmax(m.low, wasm_f32x4_abs(x.low)), wasm_f32x4_pmax(m.high, wasm_f32x4_abs(x.high))};
    }
    wasm_v128_store(most, m.low), wasm_v128_store(most + 4, m.high);
    for (int c = 0; c < kPackCols; c++) per[c] = per_level(most[c]), j.steps[first + c] = per[c] == 0 ? 0 : most[c] / kLevels;
    v128_t p0 = wasm_v128_load(per), p1 = wasm_v128_load(per + 4);
    for (int t = 0; t < j.rows; t += 2, to += 2 * kPackCols) {
      Row8 a = row_of(j, t, first, count), b = row_of(j, t + 1, first, count);
      wasm_v128_store(to, paired(a.low, b.low, p0)), wasm_v128_store(to + kPackCols, paired(a.high, b.high, p1));
    }
  }
  static v128_t levels(v128_t x, v128_t per) { return wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(wasm_f32x4_mul(x, per))); }
  // Levels of four columns in two rows: (4, 2).
  static v128_t paired(v128_t a, v128_t b, v128_t per) {
    return wasm_v128_or(wasm_v128_and(levels(a, per), wasm_i32x4_const_splat(0xffff)), wasm_i32x4_shl(levels(b, per), 16));
  }
  static v128_t zero() { return wasm_i32x4_const_splat(0); }
  KERNEL_PART v128_t more(v128_t sum, v128_t b, v128_t s) { return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(b, s)); }
  static v128_t pair(const HessianJob& j, const void* sums, int i, int k) {
    v128_t scale = wasm_f64x2_mul(wasm_f64x2_splat(j.steps[i]), wasm_v128_load(j.steps + k));
    return wasm_f64x2_mul(wasm_f64x2_convert_low_i32x4(wasm_v128_load64_zero(sums)), scale);
  }
  static double one(const HessianJob& j, const void* sum, int i, int k) {
    return *(const int32_t*)sum * (j.steps[i] * j.steps[k]);
  }
};

// Four columns of panel a by the eight of panel b, over all rows of the chunk:
// out (4, 8) of 32 bits.
template <typename Form>
KERNEL_PART void outer(const typename Form::Packed* a, const typename Form::Packed* b, int steps, int32_t* out) {
  constexpr int kStep = kPackCols * Form::kValues;
  v128_t low[kLeft], high[kLeft];
  for (int i = 0; i < kLeft; i++) low[i] = high[i] = Form::zero();
  for (int t = steps; t > 0; t--, a += kStep, b += kStep) {
    v128_t b0 = wasm_v128_load(b), b1 = wasm_v128_load(b + kStep / 2);
#pragma clang loop unroll(full)
    for (int i = 0; i < kLeft; i++) {
      v128_t s = wasm_v128_load32_splat(a + i * Form::kValues);
      low[i] = Form::more(low[i], b0, s), high[i] = Form::more(high[i], b1, s);
      pin(low[i]), pin(high[i]);
    }
  }
  for (int i = 0; i < kLeft; i++) wasm_v128_store(out + 8 * i, low[i]), wasm_v128_store(out + 8 * i + 4, high[i]);
}

// Adds sums (4, 8) to H from row i and column k on.
template <typename Form>
void add(const HessianJob& j, const int32_t* sums, int i, int k) {
  size_t stride = j.cols;
  double* h = j.h + i * stride + k;
  bool whole = i + kLeft <= k + 1 && k + kPackCols <= j.cols;
  for (int r = 0; r < kLeft && i + r < j.cols; r++, h += stride, sums += kPackCols)
    if (whole) {
      for (int c = 0; c < kPackCols; c += 2)
        wasm_v128_store(h + c, wasm_f64x2_add(wasm_v128_load(h + c), Form::pair(j, sums + c, i + r, k + c)));
    } else {  // on the diagonal, or at the edge
      for (int c = 0; c < kPackCols; c++)
        if (k + c >= i + r && k + c < j.cols) h[c] += Form::one(j, sums + c, i + r, k + c);
    }
}

template <typename Form>
void tile(const HessianJob& j, int ti, int tj) {
  int32_t sums[kLeft * kPackCols];
  int row_end = (ti + 1) * kTileCols < j.cols ? (ti + 1) * kTileCols : j.cols,
      col_end = (tj + 1) * kTileCols < j.cols ? (tj + 1) * kTileCols : j.cols, steps = Form::steps_of(j.rows);
  size_t panel = (size_t)steps * kPackCols * Form::kValues;
  auto packed = (const typename Form::Packed*)j.packed;
  for (int k = tj * kTileCols; k < col_end; k += kPackCols)
    for (int i = ti * kTileCols; i < row_end && i < k + kPackCols; i += kLeft)
      outer<Form>(packed + i / kPackCols * panel + i % kPackCols * Form::kValues, packed + k / kPackCols * panel, steps, sums),
          add<Form>(j, sums, i, k);
}

template <typename Form>
void task(const HessianJob& j, Lane& lane) {
  int panels = packed_cols(j.cols) / kPackCols, tiles = (j.cols + kTileCols - 1) / kTileCols, pairs = tiles * (tiles + 1) / 2;
  for (int p, end; pool_claim(lane, panels, pool_grain(panels), &p, &end);)
    for (; p < end; p++) Form::pack(j, p);
  pool_barrier(lane);
  for (int at, end; pool_claim(lane, pairs, 1, &at, &end);)
    for (; at < end; at++) {
      int ti = 0, left = at;
      for (; left >= tiles - ti; ti++) left -= tiles - ti;
      tile<Form>(j, ti, ti + left);
    }
}

}  // namespace

void hessian_task(void* arg, Lane& lane) { task<FloatForm>(*(const HessianJob*)arg, lane); }
void hessian_int16_task(void* arg, Lane& lane) { task<Int16Form>(*(const HessianJob*)arg, lane); }

double hessian_ref(const HessianJob& job, int i, int j, double before) {
  float sum = 0;
  for (int t = 0; t < job.rows; t++) sum += job.x[(size_t)t * job.cols + i] * job.x[(size_t)t * job.cols + j];
  return before + sum;
}

double hessian_int16_ref(const HessianJob& job, int i, int j, double before) {
  float a = largest(job, i), b = largest(job, j), pa = per_level(a), pb = per_level(b);
  int64_t sum = 0;
  for (int t = 0; t < job.rows; t++)
    sum += (int64_t)__builtin_rintf(job.x[(size_t)t * job.cols + i] * pa) *
           (int64_t)__builtin_rintf(job.x[(size_t)t * job.cols + j] * pb);
  return before + (double)sum * ((pa == 0 ? 0 : a / kLevels) * (pb == 0 ? 0 : b / kLevels));
}
