// Stands for Emscripten's header in native builds: SIMDe computes each WebAssembly instruction, and what the kernels use beyond that.
#pragma once
#define SIMDE_ENABLE_NATIVE_ALIASES
#include "simde/wasm/simd128.h"
#ifndef wasm_f32x4_const_splat
#define wasm_f32x4_const_splat(x) wasm_f32x4_splat(x)
#define wasm_f64x2_const_splat(x) wasm_f64x2_splat(x)
#endif
#ifndef wasm_i8x16_const_splat
#define wasm_i8x16_const_splat(x) wasm_i8x16_splat(x)
#define wasm_i16x8_const_splat(x) wasm_i16x8_splat(x)
#define wasm_i32x4_const_splat(x) wasm_i32x4_splat(x)
#define wasm_i64x2_const_splat(x) wasm_i64x2_splat(x)
#endif
#ifndef wasm_u32x4_extract_lane
#define wasm_u32x4_extract_lane(a, i) ((uint32_t)wasm_i32x4_extract_lane(a, i))
#endif
