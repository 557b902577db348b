// Operations that have two spellings (baseline and relaxed SIMD), and the few helpers every kernel shares.
// Baseline defines the meaning. Only spellings that agree bit for bit are used, so every build computes the same text.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <wasm_simd128.h>

// For parts of a kernel, as functions and methods: inlined before anything else, so that arrays of vectors become registers.
#define KERNEL_PART static inline __attribute__((always_inline))
#define KERNEL_PART_METHOD inline __attribute__((always_inline))
// Functions of their own: engines optimise function by function, so that a small one is soon fast.
#define KERNEL static __attribute__((noinline)) void

// Bytes 0, 2, ... and 1, 3, ... of eight pairs of int8, as int16.
static inline v128_t even_i8(v128_t a) { return wasm_i16x8_shr(wasm_i16x8_shl(a, 8), 8); }
static inline v128_t odd_i8(v128_t a) { return wasm_i16x8_shr(a, 8); }

// Keeps a value where the source computes it. Left alone, the compiler sinks a chain of sums to its last use, and then
// all operands of the chain are alive at once.
static inline void pin(v128_t& a) { asm volatile("" : "+r"(a)); }

// Hides where a pointer comes from. Otherwise the compiler writes it as a base and an index that may wrap, and offsets from it
// become additions: one more instruction a load, and neighbours that V8's re-vectoriser does not recognise.
template <typename T>
static inline void anchor(T*& p) {
  asm volatile("" : "+r"(p));
}

// Reads a word of `lines` lines of 64 bytes from p on, all at once and for nothing but that they are near when they are used. WebAssembly has
// no prefetch, and a processor looks some hundred instructions ahead: where those use few lines, it waits for memory after few of them.
static inline void touch(const uint8_t* p, int lines) {
  for (; lines > 0; lines--, p += 64) (void)*(const volatile uint32_t*)p;
}

// A constant in every lane, read from memory: V8 rebuilds what it knows to be constant at every use inside a loop (three
// instructions), and keeps what was loaded in a register. Defined in held.cpp, where no optimiser sees the values.
enum Held {
  kNibbles16,
  kBytes16,
  kLowNibbles,
  kLowPairs,
  kLowSixes,
  kOnes16,
  kHalfMask,
  kRaise112,
  kRounding,
  kExp,
  kPairs1 = kExp + 11,
  kPairs2,
  kMost8,
  kOnes8,
  kHeld
};
extern const uint32_t held_bits[kHeld];
static inline v128_t held(Held which) {
  const uint32_t* at = held_bits + which;
  asm volatile("" : "+r"(at));  // or neighbours are loaded together and shuffled apart
  v128_t v = wasm_v128_load32_splat(at);
  pin(v);
  return v;
}

// (8 lanes of int16) a[2i]*b[2i] + a[2i+1]*b[2i+1], a int8, b in [0, 127]. Both spellings are exact while every
// pair stays within int16, which holds for |a| <= 127 and b <= 64: callers use codes of at most 6 bits.
static inline v128_t dot_i8_u7(v128_t a, v128_t b) {
#ifdef __wasm_relaxed_simd__
  return wasm_i16x8_relaxed_dot_i8x16_i7x16(a, b);
#else
  v128_t even = wasm_i16x8_mul(even_i8(a), wasm_v128_and(b, wasm_i16x8_const_splat(0xff)));
  v128_t odd = wasm_i16x8_mul(odd_i8(a), wasm_u16x8_shr(b, 8));
  return wasm_i16x8_add(even, odd);
#endif
}

#ifdef __wasm_relaxed_simd__
// (4 lanes of int32) sum + the four products of a lane's bytes; a int8, b in [0, 127].
static inline v128_t dot_i8_u7_add(v128_t a, v128_t b, v128_t sum) { return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(a, b, sum); }
#endif

// 32-bit lane i of a, everywhere.
KERNEL_PART v128_t lane_splat(v128_t a, int i) {
  switch (i) {
    case 0: return wasm_i32x4_shuffle(a, a, 0, 0, 0, 0);
    case 1: return wasm_i32x4_shuffle(a, a, 1, 1, 1, 1);
    case 2: return wasm_i32x4_shuffle(a, a, 2, 2, 2, 2);
    default: return wasm_i32x4_shuffle(a, a, 3, 3, 3, 3);
  }
}

// a*b + c in two roundings. A fused form would round differently where it exists.
static inline v128_t madd_f32(v128_t a, v128_t b, v128_t c) { return wasm_f32x4_add(wasm_f32x4_mul(a, b), c); }

// Four IEEE halves, sign-extended to int32 lanes, as float32 times 2^-112 (subnormals included; not inf or nan).
static inline v128_t half_bits(v128_t sext) {
  return wasm_v128_and(wasm_i32x4_shl(sext, 13), wasm_i32x4_const_splat((int)0x8fffe000));
}
static inline v128_t half_bits(v128_t sext, v128_t mask) { return wasm_v128_and(wasm_i32x4_shl(sext, 13), mask); }
constexpr float kTwo112 = 0x1p112f;

