// Rows of one packed weight as rows of another, without unpacking: the head's rows of a reduced draft vocabulary.
#pragma once
#include "layout.h"

// Copies row `row` of `from` to row `to_row` of `to`: same kind, columns and group.
void gather_row(const Tensor& from, int row, const Tensor& to, int to_row);
