// Parts of the forms that sum in 32 bits (kDot32, kDot32Lanes), and of kExtended, which multiplies into 16.
#pragma once
#include "gemm.h"

// Four activations in every lane, at 4i of the Bytes (16 or 32) that x points to. x86 reads them so; ARM copies a lane of what it read.
template <Form F, int Bytes>
struct Fours {
  const int8_t* x;
  v128_t all[Bytes / 16];
  KERNEL_PART_METHOD void load(const int8_t* from) {
    x = from;
    if constexpr (F != kDot32)
      for (int i = 0; i < Bytes / 16; i++) all[i] = wasm_v128_load(x + 16 * i);
  }
  KERNEL_PART_METHOD v128_t operator[](int i) const {
    if constexpr (F == kDot32) return wasm_v128_load32_splat(x + 4 * i);
    else return lane_splat(all[i / 4], i % 4);
  }
};

// Streams that are taken together, and share what they read of the token: two where registers hold the sums of both. Of a last panel
// alone both are the same one.
template <int N, int S, Form F>
constexpr int kTogether = N == 1 && S > 1 && F == kDot32 ? 2 : 1;

// Scale of a block and eight times the sum of its codes, everywhere.
template <Form F>
struct ScaleAndSum {
  v128_t scale, sum8;
  KERNEL_PART_METHOD void load(const BlockScale* s) {
    if constexpr (F == kDot32) {
      scale = wasm_v128_load32_splat(&s->scale), sum8 = wasm_v128_load32_splat(&s->sum8);
    } else {
      v128_t both = wasm_v128_load64_zero(s);
      scale = lane_splat(both, 0), sum8 = lane_splat(both, 1);
    }
  }
};

// Bytes shifted right, and masked: x86 shifts no bytes, so that its shift needs the mask; ARM's does not where the field is the upper one.
// Pinned: a compiler that knows them to be positive extends them by zeros, and has no multiply for that.
template <Form F, int By, bool Upper>
KERNEL_PART v128_t field(v128_t w, v128_t mask) {
  if constexpr (F == kDot32) return wasm_v128_and(wasm_u16x8_shr(w, By), mask);
  v128_t c = Upper ? wasm_u8x16_shr(w, By) : wasm_v128_and(wasm_u8x16_shr(w, By), mask);
  pin(c);
  return c;
}

// Sums of four products a lane, from `start` on.
template <Form F>
struct Sum {
  v128_t sum;
  KERNEL_PART_METHOD void begin(v128_t start) { sum = start; }
#ifdef __wasm_relaxed_simd__
  KERNEL_PART_METHOD void add(v128_t x, v128_t w, bool) { sum = dot_i8_u7_add(x, w, sum), pin(sum); }
#endif
  KERNEL_PART_METHOD v128_t total() const { return sum; }
};

// The same by products of 16 bits, each in a lane of its own: what two neighbouring lanes sum must stay within 16 bits.
template <>
struct Sum<kExtended> {
  v128_t start, low, high;
  KERNEL_PART_METHOD void begin(v128_t from) { start = from; }
  KERNEL_PART_METHOD void add(v128_t x, v128_t w, bool first) {
    v128_t a = wasm_i16x8_extmul_low_i8x16(x, w), b = wasm_i16x8_extmul_high_i8x16(x, w);
    low = first ? a : wasm_i16x8_add(low, a), high = first ? b : wasm_i16x8_add(high, b);
    pin(low), pin(high);
  }
  // As i16x8.relaxed_dot leaves them: columns 2p and 2p + 1 of a row in lane 2 row + p.
  KERNEL_PART_METHOD v128_t pairs() const {
    return wasm_i16x8_add(wasm_i16x8_shuffle(low, high, 0, 2, 4, 6, 8, 10, 12, 14),
                          wasm_i16x8_shuffle(low, high, 1, 3, 5, 7, 9, 11, 13, 15));
  }
  KERNEL_PART_METHOD v128_t total() const { return wasm_i32x4_add(start, wasm_i32x4_extadd_pairwise_i16x8(pairs())); }
};

// Half scales of rows 0-3 and 4-7.
KERNEL_PART void half_scales(const uint8_t* at, v128_t mask, v128_t up, v128_t& d0, v128_t& d1) {
  d0 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at), mask), up),
  d1 = wasm_f32x4_mul(half_bits(wasm_i32x4_load16x4(at + 8), mask), up);
}

// Adds a block's sums of rows 0-3 and 4-7, in units of d0 and d1 times the token's scale, and for the kinds with minima m0 and m1, to low and high.
template <bool Min>
KERNEL_PART void take_block(v128_t i0, v128_t i1, v128_t d0, v128_t d1, v128_t m0, v128_t m1, v128_t scale, const BlockScale* s,
                            v128_t& low, v128_t& high) {
  low = madd_f32(wasm_f32x4_convert_i32x4(i0), wasm_f32x4_mul(d0, scale), low),
  high = madd_f32(wasm_f32x4_convert_i32x4(i1), wasm_f32x4_mul(d1, scale), high);
  if constexpr (Min) {
    v128_t sum = wasm_f32x4_splat(s->scale * (float)(s->sum8 >> 3));
    low = madd_f32(sum, m0, low), high = madd_f32(sum, m1, high);
  }
}

// The forms of this build that its kernels are made for. Those of ARM are one stream: its cores read ahead by a program's own addresses, which
// go on where a page ends, and four streams take 5 to 50 more instructions a block.
#ifdef __wasm_relaxed_simd__
#define FOR_FORM(form, ...)                                   \
  if (form == kDot32Lanes) { constexpr Form F = kDot32Lanes; FOR_ONE_STREAM(n, __VA_ARGS__) } \
  else { constexpr Form F = kDot32; FOR_STREAMS(n, __VA_ARGS__) }
#else
#define FOR_FORM(form, ...) { constexpr Form F = kExtended; FOR_ONE_STREAM(n, __VA_ARGS__) }
#endif
