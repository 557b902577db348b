#include "quantize.h"

void quantize(const float* x, int cols, int block, int8_t* q, BlockScale* scales, BlockCentre* centres) {
  const v128_t round = held(kRounding);  // as a float what rounds, as an integer what a rounded 0 is
  for (int b = 0; b < cols; b += block, scales++) {
    v128_t top = wasm_f32x4_const_splat(0);
    for (int k = b; k < b + block; k += 4) top = abs_max(top, wasm_v128_load(x + k));
    float a = wasm_f32x4_extract_lane(top, 0), c = wasm_f32x4_extract_lane(top, 1), d = wasm_f32x4_extract_lane(top, 2),
          e = wasm_f32x4_extract_lane(top, 3);
    float most = larger(larger(a, c), larger(d, e));
    if (!(a == a && c == c && d == d && e == e)) most = __builtin_nanf("");
    scales->scale = most / 127.0f;
    // The reciprocal overflows for a denormal maximum, which is nothing beside its neighbours: code 0.
    float inverse = most > 1e-35f && most < 1e38f ? 127.0f / most : 0.0f;
    if (inverse == 0) {
      __builtin_memset(q + b, 0, block), scales->sum8 = 0;
      if (centres) centres[b / block] = {};
      continue;
    }
    const v128_t scale = wasm_f32x4_splat(inverse);
    v128_t sum = wasm_i32x4_const_splat(0);
    auto whole = [&](const float* at) {
      return wasm_i32x4_sub(wasm_f32x4_add(wasm_f32x4_mul(wasm_v128_load(at), scale), round), round);
    };
    v128_t part[2];
    for (int k = b; k < b + block; k += 32) {
#pragma clang loop unroll(full)
      for (int h = 0; h < 2; h++) {
        const float* at = x + k + 16 * h;
        v128_t i0 = whole(at), i1 = whole(at + 4), i2 = whole(at + 8), i3 = whole(at + 12);
        part[h] = wasm_i32x4_add(wasm_i32x4_add(i0, i1), wasm_i32x4_add(i2, i3));
        wasm_v128_store(q + k + 16 * h,
                        wasm_i8x16_narrow_i16x8(wasm_i16x8_narrow_i32x4(i0, i1), wasm_i16x8_narrow_i32x4(i2, i3)));
      }
      sum = wasm_i32x4_add(sum, wasm_i32x4_add(part[0], part[1]));
    }
    if (centres) {
      v128_t centre = wasm_i32x4_dot_i16x8(wasm_i16x8_narrow_i32x4(part[0], part[1]), wasm_i16x8_const_splat(-32));
      wasm_v128_store64_lane(centres[b / block].centre, wasm_i16x8_narrow_i32x4(centre, centre), 0);
    }
    scales->sum8 = 8 * (wasm_i32x4_extract_lane(sum, 0) + wasm_i32x4_extract_lane(sum, 1) + wasm_i32x4_extract_lane(sum, 2) +
                        wasm_i32x4_extract_lane(sum, 3));
  }
}

void quantize_ref(const float* x, int cols, int block, int8_t* q, BlockScale* scales, BlockCentre* centres) {
  for (int b = 0; b < cols; b += block, scales++) {
    float most = 0;
    for (int k = b; k < b + block; k++) {
      float a = __builtin_fabsf(x[k]);
      if (!(a <= most)) most = a;
      if (most != most) break;
    }
    *scales = {most / 127.0f, 0};
    if (centres) centres[b / block] = {};
    float inverse = most > 1e-35f && most < 1e38f ? 127.0f / most : 0.0f;
    for (int k = b; k < b + block; k++) {
      q[k] = inverse == 0 ? 0 : (int8_t)__builtin_rintf(x[k] * inverse);
      scales->sum8 += 8 * q[k];
      if (!centres || k < b + block - 32) continue;
      int16_t& centre = centres[b / block].centre[k / 16 % 2][k / 2 % 2];
      centre = (int16_t)(centre - 32 * q[k]);
    }
  }
}