// The same halves as float32 (not inf or nan), without an operand that is subnormal to the processor: many take 150 clocks for one, and scales of
// scales are mostly subnormal halves.
static inline v128_t half_values(v128_t sext) {
  v128_t bits = wasm_v128_and(wasm_i32x4_shl(sext, 13), wasm_i32x4_const_splat(0x0fffe000)),
         small = wasm_i32x4_lt(bits, wasm_i32x4_const_splat(1 << 23)),
         raised = wasm_i32x4_add(
             bits, wasm_v128_bitselect(wasm_i32x4_const_splat(113 << 23), wasm_i32x4_const_splat(112 << 23), small)),
         value = wasm_f32x4_sub(raised, wasm_v128_and(small, wasm_f32x4_const_splat(0x1p-14f)));
  return wasm_v128_or(value, wasm_v128_and(sext, wasm_i32x4_const_splat((int)0x80000000)));
}

// Added to a float below 2^22, it leaves the nearest whole number (ties to even) in the low bits of the mantissa.
constexpr float kRound = 0x1.8p23f;

static inline float larger(float a, float b) { return a > b ? a : b; }

static inline float half_to_float(uint16_t h) {
  uint32_t bits = (uint32_t)((int32_t)(int16_t)h << 13) & 0x8fffe000u;
  if ((h & 0x7c00) == 0x7c00) bits |= 0x70000000u;  // inf and nan keep their class
  float f;
  __builtin_memcpy(&f, &bits, 4);
  return (h & 0x7c00) == 0x7c00 ? f : f * kTwo112;
}

// Round to nearest even.
static inline uint16_t float_to_half(float f) {
  uint32_t u;
  __builtin_memcpy(&u, &f, 4);
  uint32_t sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
  if (a >= 0x47800000) return (uint16_t)(sign | (a > 0x7f800000 ? 0x7e00 : 0x7c00));
  if (a < 0x38800000) {  // subnormal half: let the float adder round at 2^-24
    float g;
    __builtin_memcpy(&g, &a, 4);
    g += 0.5f;
    __builtin_memcpy(&a, &g, 4);
    return (uint16_t)(sign | (a - 0x3f000000));
  }
  return (uint16_t)(sign | ((a + 0xc8000fffu + (a >> 13 & 1)) >> 13));
}

static inline float bfloat_to_float(uint16_t b) {
  uint32_t u = (uint32_t)b << 16;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}

static inline float sum_f32(v128_t a) {
  a = wasm_f32x4_add(a, wasm_i32x4_shuffle(a, a, 2, 3, 0, 1));
  return wasm_f32x4_extract_lane(a, 0) + wasm_f32x4_extract_lane(a, 1);
}
static inline float max_f32(v128_t a) {
  a = wasm_f32x4_pmax(a, wasm_i32x4_shuffle(a, a, 2, 3, 0, 1));
  float x = wasm_f32x4_extract_lane(a, 0), y = wasm_f32x4_extract_lane(a, 1);
  return x > y ? x : y;
}
static inline void transpose(v128_t (&a)[4]) {
  v128_t low0 = wasm_i32x4_shuffle(a[0], a[1], 0, 4, 1, 5), low1 = wasm_i32x4_shuffle(a[2], a[3], 0, 4, 1, 5);
  v128_t high0 = wasm_i32x4_shuffle(a[0], a[1], 2, 6, 3, 7), high1 = wasm_i32x4_shuffle(a[2], a[3], 2, 6, 3, 7);
  a[0] = wasm_i64x2_shuffle(low0, low1, 0, 2), a[1] = wasm_i64x2_shuffle(low0, low1, 1, 3);
  a[2] = wasm_i64x2_shuffle(high0, high1, 0, 2), a[3] = wasm_i64x2_shuffle(high0, high1, 1, 3);
}
// sum_f32 and max_f32 of four vectors at once, in the same order.
static inline v128_t sums_f32(v128_t (&a)[4]) {
  transpose(a);
  return wasm_f32x4_add(wasm_f32x4_add(a[0], a[2]), wasm_f32x4_add(a[1], a[3]));
}
static inline v128_t maxima_f32(v128_t (&a)[4]) {
  transpose(a);
  return wasm_f32x4_pmax(wasm_f32x4_pmax(a[0], a[2]), wasm_f32x4_pmax(a[1], a[3]));
}
// Of magnitudes, by their bits: a nan is the largest.
static inline v128_t abs_max(v128_t m, v128_t a) { return wasm_i32x4_max(m, wasm_f32x4_abs(a)); }

// e^x for x <= 88; 0 below -87.3. Relative error under 1.2e-7: Cody-Waite reduction, polynomial of degree 6.
struct Exp {
  v128_t log2e, high, low, c6, c5, c4, c3, c2, one, round, least;
};
static inline Exp held_exp() {
  auto at = [](int i) { return held((Held)(kExp + i)); };
  return {at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9), at(10)};
}
static inline v128_t exp_f32(v128_t x, const Exp& e) {
  v128_t whole = wasm_f32x4_add(wasm_f32x4_mul(x, e.log2e), e.round), n = wasm_f32x4_sub(whole, e.round);
  v128_t r = madd_f32(n, e.low, madd_f32(n, e.high, x));
  v128_t p = madd_f32(e.c6, r, e.c5);
  p = madd_f32(p, r, e.c4), p = madd_f32(p, r, e.c3), p = madd_f32(p, r, e.c2);
  p = madd_f32(p, wasm_f32x4_mul(r, r), wasm_f32x4_add(r, e.one));
  // Times 2^n, by the exponent's bits: nothing above `least` gives less than a normal number.
  return wasm_v128_and(wasm_i32x4_add(p, wasm_i32x4_shl(whole, 23)), wasm_f32x4_gt(x, e.least));
}
