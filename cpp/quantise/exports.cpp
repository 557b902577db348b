// The boundary of the quantiser: checks what a caller can get wrong, then runs on all lanes. Addresses are plain numbers.
#include "../abi.h"
#include "../kernels/pack.h"
#include "../pool.h"
#include "blocks.h"
#include "gptq.h"
#include "hessian.h"
#include "solve.h"

constexpr int kQuantiseAbi = 1;
ABI(quantise_abi) int quantise_abi() { return kQuantiseAbi; }

ABI(quantise_block_cols) int quantise_block_cols(int type) { return block_cols(type); }
ABI(quantise_block_bytes) int quantise_block_bytes(int type) { return block_bytes_of(type); }
ABI(quantise_grid_group) int quantise_grid_group(int type) { return grid_group(type); }

// ---- inputs

ABI(hessian_packed_bytes) double hessian_packed_bytes(int cols) { return 4.0 * packed_cols(cols) * kChunkRows; }

// h (cols, cols) += x^T x in the upper triangle, for x (rows, cols), at most 128 rows. `steps`: null for float products, or
// room for packed_cols float64: products of inputs rounded to 12 bits and a sign.
ABI(hessian_add) int hessian_add(Ref<double> h, Ref<const float> x, Ref<float> packed, Ref<double> steps, int rows, int cols) {
  if (rows < 1 || rows > kChunkRows || cols < 1) return kBadArgument;
  HessianJob job = {h, x, packed, steps, rows, cols};
  return pool_run(job.steps ? hessian_int16_task : hessian_task, &job);
}

ABI(hessian_add_ref) void hessian_add_ref(Ref<double> h, Ref<const float> x, int rounded, int rows, int cols) {
  HessianJob job = {h, x, nullptr, nullptr, rows, cols};
  for (int i = 0; i < cols; i++)
    for (int j = i; j < cols; j++) {
      double& sum = h[(size_t)i * cols + j];
      sum = rounded ? hessian_int16_ref(job, i, j, sum) : hessian_ref(job, i, j, sum);
    }
}

// Per column: sums of |x| (may be null) and of x^2, added to what is there. kNotFinite where a value is none.
ABI(column_sums) int column_sums(Ref<const float> x, int rows, int cols, Ref<double> magnitudes, Ref<double> squares) {
  bool finite = true;
  for (int t = 0; t < rows; t++) {
    const float* row = x + (size_t)t * cols;
    for (int k = 0; k < cols; k++) {
      double v = row[k];
      finite &= __builtin_isfinite(v);
      if (magnitudes) magnitudes[k] += v < 0 ? -v : v;
      squares[k] += v * v;
    }
  }
  return finite ? kOk : kNotFinite;
}

// h * scale, with the diagonal moved to `diag`. Where that is 0 it becomes 1, and dead[k] is 1; gives the number of those.
ABI(hessian_finish) int hessian_finish(Ref<double> h, int cols, double scale, Ref<double> diag, Ref<uint8_t> dead) {
  int none = 0;
  for (int i = 0; i < cols; i++) {
    double* row = h + (size_t)i * cols;
    for (int k = i; k < cols; k++) row[k] *= scale;
    dead[i] = row[i] == 0, none += dead[i];
    diag[i] = dead[i] ? 1 : row[i];
  }
  return none;
}

// ---- grids: values, codes, errors. A null factor is 1; (S, Z) are float64 (rows, cols / group).

