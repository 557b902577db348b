// y[t][r] = scale * sum_k w[r][k] * x[t][k]   (+ what was in y, when `add`)
//
// Integer weights (codes c, block scale d, x quantised per block as scale a and codes q), per block in order:
//   acc += (sum c*q - offset * sum q) * (d * a)          [+ (a * sum q) * minimum for the -Min kinds]
// with offset 8 (int4), 128 (int8), 1 (ternary); integers exact, each float operation rounded once.
// int6 (int8 scales e per row and 16 columns, d per 256 columns): acc += d * (sum over its 8 blocks, in order, of
//   (sum e*(c - 32)*q) * a)
// Float weights: acc += w * x for k in order.
// The order never depends on the number of tokens, lanes or the build: every shape and variant gives the same bits.
#pragma once
#include "layout.h"
#include "quantize.h"

// The rows of x that one GEMM reads. Only the forms its weight kind needs are present.
struct Inputs {
  const float* x;              // (tokens, stride) float kinds
  const int8_t* q;             // (tokens, stride) codes in blocks of 32
  const BlockScale* scales;    // (tokens, stride / 32)
  const BlockCentre* centres;  // (tokens, stride / 32), of int6
  const int8_t* tq;            // (tokens, stride) codes in blocks of ternary_block
  const BlockScale* tscales;   // (tokens, stride / ternary_block)
  int tokens, stride, ternary_block;
};

struct Output {
  float* y;  // (tokens, stride)
  int stride;
  float scale;
  bool add;
};

// Computes panels [begin, end) of w for all tokens.
void gemm(const Tensor& w, const Inputs& in, const Output& out, int begin, int end);

// The definition, element by element.
float gemm_ref(const Tensor& w, const Inputs& in, int token, int row);

// One kernel a kind, in the file of its name: `n` tokens (1 ... 4) from `token` on, panels [begin, end).
void int4_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end);
void int6_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end);
void int8_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end);
void ternary_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end);
void float_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end);

// Writes rows 0-3 and 4-7 of a panel for one token; padding rows past w.rows are dropped.
static inline void put_panel(const Tensor& w, const Output& out, int token, int panel, v128_t low, v128_t high) {
  float* y = out.y + (size_t)token * out.stride + panel * kPanel;
  v128_t s = wasm_f32x4_splat(out.scale);
  low = wasm_f32x4_mul(low, s), high = wasm_f32x4_mul(high, s);
  int rows = w.rows - panel * kPanel;
  if (rows >= kPanel) {
    if (out.add) low = wasm_f32x4_add(wasm_v128_load(y), low), high = wasm_f32x4_add(wasm_v128_load(y + 4), high);
    wasm_v128_store(y, low), wasm_v128_store(y + 4, high);
    return;
  }
  float all[8];
  wasm_v128_store(all, low), wasm_v128_store(all + 4, high);
  for (int r = 0; r < rows; r++) y[r] = out.add ? y[r] + all[r] : all[r];
}
