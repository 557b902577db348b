// InfLLM v2's choice of blocks (stage 1), from the current queries and keys; no gradient passes through it. Definition: compressed keys
// are means of full windows; a block's score is the largest of its windows' softmax weights, summed over the heads of a group.
#include "grad.h"

// Means of windows of `size` keys, `stride` apart.
//   n: kv heads, head_dim, size, stride, coarse (which list of a document)      p: k, documents, their number, out (windows, kv heads, dim)
void compress_keys(const Op& op, Lane& lane) {
  const SparseDocument* documents = op.at<SparseDocument>(1);
  const int count = *op.at<int32_t>(2), row = op.n[0] * op.n[1];
  int total = 0;
  for (int i = 0; i < count; i++) total += op.n[4] ? documents[i].coarse : documents[i].fine;
  for (int w, end; pool_claim(lane, total, pool_grain(total), &w, &end);)
    for (; w < end; w++) {
      int i = 0;
      while (w >= (op.n[4] ? documents[i].coarse_at + documents[i].coarse : documents[i].fine_at + documents[i].fine)) i++;
      const int at = w - (op.n[4] ? documents[i].coarse_at : documents[i].fine_at);
      const Real* k = op.at<Real>(0) + (size_t)(documents[i].begin + at * op.n[3]) * row;
      for (int c = 0; c < row; c++) {
        double sum = 0;
        for (int j = 0; j < op.n[2]; j++) sum += k[(size_t)j * row + c];
        op.at<Real>(3)[(size_t)w * row + c] = (Real)(sum / op.n[2]);
      }
    }
}

namespace {

// How many windows lie wholly in keys 0 ... query.
int visible(int query, int size, int stride, int windows) {
  if (query < size - 1) return 0;
  int count = (query - size + 1) / stride + 1;
  return count < windows ? count : windows;
}

double dot(const Real* a, const Real* b, int count) {
  double sum = 0;
  for (int i = 0; i < count; i++) sum += (double)a[i] * b[i];
  return sum;
}

}  // namespace

// Sets the bits of the blocks that each query attends to: the first, the local ones, the best of the rest (ties: the lower one).
//   n: heads, kv heads, head_dim, block, init, local, chosen, words, size, stride, coarse, scratch of a lane (doubles, a third of it windows)
//   p: q, documents, their number, fine keys, coarse keys, mask, scratch      f: 1 / sqrt(head_dim)
void choose_blocks(const Op& op, Lane& lane) {
  const int heads = op.n[0], kv = op.n[1], dim = op.n[2], block = op.n[3], words = op.n[7], size = op.n[8], stride = op.n[9],
            group = heads / kv;
  const SparseDocument* documents = op.at<SparseDocument>(1);
  const int count = *op.at<int32_t>(2), third = op.n[11] / 3;
  double *s = op.at<double>(6) + (size_t)lane.index * op.n[11], *weights = s + third, *scores = weights + third;
  int total = 0;
  for (int i = 0; i < count; i++) total += documents[i].end - documents[i].begin;
  for (int at, end; pool_claim(lane, total, 1, &at, &end);) {
    int i = 0, query = at;
    while (query >= documents[i].end - documents[i].begin) query -= documents[i].end - documents[i].begin, i++;
    const SparseDocument& doc = documents[i];
    const size_t row = doc.begin + query;
    const int fine = visible(query, size, stride, doc.fine), coarse = visible(query, 4 * size, 4 * stride, doc.coarse);
    for (int h = 0; h < kv; h++) {
      for (int w = 0; w < fine; w++) weights[w] = 0;
      for (int g = h * group; g < (h + 1) * group && fine; g++) {
        const Real* q = op.at<Real>(0) + (row * heads + g) * dim;
        double most = -1e300, sum = 0, most_fine = -1e300;
        for (int w = 0; w < fine; w++) {
          s[w] = op.f[0] * dot(q, op.at<Real>(3) + ((size_t)(doc.fine_at + w) * kv + h) * dim, dim);
          if (s[w] > most_fine) most_fine = s[w];
        }
        if (op.n[10] && coarse) {
          for (int pass = 0; pass < 2; pass++)
            for (int w = 0; w < coarse; w++) {
              double x = op.f[0] * dot(q, op.at<Real>(4) + ((size_t)(doc.coarse_at + w) * kv + h) * dim, dim);
              if (pass) sum += exp_clamped(x - most);
              else if (x > most) most = x;
            }
        } else {
          most = most_fine;
          for (int w = 0; w < fine; w++) sum += exp_clamped(s[w] - most);
        }
        const double lse = most + log_positive(sum);
        for (int w = 0; w < fine; w++) weights[w] += exp_clamped(s[w] - lse);
      }
      const int last = query / block, per = block / stride;
      uint32_t* mask = op.at<uint32_t>(5) + (row * kv + h) * words;
      for (int w = 0; w < words; w++) mask[w] = 0;
      for (int b = 0; b <= last; b++) {
        scores[b] = -1;  // weights are positive
        for (int w = per * b - 1 > 0 ? per * b - 1 : 0; w < per * b + per && w < fine; w++)
          if (weights[w] > scores[b]) scores[b] = weights[w];
        if (b < op.n[4] || b > last - op.n[5]) mask[b >> 5] |= 1u << (b & 31), scores[b] = -1;
      }
      for (int n = 0; n < op.n[6]; n++) {
        int best = -1;
        for (int b = 0; b <= last; b++)
          if (scores[b] >= 0 && (best < 0 || scores[b] > scores[best])) best = b;
        if (best < 0) break;
        mask[best >> 5] |= 1u << (best & 31), scores[best] = -1;
      }
    }
  }
}
