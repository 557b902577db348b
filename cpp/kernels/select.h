// Choosing blocks for a group of queries that share a KV head (InfLLM v2, arXiv 2509.24663, eq. 5-8):
//   p[g, c] = e^(q_g . C[c] - LSE_g) for the windows c that the query sees, S[c] = sum over g of p[g, c],
//   R[b] = max of S over the windows that overlap block b, then the best blocks by R beside the forced ones.
// The definition in double precision is test/sparse/definition.ts, which the tests hold every build to.
// LSE is exact (over the fine windows) or over the coarse ones. q already carries 1/sqrt(dim).
// Windows are weighed tile by tile against the tile's own maximum, so any lane may weigh any tile; what a tile's weights
// are multiplied by comes out of all tiles' maxima and sums, in order. Neither changes a bit of the result.
#pragma once
#include "../abi.h"
#include "attend.h"

// Where one group's choice is worked out. `group` heads, `lanes` = group rounded up to 4.
struct Choice {
  float* weights;       // (tiles, group, 32): e^(score - most of the tile)
  float *most, *sum;    // (tiles, lanes) of the fine windows; `most` becomes the factor of the tile's weights
  float *most2, *sum2;  // (coarse tiles, lanes)
  float* windows;       // (tiles * 32): S
  float* blocks;        // R
  int group;
};

static inline int group_lanes(int group) { return (group + 3) & ~3; }

// Weighs the first `visible` (1 to 32) windows of a tile of compressed keys (dim, 32). weights: (count, 32).
void weigh_tile(const Query* queries, int count, const float* keys, int dim, int visible, float* weights, float* most,
                float* sum);

// S of `visible` windows, out of their tiles' weights; coarse_visible > 0: with LSE out of most2 and sum2. Coarse scores
// are scaled down together when the largest weight of the group would be above 1.
void weigh_windows(const Choice& c, int visible, int coarse_visible);

// R of blocks [begin, end): the largest S of windows per*b - 1 ... per*b + per - 1 below `visible`; -inf where there is none.
void pool_blocks(const float* windows, int visible, int per, int begin, int end, float* blocks);

// Blocks that a query in block `own` attends to, ascending; returns how many. `blocks` holds R of those not forced, and is
// changed. Ties: lower index.
int pick_blocks(const Sparse& p, float* blocks, int own, int32_t* out);
