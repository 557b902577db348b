// The forward pass of dense decoders over a table of rows, on all lanes.
// Definition: h = scale_emb * E[token]; per layer h += r * Attn(RMS(h)), h += r * MLP(RMS(h)); logits = head(RMS(h) * s).
// What families add to it is said by fields of Model and Layer: biases, norms of queries, keys and of what attention and MLP give,
// windows, other rotations, GELU, soft caps. A field that is 0 costs nothing.
// Source: MiniCPM4 report (arXiv 2506.07900); the families' published code.
#pragma once
#include "../abi.h"

// The kinds of operation of a step. A profile runs them one at a time, on whatever the scratch holds.
enum Phase : int {
  kEmbed = 1,
  kNorm = 2,
  kQkv = 4,
  kAttend = 8,
  kOut = 16,
  kGateUp = 32,
  kDown = 64,
  kHead = 128,
  kAllPhases = 255,
};

// Bytes of Batch.scratch for up to `rows` rows.
uint64_t scratch_bytes_of(const Model& m, int rows, int lanes, int context);

// Runs layers [begin, end) for the batch's rows; begin == 0 starts from the embeddings. The rows' keys and values
// are written to their slots. Hidden states stay in the scratch between calls.
int forward_layers(const Model& m, const Batch& b, int context, int begin, int end, int phases = kAllPhases);

// Logits of rows picked[0 ... count) of the batch after the last layer, into b.logits.
int forward_head(const Model& m, const Batch& b, int context, const int32_t* picked, int count, int phases = kAllPhases);

// One layer's attention alone, for tests and benchmarks: q (rows, heads, dim) rotated and scaled, o alike. parts, a sum of:
// 1 compress what is new, 2 choose blocks, 4 attend.
int forward_attention(const Model& m, const Batch& b, int context, int layer, const float* q, float* o, int parts);

// Blocks that the rows of the last layer attended to sparsely: (rows, kv heads, words), a count and the blocks.
const int32_t* forward_choices(const Model& m, const Batch& b, int context, int* words);
