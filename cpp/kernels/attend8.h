// Attention over a cache of 8 bits (kKvQ8) by integer dots. For a query q and its tile of keys k and values v, with scales e[j] and f[j]
// of slot j (every float operation rounded once; integers exact):
//   codes    n[d] = nearest_even(q[d] * (8191 / max|q|)), of unit a = max|q| / 8191; all 0 unless 1e-34 < max|q| < 1e38
//   scores   s[j] = float(sum over d of n[d] * k[j][d]) * (e[j] * a)
//   weights  p[j] as of any cache (attend.h), w[j] = p[j] * f[j] and 0 where p[j] is 0
//   codes    m[j] = nearest_even(w[j] * (127 / max w)), of unit b = max w / 127; all 0 unless 1e-34 < max w < 1e38
//   state    out[d] = out[d] * shrink + float(sum over j of m[j] * v[j][d]) * b
// 14 bits of queries lose nothing beside the 8 of keys; 7 of weights, against the largest of 32 slots, lose little beside the 8 of values
// (bench/RESULTS.md). Two spellings (gemm.h), the same bits:
//   kDot16 and kExtended  codes of 16 bits by bytes that are widened, i32x4.dot_i16x8
//   kDot32, kDot32Lanes   i32x4.relaxed_dot_add; n[d] as two parts of 7 bits, raised by 8192, and sums start from
//                         -8192 times the sum of a key's bytes: `starts` of a tile, in units of 128. kDot32Lanes takes two queries by
//                         sixteen slots and four by sixteen dimensions at a time: for 32 registers, or 16 of 256 bits
#pragma once
#include "attend.h"

// Bytes of a query's codes.
static inline size_t query_code_bytes(int dim) { return 2 * (size_t)((dim + 3) & ~3); }

// Codes of queries, into `to` (count * query_code_bytes), which their `codes` point to from now on.
void code_queries8(Query* queries, int count, int dim, uint8_t* to);

// What the sums of a tile's scores start from, in `starts` (32); null where they start from 0.
const int32_t* key_starts(const uint8_t* tile, int dim, int32_t* starts);

// scores (count, 32) of queries with codes against a tile of keys.
void score_tile8(const Query* queries, int count, const Tile& keys, float* scores);
// Takes weights (count, 32) times a tile of values into the states.
void gather_tile8(Query* queries, int count, const Tile& values, const float* weights, const float* shrink);
