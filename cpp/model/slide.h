// Forgetting the middle of a sequence: later slots move down, and their keys are turned back by as many positions.
#pragma once
#include "../abi.h"

// Moves slots [from, from + count) of a sequence down to [to, to + count), to < from, in every layer, on all lanes.
// RoPE turns add up, so a key that was turned by its position is turned by the new one afterwards. Status of the pool.
int kv_slide_slots(const Model& m, const Sequence& s, int from, int to, int count);
