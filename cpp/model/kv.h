// The KV cache of one sequence. For layer l and KV head h, keys then values, each in tiles of 32 slots:
//   keys    tile: dim x 32 (element d*32 + j is dimension d of slot j): a tile is 32 lanes of one dimension
//   values  tile: 32 x dim (element j*dim + d)
// kKvF16 and kKvF32 store halves and floats; kKvQ8 stores int8 and, after a tile's codes, 32 float scales
// (one a slot: max|x| / 127).
#pragma once
#include "../abi.h"
#include "../simd.h"

constexpr int kTile = 32;

static inline int kv_tile_bytes(int type, int dim) {
  return type == kKvF32 ? dim * kTile * 4 : type == kKvF16 ? dim * kTile * 2 : dim * kTile + kTile * 4;
}

// Bytes of a whole sequence.
static inline size_t kv_bytes_of(const Model& m, int capacity) {
  return (size_t)m.layers * m.kv_heads * 2 * (capacity / kTile) * kv_tile_bytes(m.kv_type, m.head_dim);
}

// The tile of keys (values: which = 1) that holds `slot`.
static inline uint8_t* kv_tile(const Model& m, const Sequence& s, int layer, int head, int which, int slot) {
  size_t region = (size_t)(s.capacity / kTile) * kv_tile_bytes(m.kv_type, m.head_dim);
  return (uint8_t*)s.data + (((size_t)layer * m.kv_heads + head) * 2 + which) * region + (size_t)(slot / kTile) * kv_tile_bytes(m.kv_type, m.head_dim);
}

// Stores one key and one value (dim).
void kv_write(const Model& m, const Sequence& s, int layer, int head, int slot, const float* key, const float* value);

// Floats of a tile: the tile itself when it is stored as floats, else `scratch` (dim * 32) filled from it.
const float* kv_keys(int type, const uint8_t* tile, int dim, float* scratch);
const float* kv_values(int type, const uint8_t* tile, int dim, float* scratch);

// Copies slot `from` of a to slot `to` of b, all layers and heads.
void kv_copy_slot(const Model& m, const Sequence& a, int from, const Sequence& b, int to);
