// Attention of the rows of a draft tree: each sees the slots below a common base, and its ancestors among those behind it.
// The bits are those of plain decoding, in which the same tokens lie one after another: a row's ancestors are put where
// they will lie once accepted, so that every sum is taken in the same order over the same tiles.
#pragma once
#include "../kernels/attend.h"

// queries (rows, group), row by row, of rows with one base and masks of their own; `part` as many, for partial states.
// scratch: 2 * 32 * dim floats. The queries' results are finished.
void attend_branches(Query* queries, Query* part, int rows, int group, const KvView& kv, float* scratch);
