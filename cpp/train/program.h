// A step of training is a list of records, written once by TypeScript (src/train/program.ts) and run as often as there are batches.
// Tables below say what an operation reads from its record: n are sizes and strides (in numbers), p addresses, f factors.
#pragma once
#include "../abi.h"

constexpr int kTrainAbiVersion = 3;

struct Op {
  int32_t code;
  int32_t n[13];
  word p[14];
  double f[6];
  template <typename T>
  T* at(int i) const {
    return (T*)p[i];
  }
};

// Codes from kReference on run an operation's scalar definition, on the first lane alone.
constexpr int kReference = 128;

enum Code : int32_t {
  kMatmul = 0,
  kNormForward,
  kNormBackward,
  kNormWeight,
  kColumnSums,
  kRope,
  kSwigluForward,
  kSwigluBackward,
  kEmbedForward,
  kEmbedBackward,
  kCombine,
  kBroadcast,
  kZero,
  kAttendForward,
  kAttendBackward,
  kCompressKeys,
  kChooseBlocks,
  kCrossEntropy,
  kSoftCrossEntropy,
  kSmoothL1,
  kTernaryUse,
  kSquares,
  kAdamW,
  kMuonMoment,
  kMuonUnit,
  kMuonApply,
  kPolicy,
  kAttendDrafted,
  kAttendDraftedBackward,
  kCodes
};

// A run of tokens that attends to itself, cut into tiles: rows [first, last) of the batch, of the document [begin, end).
struct Tile {
  int32_t begin, end, first, last, sparse;
};

// How many there are of each; documents are given by the number of their first tile of keys, and one number more.
struct TileCounts {
  int32_t queries, keys, sparse, documents;
};

// Queries, or keys, of a tile; a multiple of the micro-kernel's 6 rows and 8 (or 4) columns.
constexpr int kTileRows = 48;

// A document that attends sparsely: its compressed keys begin at fine and coarse (in keys, per head).
struct SparseDocument {
  int32_t begin, end, fine, coarse, fine_at, coarse_at;
};
