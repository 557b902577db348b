// Attention and the choice of blocks as they are defined, in double precision and without haste: test/sparse/definition.ts says the same.
#pragma once
#include <math.h>
#include <algorithm>
#include <functional>
#include <vector>
#include "abi.h"

using Vec = std::vector<double>;

static double dot(const Vec& a, const Vec& b) {
  double sum = 0;
  for (size_t d = 0; d < a.size(); d++) sum += a[d] * b[d];
  return sum;
}
static double largest(const Vec& x) {
  double most = 0;
  for (double v : x) most = fmax(most, fabs(v));
  return most;
}
static double log_sum(const Vec& x) {
  double top = *std::max_element(x.begin(), x.end()), sum = 0;
  for (double v : x) sum += exp(v - top);
  return top + log(sum);
}

// Means of the full windows of k.
static std::vector<Vec> compressed(const std::vector<Vec>& k, int size, int stride) {
  std::vector<Vec> out;
  for (int c = 0; c * stride + size <= (int)k.size(); c++) {
    Vec mean(k[0].size());
    for (int j = 0; j < size; j++)
      for (size_t d = 0; d < mean.size(); d++) mean[d] += k[(size_t)(c * stride + j)][d] / size;
    out.push_back(mean);
  }
  return out;
}

// Windows that lie wholly in tokens 0 ... i.
static int seen_windows(int i, int size, int stride, int count) {
  int n = i + 1 < size ? 0 : (i + 1 - size) / stride + 1;
  return n < count ? n : count;
}

// Relevance of each block up to position i's own to a group of queries; -inf where no window is seen.
static Vec block_scores(const std::vector<Vec>& queries, const std::vector<Vec>& fine, const std::vector<Vec>& coarse, int i,
                        const Sparse& p) {
  int seen = seen_windows(i, p.kernel, p.stride, (int)fine.size()), per = p.block / p.stride;
  Vec windows(fine.size());
  for (const Vec& q : queries) {
    if (!seen) break;
    Vec scores, rough;
    for (int w = 0; w < seen; w++) scores.push_back(dot(q, fine[(size_t)w]));
    int seen_coarse = p.coarse ? seen_windows(i, 4 * p.kernel, 4 * p.stride, (int)coarse.size()) : 0;
    for (int w = 0; w < seen_coarse; w++) rough.push_back(dot(q, coarse[(size_t)w]));
    double lse = log_sum(seen_coarse ? rough : scores);
    for (int w = 0; w < seen; w++) windows[(size_t)w] += exp(scores[(size_t)w] - lse);
  }
  Vec blocks;
  for (int b = 0; b <= i / p.block; b++) {
    double most = -INFINITY;
    for (int w = per * b > 0 ? per * b - 1 : 0; w < per * b + per && w < seen; w++) most = fmax(most, windows[(size_t)w]);
    blocks.push_back(most);
  }
  return blocks;
}

// The first blocks, the local ones, and the best of the others (ties: lower index), in rising order.
static std::vector<int> chosen_blocks(const Vec& scores, int i, const Sparse& p) {
  int own = i / p.block;
  std::vector<int> out, rest;
  for (int b = 0; b <= own; b++) {
    if (b < p.init || b > own - p.local) out.push_back(b);
    else if (isfinite(scores[(size_t)b])) rest.push_back(b);
  }
  std::stable_sort(rest.begin(), rest.end(), [&](int a, int b) { return scores[(size_t)a] > scores[(size_t)b]; });
  for (int n = 0; n < p.chosen && n < (int)rest.size(); n++) out.push_back(rest[(size_t)n]);
  std::sort(out.begin(), out.end());
  return out;
}

// softmax(q . k) v over the slots that are seen; `bound`: how far a cache of 8 bits may be from it (codingBound of definition.ts).
static Vec attended(const Vec& q, const std::vector<Vec>& k, const std::vector<Vec>& v, const std::function<bool(int)>& sees_slot,
                    bool coded, Vec* bound) {
  std::vector<size_t> slots;
  Vec scores, weights, wrong, raised, most, out(q.size());
  for (size_t s = 0; s < k.size(); s++)
    if (sees_slot((int)s)) slots.push_back(s), scores.push_back(dot(q, k[s]));
  double lse = log_sum(scores);
  for (size_t j = 0; j < slots.size(); j++) {
    weights.push_back(exp(scores[j] - lse));
    for (size_t d = 0; d < out.size(); d++) out[d] += weights[j] * v[slots[j]][d];
  }
  *bound = Vec(q.size());
  if (!coded) return out;
  for (size_t j = 0; j < slots.size(); j++) {
    double sum = 0;
    for (double x : k[slots[j]]) sum += fabs(x);
    wrong.push_back(largest(q) / 8191 / 2 * sum), raised.push_back(log(weights[j]) + wrong[j]);
  }
  double sum = log_sum(raised);
  std::vector<double> tiles(k.size() / 32 + 1);
  for (size_t j = 0; j < slots.size(); j++) {
    most.push_back(weights[j] * exp(wrong[j] + sum));
    double& step = tiles[slots[j] / 32];
    step = fmax(step, most[j] * largest(v[slots[j]]) / 127 / 127);
  }
  for (size_t j = 0; j < slots.size(); j++)
    for (size_t d = 0; d < out.size(); d++) {
      double x = v[slots[j]][d], code = x == 0 ? 0 : fabs(x) * 127 / largest(v[slots[j]]);
      (*bound)[d] += (most[j] - weights[j]) * fabs(x - out[d]) + tiles[slots[j] / 32] / 2 * code;
    }
  return out;
}