namespace {

struct RowJob {
  RowsOf w;
  Grid grid;
  const double* weights;
  uint8_t* out;
  double* sums;
  int type, mode, flags;
};

void grid_task(void* arg, Lane& lane) {
  const RowJob& j = *(const RowJob*)arg;
  for (int r, end; pool_claim(lane, j.w.rows, 4, &r, &end);)
    for (; r < end; r++) grid_row(j.w, r, j.grid, j.flags & 1, j.flags & 2, j.weights);
}
void codes_task(void* arg, Lane& lane) {
  const RowJob& j = *(const RowJob*)arg;
  for (int r, end; pool_claim(lane, j.w.rows, 16, &r, &end);)
    for (; r < end; r++) codes_row(j.w, r, j.grid, j.out);
}
void ternary_task(void* arg, Lane& lane) {
  const RowJob& j = *(const RowJob*)arg;
  for (int r, end; pool_claim(lane, j.w.rows, 4, &r, &end);)
    for (; r < end; r++) ternary_row(j.w, r, j.grid, (TernaryFit)j.mode, j.out);
}
void encode_task(void* arg, Lane& lane) {
  const RowJob& j = *(const RowJob*)arg;
  int cols = block_cols(j.type), bytes = block_bytes_of(j.type), blocks = j.w.cols / cols;
  double x[256];
  for (int r, end; pool_claim(lane, j.w.rows, 1, &r, &end);)
    for (; r < end; r++)
      for (int b = 0; b < blocks; b++) {
        j.w.read(r, b * cols, cols, x);
        encode_block(j.type, x, j.weights ? j.weights + b * cols : nullptr, (Search)j.mode,
                     j.out + ((size_t)r * blocks + b) * bytes);
      }
}
void blocks_task(void* arg, Lane& lane) {
  const RowJob& j = *(const RowJob*)arg;
  int cols = block_cols(j.type), bytes = block_bytes_of(j.type), blocks = j.w.cols / cols, per = cols / j.grid.group;
  for (int r, end; pool_claim(lane, j.w.rows, 8, &r, &end);)
    for (; r < end; r++)
      for (int b = 0; b < blocks; b++) {
        uint8_t* block = j.out + ((size_t)r * blocks + b) * bytes;
        size_t at = ((size_t)r * blocks + b) * per;
        const uint8_t* codes = (const uint8_t*)j.weights + (size_t)r * j.w.cols + b * cols;
        if (j.mode == 0) block_grid(j.type, block, j.grid.scales + at, j.grid.zeros + at);
        else if (j.mode == 1) put_codes(j.type, codes, block);
        else put_ternary(j.type, codes, j.grid.scales[at], block);
      }
}
void error_task(void* arg, Lane& lane) {
  const RowJob& j = *(const RowJob*)arg;
  int per = block_cols(j.type), bytes = block_bytes_of(j.type), blocks = j.w.cols / per;
  float values[256];
  for (int r, end; pool_claim(lane, j.w.rows, 16, &r, &end);)
    for (; r < end; r++) {
      double error = 0, energy = 0;
      for (int b = 0; b < blocks; b++) {
        dequantize_block(j.type, j.out + ((size_t)r * blocks + b) * bytes, values);
        for (int k = 0; k < per; k++) {
          double x = j.w.at(r, b * per + k), d = x - values[k], v = j.weights ? j.weights[b * per + k] : 1;
          error += v * (d * d), energy += v * (x * x);
        }
      }
      j.sums[2 * r] = error, j.sums[2 * r + 1] = energy;
    }
}

bool whole_blocks(int type, int cols) { return block_cols(type) && cols % block_cols(type) == 0; }

}  // namespace

ABI(grid_int4)
int grid_int4(Ref<const float> w, Ref<const double> factor, int rows, int cols, int group, int symmetric, int search,
              Ref<const double> weights, Ref<double> scales, Ref<double> zeros) {
  if (group < 8 || group % 8 || cols % group) return kBadArgument;
  RowJob job = {{w, factor, rows, cols},
                {scales, zeros, group, 15},
                weights,
                nullptr,
                nullptr,
                0,
                0,
                (symmetric ? 1 : 0) | (search ? 2 : 0)};
  return pool_run(grid_task, &job);
}

ABI(grid_codes)
int grid_codes(Ref<const float> w, Ref<const double> factor, int rows, int cols, int group, int top, Ref<double> scales,
               Ref<double> zeros, Ref<uint8_t> codes) {
  if (group < 1 || cols % group) return kBadArgument;
  RowJob job = {{w, factor, rows, cols}, {scales, zeros, group, top}, nullptr, codes, nullptr, 0, 0, 0};
  return pool_run(codes_task, &job);
}

// fit: 0 mean|x|, 1 fitted, 2 exact.
ABI(grid_ternary)
int grid_ternary(Ref<const float> w, Ref<const double> factor, int rows, int cols, int group, int fit, Ref<double> scales,
                 Ref<double> zeros, Ref<uint8_t> codes) {
  if (group < 8 || group % 8 || cols % group) return kBadArgument;
  RowJob job = {{w, factor, rows, cols}, {scales, zeros, group, 2}, nullptr, codes, nullptr, 0, fit, 0};
  return pool_run(ternary_task, &job);
}

// 1 when within groups of so many columns all magnitudes but 0 are equal, in every row.
ABI(ternary_group) int ternary_group(Ref<const float> w, int rows, int cols, int group) {
  if (group < 1 || cols % group) return 0;
  RowsOf all = {w, nullptr, rows, cols};
  for (int r = 0; r < rows; r++)
    if (!ternary_already(all, r, group)) return 0;
  return 1;
}

// Rows as blocks of a GGUF type. weights: per column, of mean 1, or null.
ABI(encode_rows)
int encode_rows(int type, Ref<const float> w, Ref<const double> factor, int rows, int cols, Ref<const double> weights,
                int searched, Ref<uint8_t> out) {
  if (!whole_blocks(type, cols) || type == kTQ1_0 || type == kTQ2_0) return kBadArgument;
  RowJob job = {{w, factor, rows, cols}, {}, weights, out, nullptr, type, searched ? 1 : 0, 0};
  return pool_run(encode_task, &job);
}

