// Static grids: value = S * (q - Z), one (S, Z) per row and `group` neighbouring columns, codes 0 ... top.
// Definition: shared with every reader of these files; design notes in docs/quantise.md.
#pragma once
#include "numbers.h"

struct Grid {
  double *scales, *zeros;  // (rows, cols / group)
  int group, top;
};

// Code of x. Where the scale is 0, what Z rounds to.
static inline double code_of(double x, double s, double z, int top) { return clamped(rounded((s != 0 ? x / s : 0) + z), 0, top); }

// Grid of one row by the shrink factor 1.20, 1.19 ... 0.40 of least sum w (x - x^)^2, the first of equals; without `search` 1.
// Symmetric: S = p * 2 max|x| / top, Z = (top + 1) / 2; else S = p (high - low) / top, Z = round(-p low / S).
void grid_row(const RowsOf& w, int row, const Grid& grid, bool symmetric, bool search, const double* weights);

void codes_row(const RowsOf& w, int row, const Grid& grid, uint8_t* codes);

// Ternary: s = mean|x| of the group, t = clamp(round(x / s), -1, 1); fitted: s = mean|x| where t is not 0, eight times over.
// exact: s = max|x|, for weights that are ternary already. Zeros become 1, codes t + 1.
enum TernaryFit { kAbsMean = 0, kFitted = 1, kExact = 2 };
void ternary_row(const RowsOf& w, int row, const Grid& grid, TernaryFit fit, uint8_t* codes);

// Whether all magnitudes but 0 are equal within every group of columns of this row.
bool ternary_already(const RowsOf& w, int row, int group);
