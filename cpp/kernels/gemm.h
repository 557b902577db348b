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
// The same in the other forms.
void int4_wide(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end);
void int6_wide(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end);
void int8_wide(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end);
void ternary_wide(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end);
void float_gemm(const Tensor& w, const Inputs& in, const Output& out, int token, int n, int begin, int end);

// How the integer kernels are spelled. All give the same bits; which is fastest depends on the machine, so it is chosen at load
// (src/wasm/forms.ts).
//   kDot16       sums of 16 bits, widened once a block: what x86 has. i16x8.relaxed_dot; base: i32x4.dot_i16x8 of even and odd bytes
//   kDot32       i32x4.relaxed_dot_add, one instruction where a machine has it (x86 with AVX-VNNI); of relaxed builds
//   kDot32Lanes  the same as ARM has it: activations are lanes of what was loaded, codes are shifted as bytes; of relaxed builds
//   kExtended    extended multiplies and pairwise additions, single instructions of ARM; of base builds
enum Form : uint8_t { kDot16 = 0, kDot32 = 1, kDot32Lanes = 2, kExtended = 3 };

// Of attention over a cache of kind kKvQ8, beside the kinds of weights.
constexpr int kCache8 = kTernary + 1;

// Takes a form for all tensors of the kind from now on, on all lanes; false where this build does not have it.
bool use_form(int kind, int form);
Form form_of(int kind);

// What i32x4.relaxed_dot_add makes of the upper bit of its second operand, which is fixed for a machine: a sign, a value, or neither
// exactly (also in base builds, which have no such instruction).
enum ByteDot { kNeither, kSigned, kUnsigned };
ByteDot byte_dot();

// Whether the nan that 0 / 0 gives has no sign: so on ARM, not on x86.
bool plain_nan();

// tile<N, ...>: the number of tokens as a constant.
#define FOR_TOKENS(n, ...)                            \
  switch (n) {                                        \
    case 1: { constexpr int N = 1; return __VA_ARGS__; } \
    case 2: { constexpr int N = 2; return __VA_ARGS__; } \
    case 3: { constexpr int N = 3; return __VA_ARGS__; } \
    default: { constexpr int N = 4; return __VA_ARGS__; } \
  }

// tile<N, S, ...> of panels [begin + i * each, begin + (i + 1) * each), i < streams <= S, side by side. A single token waits for memory: what a
// processor reads ahead ends with a page, mostly of 4 KiB, so that four streams bring 1.6 to 2 times as much as one. Streams that lie whole
// pages apart (streams_of) come to the ends of pages together, and wait once for all four. Sums of a stream lie in memory (its loop is not
// unrolled); more tokens are one stream, with sums in registers.
constexpr int kStreams = 4;

// How many streams `count` panels are taken in, and of how many each: four or two that lie whole pages apart, or nearly; else four, two or one as
// they lie.
int streams_of(const Tensor& w, int count, int* each);

// The sums of a stream: low[t] and high[t] of N tokens. Read before either is written: V8's re-vectoriser fuses neighbours only where
// nothing is stored between, and knows them by their offsets from one pointer.
template <int N, int S>
struct StreamSums {
  v128_t all[S][2 * N];
  KERNEL_PART_METHOD void clear() {
    for (int i = 0; i < S; i++)
      for (int n = 0; n < 2 * N; n++) all[i][n] = wasm_f32x4_const_splat(0);
  }
  KERNEL_PART_METHOD v128_t* of(int i) {
    v128_t* at = all[i];
    if constexpr (S > 1) anchor(at);
    return at;
  }
  static KERNEL_PART_METHOD void put(v128_t* at, int t, v128_t low, v128_t high) {
    if constexpr (S > 1) pin(low), pin(high);
    at[t] = low, at[N + t] = high;
  }
};
// Four, two, or the last panel alone, so that a kernel may take them by twos.
#define IN_STREAMS(...)                                                                                             \
  {                                                                                                                 \
    constexpr int N = 1, S = kStreams;                                                                              \
    for (int each, streams; begin < end; begin += each * streams) {                                                 \
      streams = streams_of(w, end - begin, &each);                                                                  \
      __VA_ARGS__;                                                                                                  \
    }                                                                                                               \
    return;                                                                                                         \
  }
#define FOR_STREAMS(n, ...)               \
  if (n == 1) IN_STREAMS(__VA_ARGS__)     \
  FOR_ONE_STREAM(n, __VA_ARGS__)
#define FOR_ONE_STREAM(n, ...)            \
  constexpr int S = 1, streams = 1;       \
  int each = end - begin;                 \
  FOR_TOKENS(n, __VA_ARGS__)

// The first rows of a panel that reaches beyond a weight's end.
void put_rows(float* y, int rows, bool add, v128_t low, v128_t high);

// Writes rows 0-3 and 4-7 of a panel for one token; padding rows past w.rows are dropped.
static inline void put_panel(const Tensor& w, const Output& out, int token, int panel, v128_t low, v128_t high) {
  float* y = out.y + (size_t)token * out.stride + panel * kPanel;
  v128_t s = wasm_f32x4_splat(out.scale);
  low = wasm_f32x4_mul(low, s), high = wasm_f32x4_mul(high, s);
  int rows = w.rows - panel * kPanel;
  if (rows < kPanel) return put_rows(y, rows, out.add, low, high);
  if (out.add) low = wasm_f32x4_add(wasm_v128_load(y), low), high = wasm_f32x4_add(wasm_v128_load(y + 4), high);
  wasm_v128_store(y, low), wasm_v128_store(y + 4, high);
}
