// The KV cache of one sequence. For layer l and KV head h, keys then values, each in tiles of 32 slots:
//   keys    tile: dim x 32 (element d*32 + j is dimension d of slot j): a tile is 32 lanes of one dimension
//   values  tile: 32 x dim (element j*dim + d)
// kKvF16 and kKvF32 store halves and floats. kKvQ8 stores int8 and, after a tile's codes, 32 float scales (one a slot:
// max|x| / 127); what an integer dot sums lies together, and dimensions are padded to 4 (their codes are anything):
//   keys    tile: dim/4 x 32 x 4 (dimension d of slot j at (d/4)*128 + j*4 + d%4)
//   values  tile: 8 x dim x 4 (at (j/4)*dim*4 + d*4 + j%4)
// A layer with a window keeps Model.ring slots where the sequence has more: slot s lies where s mod ring does.
// A sparse model's compressed keys follow: for each layer and KV head the fine ones, then the coarse ones where they are
// used, in tiles like keys (element d*32 + j is dimension d of window j), halves unless the cache is kKvF32.
#pragma once
#include "../abi.h"
#include "../kernels/compress.h"
#include "../simd.h"

constexpr int kTile = 32;

// Dimensions of a head that turn; what queries are multiplied by.
static inline int turned(const Model& m) { return m.rope_dim ? m.rope_dim : m.head_dim; }
static inline float query_scale(const Model& m) {
  return m.attention_scale != 0 ? m.attention_scale : 1.0f / __builtin_sqrtf((float)m.head_dim);
}

static inline int padded4(int dim) { return (dim + 3) & ~3; }
static inline int kv_tile_bytes(int type, int dim) {
  return type == kKvF32 ? dim * kTile * 4 : type == kKvF16 ? dim * kTile * 2 : padded4(dim) * kTile + kTile * 4;
}
// Where a tile of keys (values: which = 1) has dimension d of slot j, in elements.
static inline int kv_at(int type, int dim, int which, int d, int j) {
  if (type == kKvQ8) return which ? (j / 4 * padded4(dim) + d) * 4 + j % 4 : (d / 4 * kTile + j) * 4 + d % 4;
  return which ? j * dim + d : d * kTile + j;
}
static inline float* kv_scales(const uint8_t* tile, int dim) { return (float*)(tile + padded4(dim) * kTile); }

static inline int window_type(const Model& m) { return m.kv_type == kKvF32 ? kKvF32 : kKvF16; }

// Tiles of one layer's and head's compressed keys: level 0 fine, 1 coarse.
static inline int window_tiles(const Model& m, int level, int slots) {
  return (windows_of(m.sparse, level, slots) + kTile - 1) / kTile;
}
static inline int window_tiles_both(const Model& m, int slots) {
  return window_tiles(m, 0, slots) + (m.sparse.coarse ? window_tiles(m, 1, slots) : 0);
}

// Bytes of a sequence's keys and values, and of all of it.
static inline int ring_of(const Model& m, int capacity) { return m.ring < capacity ? m.ring : capacity; }
static inline uint64_t kv_bytes_plain(const Model& m, int capacity) {
  uint64_t slots = (uint64_t)(m.layers - m.rings) * capacity + (uint64_t)m.rings * ring_of(m, capacity);
  return slots / kTile * m.kv_heads * 2 * kv_tile_bytes(m.kv_type, m.head_dim);
}
static inline uint64_t kv_bytes_of(const Model& m, int capacity) {
  return kv_bytes_plain(m, capacity) +
         (uint64_t)m.layers * m.kv_heads * window_tiles_both(m, capacity) * kv_tile_bytes(window_type(m), m.head_dim);
}

// First tile of the compressed keys of a layer and head.
static inline uint8_t* window_tile(const Model& m, const Sequence& s, int layer, int head, int level) {
  size_t index =
      ((size_t)layer * m.kv_heads + head) * window_tiles_both(m, s.capacity) + (level ? window_tiles(m, 0, s.capacity) : 0);
  return (uint8_t*)s.data + (size_t)kv_bytes_plain(m, s.capacity) + index * kv_tile_bytes(window_type(m), m.head_dim);
}

// The tile of keys (values: which = 1) that holds `slot`.
static inline uint8_t* kv_tile(const Model& m, const Sequence& s, int layer, int head, int which, int slot) {
  int bytes = kv_tile_bytes(m.kv_type, m.head_dim);
  size_t all = s.capacity / kTile, tile = slot / kTile;
  if (!m.rings) return (uint8_t*)s.data + ((((size_t)layer * m.kv_heads + head) * 2 + which) * all + tile) * bytes;
  const Layer& l = ((const Layer*)m.layer)[layer];
  size_t ring = ring_of(m, s.capacity) / kTile, own = l.window ? ring : all;
  size_t before = (l.whole * all + l.rings * ring) * m.kv_heads * 2;
  return (uint8_t*)s.data + (before + ((size_t)head * 2 + which) * own + tile % own) * bytes;
}

// Stores one key and one value (dim).
void kv_write(const Model& m, const Sequence& s, int layer, int head, int slot, const float* key, const float* value);

// What was stored, as floats.
void kv_read(const Model& m, const Sequence& s, int layer, int head, int slot, float* key, float* value);

// Vector j of a tile of keys (values: which = 1) as floats, element d to out[d * stride].
void kv_vector(int type, const uint8_t* tile, int dim, int which, int j, float* out, int stride);

// Floats of a tile of keys or values, in the order of kKvF32: the tile itself when it is stored as floats, else `scratch` (dim * 32)
// filled from it. kv_floats: of kinds kKvF16 and kKvF32 alone.
const float* kv_keys(int type, const uint8_t* tile, int dim, float* scratch);
const float* kv_floats(int type, const uint8_t* tile, int dim, float* scratch);

// Stores vector j of a tile of compressed keys.
void window_write(int type, uint8_t* tile, int dim, int j, const float* x);

// Copies slot i of a tile of keys (values: which = 1) to slot j of another.
void kv_copy_vector(int type, int dim, int which, const uint8_t* from, int i, uint8_t* to, int j);
// Copies slot `from` of a to slot `to` of b, all layers and heads.
void kv_copy_slot(const Model& m, const Sequence& a, int from, const Sequence& b, int to);
