#include "grid.h"

void grid_row(const RowsOf& w, int row, const Grid& grid, bool symmetric, bool search, const double* weights) {
  int g = grid.group, groups = w.cols / g;
  double x[1024], low, high;
  for (int i = 0; i < groups; i++) {
    double best = __builtin_inf(), scale = 1, zero = 0;
    // Groups of more columns than fit are read again for every factor.
    bool held = g <= 1024;
    if (held) w.read(row, i * g, g, x);
    auto value = [&](int k) { return held ? x[k] : w.at(row, i * g + k); };
    low = high = 0;
    for (int k = 0; k < g; k++) {
      double v = value(k);
      if (v > high) high = v;
      if (v < low) low = v;
    }
    double top = grid.top, most = high > -low ? high : -low;
    for (int step = search ? 120 : 100; step >= (search ? 40 : 100); step--) {
      double p = step / 100.0, s = to_half(p * (symmetric ? 2 * most : high - low) / top);
      if (!(s > 0)) s = 1;
      double z = symmetric ? (top + 1) / 2 : clamped(rounded(-p * low / s), 0, top);
      double loss = sum_of(g, [&](int k) {
        double v = value(k), q = clamped(rounded(v / s) + z, 0, top), d = v - s * (q - z);
        return weights ? weights[i * g + k] * (d * d) : d * d;
      });
      if (loss < best) best = loss, scale = s, zero = z;
    }
    grid.scales[(size_t)row * groups + i] = scale, grid.zeros[(size_t)row * groups + i] = zero;
  }
}

void codes_row(const RowsOf& w, int row, const Grid& grid, uint8_t* codes) {
  int groups = w.cols / grid.group;
  for (int k = 0; k < w.cols; k++) {
    size_t at = (size_t)row * groups + k / grid.group;
    codes[(size_t)row * w.cols + k] = (uint8_t)code_of(w.at(row, k), grid.scales[at], grid.zeros[at], grid.top);
  }
}

void ternary_row(const RowsOf& w, int row, const Grid& grid, TernaryFit fit, uint8_t* codes) {
  int g = grid.group, groups = w.cols / g;
  for (int i = 0; i < groups; i++) {
    auto magnitude = [&](int k) { return __builtin_fabs(w.at(row, i * g + k)); };
    double most = 0;
    for (int k = 0; k < g; k++)
      if (magnitude(k) > most) most = magnitude(k);
    double s = to_half(fit == kExact ? most : sum_of(g, magnitude) / g);
    auto ternary = [&](int k) { return s != 0 ? clamped(rounded(w.at(row, i * g + k) / s), -1, 1) : 0; };
    for (int round = 0; round < (fit == kFitted ? 8 : 0); round++) {
      double count = sum_of(g, [&](int k) { return __builtin_fabs(ternary(k)); });
      double sum = sum_of(g, [&](int k) { return __builtin_fabs(w.at(row, i * g + k) * ternary(k)); });
      s = to_half(count > 0 ? sum / count : 0);
    }
    grid.scales[(size_t)row * groups + i] = s, grid.zeros[(size_t)row * groups + i] = 1;
    for (int k = 0; k < g; k++) codes[(size_t)row * w.cols + i * g + k] = (uint8_t)(ternary(k) + 1);
  }
}

bool ternary_already(const RowsOf& w, int row, int group) {
  for (int from = 0; from < w.cols; from += group) {
    double only = 0;
    for (int k = from; k < from + group; k++) {
      double a = __builtin_fabs(w.at(row, k));
      if (a == 0) continue;
      if (only != 0 && a != only) return false;
      only = a;
    }
  }
  return true;
}
