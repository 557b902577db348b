#include "gemm.h"

// Tokens per pass: their activations stay in the first-level cache while a run of panels streams by, and the
// panels of a run stay in the second-level cache between passes.
constexpr int kTokens = 32, kRunBytes = 96 * 1024;

static uint8_t forms[kCache8 + 1];

Form form_of(int kind) { return (Form)forms[kind]; }

bool use_form(int kind, int form) {
#ifdef CPM_ONE_FORM
  bool has = form == kDot16;
#elif defined(__wasm_relaxed_simd__)
  bool has = form == kDot16 || form == kDot32 || form == kDot32Lanes;
#else
  bool has = form == kDot16 || form == kExtended;
#endif
  if (kind < 0 || kind > kCache8 || !has) return false;
  forms[kind] = (uint8_t)form;
  return true;
}

ByteDot byte_dot() {
#ifdef __wasm_relaxed_simd__
  // -1 or 255, four times 127 of it: 16-bit sums of bytes would saturate.
  int sum = wasm_i32x4_extract_lane(dot_i8_u7_add(held(kMost8), held(kOnes8), wasm_i32x4_const_splat(0)), 0);
  return sum == 4 * 127 * -1 ? kSigned : sum == 4 * 127 * 255 ? kUnsigned : kNeither;
#else
  return kNeither;
#endif
}

bool plain_nan() {
  v128_t zero = wasm_i32x4_const_splat(0);
  pin(zero);
  return wasm_i32x4_extract_lane(wasm_f32x4_div(zero, zero), 0) >= 0;
}

static auto kernel_of(int kind) {
#ifdef CPM_ONE_FORM
  constexpr bool wide = false;
#else
  bool wide = form_of(kind) != kDot16;
#endif
  switch (kind) {
    case kF32:
    case kF16:
    case kBF16: return float_gemm;
    case kInt4:
    case kInt4Min: return wide ? int4_wide : int4_gemm;
    case kInt6: return wide ? int6_wide : int6_gemm;
    case kInt8:
    case kInt8Min: return wide ? int8_wide : int8_gemm;
    default: return wide ? ternary_wide : ternary_gemm;
  }
}

int streams_of(const Tensor& w, int count, int* each) {
  constexpr size_t kPage = 4096, kNear = 512;
  const size_t bytes = panel_bytes(w), even = bytes & -bytes;
  const int unit = even < kPage ? (int)(kPage / even) : 1;
  for (int streams = kStreams; streams > 1 && count >= streams; streams /= 2) {
    *each = count / streams;
    if (*each >= unit) return *each -= *each % unit, streams;
    for (int least = *each / 2; *each > least && *each > 1; --*each)
      if ((*each * bytes + kNear) % kPage <= 2 * kNear) return streams;
  }
  const int streams = count < 2 ? 1 : count < kStreams ? 2 : kStreams;
  return *each = count / streams, streams;
}

void put_rows(float* y, int rows, bool add, v128_t low, v128_t high) {
  // Not side by side: V8's re-vectoriser ends the process over neighbouring stores of two parameters (Node 26.10).
  float all[12];
  wasm_v128_store(all, low), wasm_v128_store(all + 8, high);
  for (int r = 0; r < rows; r++) {
    float v = all[r + (r & 4)];
    y[r] = add ? y[r] + v : v;
  }
}

void gemm(const Tensor& w, const Inputs& in, const Output& out, int begin, int end) {
  auto kernel = kernel_of(w.kind);
  int run = in.tokens <= kTokens ? end - begin : (int)(kRunBytes / panel_bytes(w)) + 1;
  for (int p = begin; p < end; p += run) {
    int stop = p + run < end ? p + run : end;
    for (int block = 0; block < in.tokens; block += kTokens) {
      int last = block + kTokens < in.tokens ? block + kTokens : in.tokens;
      if (in.tokens <= 4) {
        kernel(w, in, out, 0, in.tokens, p, stop);
        continue;
      }
      for (int panel = p; panel < stop; panel++)
        for (int t = block; t < last; t += 4) kernel(w, in, out, t, last - t < 4 ? last - t : 4, panel, panel + 1);
    }
  }
}

static float int6_ref(const Tensor& w, const int8_t* q, const BlockScale* s, int row) {
  float acc = 0;
  for (int super = 0; super < w.cols; super += kSuper) {
    float part = 0;
    uint8_t* d;
    for (int col = super; col < super + kSuper; col += kBlock) {
      const uint8_t* scales = block_at(w, panel_at(w, row / kPanel), col / kBlock, &d);
      int sum = 0;
      for (int k = 0; k < kBlock; k++) sum += six_scale(scales, row % kPanel, k) * code_ref(w, row, col + k) * q[col + k];
      part += (float)sum * s[col / kBlock].scale;
    }
    acc += part * half_to_float(half_at(d, row % kPanel));
  }
  return acc;
}

float gemm_ref(const Tensor& w, const Inputs& in, int token, int row) {
  float acc = 0;
  if (is_float(w.kind)) {
    for (int k = 0; k < padded_cols(w); k++) acc += weight_ref(w, row, k) * in.x[(size_t)token * in.stride + k];
    return acc;
  }
  int block = w.kind == kTernary ? in.ternary_block : kBlock;
  const int8_t* q = (w.kind == kTernary ? in.tq : in.q) + (size_t)token * in.stride;
  const BlockScale* s = (w.kind == kTernary ? in.tscales : in.scales) + (size_t)token * (in.stride / block);
  if (w.kind == kInt6) return int6_ref(w, q, s, row);
  for (int b = 0; b < padded_cols(w) / block; b++) {
    uint8_t* scales;
    block_at(w, panel_at(w, row / kPanel), b * block / kBlock, &scales);
    float d = half_to_float(half_at(scales, row % kPanel));
    float m = has_min(w.kind) ? half_to_float(half_at(scales + 16, row % kPanel)) : 0;
    int sum = 0;
    for (int k = b * block; k < b * block + block; k++) sum += code_ref(w, row, k) * q[k];
    acc += (float)sum * (d * s[b].scale);
    // NOLINTNEXTLINE(bugprone-integer-division): a multiple of 8.
    if (has_min(w.kind)) acc += (s[b].scale * (float)(s[b].sum8 / 8)) * m;
  }
  return acc;
}
