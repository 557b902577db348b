// The boundary: exported names, status codes, and the structs that TypeScript writes word by word (src/wasm/abi.ts).
#pragma once
#include <stddef.h>
#include <stdint.h>

#define ABI(name) extern "C" __attribute__((export_name(#name), used))

// Bump when a struct, an export, a packed layout or the KV layout changes: snapshots carry it.
constexpr int kAbiVersion = 10;

enum Status { kOk = 0, kBadArgument = -1, kAborted = -2, kLaneFailed = -3, kNotSymmetric = -4, kNotFinite = -5 };

// An address in a struct: 8 bytes in every build, so that wasm32 and wasm64 have one layout.
struct word {
  uint64_t at;
  template <typename T>
  explicit operator T*() const {
    return (T*)(uintptr_t)at;
  }
  explicit operator bool() const { return at; }
  bool operator==(const word&) const = default;
};

// An address as a parameter, and as a result. JavaScript passes plain numbers: a wasm64 build takes them as doubles, since
// its own addresses would be BigInts.
#ifdef __wasm64__
template <typename T>
struct Ref {
  double at;
  operator T*() const { return (T*)(uintptr_t)at; }
  T* operator->() const { return (T*)(uintptr_t)at; }
};
#else
template <typename T>
using Ref = T*;
#endif
static inline double address(const void* p) { return (double)(uintptr_t)p; }

// How a weight lies in linear memory. Rows are padded to 8, columns to 32, with zeros; kInt6 has whole 256 columns.
enum Kind : int32_t { kF32 = 0, kF16 = 1, kBF16 = 2, kInt4 = 3, kInt4Min = 4, kInt6 = 5, kInt8 = 6, kInt8Min = 7, kTernary = 8 };

// A packed weight (rows, cols). group: columns that share a scale; of a float kind 4 where columns are padded to 4 and not to 32.
struct Tensor {
  int32_t kind, rows, cols, group;
  word data;
};

enum KvType : int32_t { kKvF16 = 0, kKvF32 = 1, kKvQ8 = 2 };

// A layer's weights. Vectors are float32; 0: the layer has none.
struct Layer {
  word attn_norm, ffn_norm;  // (hidden), of what attention and MLP read
  Tensor q, k, v, o, gate, up, down;
  word attn_post, ffn_post;  // (hidden), of what attention and MLP give
  word q_norm, k_norm;       // (head_dim), or (heads * head_dim) where Model.norms_whole
  word q_bias, k_bias, v_bias, o_bias, gate_bias, up_bias, down_bias;
  int32_t rope;          // table of angles, 0 or 1; -1: queries and keys do not turn
  int32_t window;        // slots that a row sees, its own the last; 0: all
  int32_t whole, rings;  // layers before this one that keep all slots, and that keep Model.ring
};

// InfLLM v2 (kernels/compress.h, kernels/select.h). block 0: every sequence attends densely.
struct Sparse {
  int32_t kernel, stride;       // keys that one compressed key is the mean of; distance of their starts
  int32_t block;                // slots of a block
  int32_t init, local, chosen;  // blocks seen by every query: the first, the last ones, the best of the others
  int32_t dense_len;            // shorter sequences attend densely
  int32_t coarse;               // 1: log-sum-exp over means of 4 x kernel keys, 4 x stride apart
};

struct Model {
  int32_t layers, hidden, intermediate, heads, kv_heads, head_dim, vocab, kv_type;
  int32_t ternary_block;  // activations of ternary weights are quantised per this many columns
  int32_t rope_dim;       // dimensions of a head that turn, its first ones; 0: all
  Sparse sparse;
  float rms_eps, embedding_scale, residual_scale, logit_scale;
  float rope_scale, attention_scale;  // of cos and sin; of scores, 0: 1 / sqrt(head_dim)
  word rope;                          // (head_dim / 2) float64: radians per position
  word norm;                          // (hidden) float32
  Tensor embedding, head;
  word layer;                  // (layers) Layer
  int32_t gelu;                // 1: the MLP's gate goes through GELU (tanh), else SiLU
  int32_t norms_whole;         // 1: q_norm and k_norm norm all heads together
  int32_t ring, rings;         // slots that a windowed layer keeps, a multiple of 32; how many layers do
  int32_t tables;              // of angles: 2 where rope2 is used
  int32_t rope_original;       // rows of calls that end beyond so many tokens turn by rope_long; 0: none do
  float score_cap, logit_cap;  // c tanh(x / c); 0: none
  float rope_scale2, unused;
  word rope2, rope_long;  // as rope
};

// One row of a forward step: a token of some sequence. It sees slots below `base`, and slot base + j where bit j of
// `mask` is set. A causal row has base = slot + 1 and mask 0; rows with a mask are branches of a draft tree and hang
// below a common base (64 at most one after another), each with its own slot in its mask.
struct Row {
  word sequence;  // Sequence of this row
  int32_t token, position, slot, base;
  uint32_t mask_low, mask_high;
  int32_t total;  // tokens of the sequence after the whole call that this row is part of: decides dense or sparse
  int32_t unused;
};

// The KV cache of one sequence: see model/kv.h for the layout of `data`.
struct Sequence {
  word data;
  int32_t capacity;  // slots, a multiple of 64
  int32_t windowed;  // slots below which compressed keys are built in every layer
  word lora;         // LoraSet of its tokens; 0: none
};

// A low-rank addition to a linear: B (out, rank), A (rank, in), of float kinds and group 4; A's rows are the rank padded to 4
// with zeros. a.rows 0: none.
struct LoraLinear {
  Tensor a, b;
  float scale;  // of B A, beside the adapter's: alpha / rank
  int32_t unused;
};
struct LoraLayer {
  LoraLinear of[7];  // in the order of Layer: q, k, v, o, gate, up, down
};
struct LoraUse {
  word layers;  // (Model.layers) LoraLayer
  float scale;
  int32_t unused;
};
// Adapters that are used together: see model/lora.h.
struct LoraSet {
  int32_t count;
  int32_t width;  // most floats that A x of all of them gives for linears that read the same rows
  word uses;      // (count) LoraUse
};

// One forward step: `count` rows and the memory they are computed in.
struct Batch {
  word rows;     // (count) Row
  word scratch;  // scratch_bytes(model, capacity, lanes)
  word logits;   // (logit rows, vocab) float32
  int32_t count, capacity, lanes, logit_capacity;
  word lora;  // (capacity, lora_width) float32, where sequences have adapters
  int32_t lora_width, unused;
};
