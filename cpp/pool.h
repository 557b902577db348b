// Lanes that run one function together. All lanes pass the same phases in the same order.
#pragma once
#include "abi.h"

// A lane's own view of the step; lives on its stack.
struct Lane {
  int index, phase;
};

typedef void (*Task)(void* arg, Lane& lane);

constexpr int kMaxLanes = 64;

// Runs the task on every lane and returns when all have finished: kOk, or kLaneFailed.
int pool_run(Task task, void* arg);
int pool_lanes();

// Waits until every lane got here: what was written before is visible after, and claims start afresh.
void pool_barrier(Lane& lane);

// Claims the next items [begin, end) of `count` in this phase, at most `grain`. False when none is left.
// Which lane computes an item never changes its result.
bool pool_claim(Lane& lane, int count, int grain, int* begin, int* end);

// Claims of a part's items that shrink, half of what is left rounded to a power of two, from `most` to `least`: long runs first, and lanes
// that end together. A lane alone takes all.
bool pool_claim_halves(Lane& lane, int count, int most, int least, int* begin, int* end);

// Items per claim: a few claims a lane, so that a slow lane is helped by the others.
int pool_grain(int count);