// (S, Z) of encoded rows.
ABI(blocks_grid) int blocks_grid(int type, Ref<uint8_t> blocks, int rows, int cols, Ref<double> scales, Ref<double> zeros) {
  if (!whole_blocks(type, cols) || !grid_group(type)) return kBadArgument;
  RowJob job = {
      {nullptr, nullptr, rows, cols}, {scales, zeros, grid_group(type), grid_top(type)}, nullptr, blocks, nullptr, type, 0, 0};
  return pool_run(blocks_task, &job);
}

// Puts codes (rows, cols) into encoded rows. With scales (ternary types) the blocks are made from both.
ABI(blocks_put) int blocks_put(int type, Ref<const uint8_t> codes, Ref<double> scales, int rows, int cols, Ref<uint8_t> blocks) {
  if (!whole_blocks(type, cols) || !grid_group(type)) return kBadArgument;
  RowJob job = {{nullptr, nullptr, rows, cols},
                {scales, nullptr, grid_group(type), 0},
                (const double*)(const uint8_t*)codes,
                blocks,
                nullptr,
                type,
                scales ? 2 : 1,
                0};
  return pool_run(blocks_task, &job);
}

// Per row: sum of weighted squared errors of encoded rows, and of squares; sums (rows, 2).
ABI(blocks_error)
int blocks_error(int type, Ref<const float> w, int rows, int cols, Ref<const double> weights, Ref<uint8_t> blocks,
                 Ref<double> sums) {
  if (!whole_blocks(type, cols)) return kBadArgument;
  RowJob job = {{w, nullptr, rows, cols}, {}, weights, blocks, sums, type, 0, 0};
  return pool_run(error_task, &job);
}

// Words of a GPTQ linear: qweight (cols / 8, rows) from codes (rows, cols).
ABI(gptq_words) int gptq_words(Ref<const uint8_t> codes, int rows, int cols, Ref<uint32_t> out) {
  if (cols % 8) return kBadArgument;
  for (int k = 0; k < cols / 8; k++)
    for (int r = 0; r < rows; r++) {
      uint32_t word = 0;
      for (int i = 0; i < 8; i++) word |= (uint32_t)codes[(size_t)r * cols + 8 * k + i] << 4 * i;
      out[(size_t)k * rows + r] = word;
    }
  return kOk;
}

// ---- error feedback

ABI(gptq_scratch_bytes) double gptq_scratch_bytes(int cols, int lanes) {
  return 8.0 * lanes * kGptqRows * ((double)cols + kGptqBlock);
}
ABI(solve_scratch_bytes) double solve_scratch_bytes(int cols) { return 8.0 * kSolveBlock * cols; }

// 1 when the damped matrix is not positive definite: H is still there, try a larger damp.
ABI(solve)
int solve(Ref<double> h, Ref<const double> diag, Ref<const int32_t> order, Ref<double> scratch, int cols, double damp) {
  if (cols < 2 || cols % 2) return kBadArgument;
  SolveJob job = {h, diag, order, scratch, damp, cols, 0};
  int status = pool_run(solve_task, &job);
  return status == kOk ? job.failed : status;
}

ABI(gptq)
int gptq(Ref<const float> w, Ref<const double> factor, int rows, int cols, Ref<const double> inverse, Ref<const int32_t> order,
         Ref<const uint8_t> dead, int group, int top, Ref<double> scales, Ref<double> zeros, Ref<uint8_t> codes,
         Ref<double> losses, Ref<double> scratch) {
  if (cols % group) return kBadArgument;
  GptqJob job = {{w, factor, rows, cols}, inverse, order, dead, {scales, zeros, group, top}, codes, losses, scratch};
  return pool_run(gptq_task, &job);
}

// One row by the definition; scratch: cols float64.
ABI(gptq_row_ref)
void gptq_row_ref(Ref<const float> w, Ref<const double> factor, int rows, int cols, Ref<const double> inverse,
                  Ref<const int32_t> order, Ref<const uint8_t> dead, int group, int top, Ref<double> scales, Ref<double> zeros,
                  int row, Ref<uint8_t> codes, Ref<double> scratch) {
  GptqJob job = {{w, factor, rows, cols}, inverse, order, dead, {scales, zeros, group, top}, nullptr, nullptr, nullptr};
  gptq_ref(job, row, scratch, codes);
}

ABI(loss_scratch_bytes) double loss_scratch_bytes(int cols, int lanes) { return 8.0 * lanes * kLossRows * cols; }

// Losses per row; codes null: what the weights themselves give.
ABI(output_loss)
int output_loss(Ref<const float> w, Ref<const double> factor, int rows, int cols, Ref<const double> h, Ref<const double> diag,
                int group, Ref<double> scales, Ref<double> zeros, Ref<const uint8_t> codes, Ref<double> losses,
                Ref<double> scratch) {
  if (codes && cols % group) return kBadArgument;
  LossJob job = {{w, factor, rows, cols}, h, diag, {scales, zeros, group, 0}, codes, losses, scratch};
  return pool_run(loss_task, &job);
}
