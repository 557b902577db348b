// How a weight lies in memory once packed. Rows go in panels of 8, a panel's columns in order:
//
//   kF32                 column k: 8 float32                                     32 bytes
//   kF16, kBF16          column k: 8 halves                                      16 bytes
//   kInt4, kInt4Min      block of 32 columns: 8 half scales, [8 half minima], then 8 chunks of 16 bytes:
//                        chunk 2c + h, byte 4i + j: row 4h + i, column 4c + j (low nibble) and 4c + j + 16 (high)
//   kInt6                256 columns: 8 half scales, then per 32 columns, halves s of 16 columns: byte 8h + 2i + s: int8
//                        scale of row 4h + i; then 12 chunks of 16 bytes (six_word):
//                        chunk 6s + 2c + h, c < 3, byte 4i + j, bits 0..5: row 4h + i, column 16s + 4c + j; the upper two
//                        bits of the three chunks together: column 16s + 12 + j
//   kInt8, kInt8Min      block of 32 columns: scales, [minima], then 16 chunks of 16 bytes:
//                        chunk 2c + h, byte 4i + j: row 4h + i, column 4c + j
//   kTernary             group of `group` columns: 8 half scales, then per 32 columns 4 chunks of 16 bytes:
//                        chunk 2c + h, byte 4i + j, bits 2f..2f+1: row 4h + i, column 16c + 4f + j
//
// Values: kInt4 scale * (code - 8); kInt6 scale * int8 scale * (code - 32); kInt8 scale * (code - 128);
// the -Min kinds scale * code + minimum; kTernary scale * (code - 1).
#pragma once
#include "../abi.h"
#include "../simd.h"

constexpr int kPanel = 8, kBlock = 32, kSuper = 256;

static inline int pad_to(int n, int unit) { return (n + unit - 1) / unit * unit; }
static inline int panels(const Tensor& w) { return (w.rows + kPanel - 1) / kPanel; }
static inline int padded_cols(const Tensor& w) { return pad_to(w.cols, w.group == 4 ? 4 : kBlock); }
static inline bool is_float(int kind) { return kind <= kBF16; }
static inline bool has_min(int kind) { return kind == kInt4Min || kind == kInt8Min; }

// Bytes of one 32-column block of a panel; half scales of kInt6 and ternary are counted apart.
static inline int block_bytes(int kind) {
  switch (kind) {
    case kF32: return 32 * 32;
    case kF16:
    case kBF16: return 32 * 16;
    case kInt4: return 16 + 128;
    case kInt4Min: return 32 + 128;
    case kInt6: return 16 + 192;
    case kInt8: return 16 + 256;
    case kInt8Min: return 32 + 256;
    default: return 64;
  }
}
// Columns that share half scales, where those are more than a block: else 0.
static inline int spans(const Tensor& w) { return w.kind == kTernary ? w.group : w.kind == kInt6 ? kSuper : 0; }
static inline size_t panel_bytes(const Tensor& w) {
  int cols = padded_cols(w);
  size_t bytes = (size_t)cols * block_bytes(w.kind) / kBlock;
  return spans(w) ? bytes + (size_t)(cols / spans(w)) * 16 : bytes;
}
static inline uint8_t* panel_at(const Tensor& w, int panel) { return (uint8_t*)w.data + (size_t)panel * panel_bytes(w); }

// Where the 32 columns of `block` begin in a panel (kInt6: their int8 scales), and where their half scales lie.
static inline uint8_t* block_at(const Tensor& w, uint8_t* panel, int block, uint8_t** scales) {
  if (spans(w)) {
    int per = spans(w) / kBlock, bytes = block_bytes(w.kind);
    uint8_t* group = panel + (size_t)(block / per) * (16 + per * bytes);
    *scales = group;
    return group + 16 + block % per * bytes;
  }
  uint8_t* at = panel + (size_t)block * block_bytes(w.kind);
  *scales = at;
  return is_float(w.kind) ? at : at + (has_min(w.kind) ? 32 : 16);
}

static inline uint16_t half_at(const uint8_t* p, int i) {
  uint16_t h;
  __builtin_memcpy(&h, p + 2 * i, 2);
  return h;
}

// Int8 scale of (row r of its panel, column k of its block) of kInt6.
static inline int six_scale(const uint8_t* block, int r, int k) { return (int8_t)block[2 * r + k / 16]; }

// The fourth column's codes of three words of kInt6, from the upper bits of all three. They are chosen so that shifts and
// one mask are enough: what else the shifts bring in cancels.
static inline uint32_t six_word(uint32_t a, uint32_t b, uint32_t c) { return (a >> 2 ^ b >> 4 ^ c >> 6) & 0x3f3f3f3f; }

// The definition: the value of element (row, col); of an integer kind, its code less its offset.
int code_ref(const Tensor& w, int row, int col);
float weight_ref(const Tensor& w, int row, int col);

// Row `row` as float32 (cols), for embeddings.
void weight_row(const Tensor& w, int row, float* out);
