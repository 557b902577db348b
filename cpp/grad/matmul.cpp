// C = D + alpha A B: any of the layouts that forward (A B^T), input gradients (A B) and weight gradients (A^T B) need, by strides.
//
//   n: m, n, k; strides of A (row, column), of B (row, column), of C (row), of D (row)
//   p: A, B, C, D (none: 0; may be C), scratch (packed_b() numbers, then kRowsMost * kDepth a lane)      f: alpha
//
// Both sides are packed into panels; one micro-kernel of 6 rows by two vectors does all the work. Sums run over k in order, in slices
// of kDepth whose partial sums are added in C.
#include "matmul.h"

KERNEL_PART void pack_columns(const Real* b, int row, int col, int k, int n, Real* to) {
  for (int t = 0; t < k; t++, to += kPanel) {
    const Real* from = b + (size_t)t * row;
    if (n == kPanel && col == 1) {
      vstore(to, vload(from)), vstore(to + kWide, vload(from + kWide));
      continue;
    }
    for (int j = 0; j < kPanel; j++) to[j] = j < n ? from[(size_t)j * col] : 0;
  }
}

// A panel whose columns lie apart and rows of k together: 4 x 4 numbers are turned at once.
KERNEL_PART int pack_turned(const Real* b, int col, int k, Real* to) {
  if (kDouble) return 0;
  int t = 0;
  for (; t + 4 <= k; t += 4)
    for (int half = 0; half < kPanel; half += 4) {
      v128_t a[4];
      for (int j = 0; j < 4; j++) a[j] = vload(b + (size_t)(half + j) * col + t);
      transpose(a);
      for (int i = 0; i < 4; i++) vstore(to + (t + i) * kPanel + half, a[i]);
    }
  return t;
}

KERNEL_PART void pack_panel(const Real* b, int row, int col, int k, int n, Real* to) {
  int done = row == 1 && n == kPanel ? pack_turned(b, col, k, to) : 0;
  pack_columns(b + (size_t)done * row, row, col, k - done, n, to + done * kPanel);
}

// Six rows of A that lie with k side by side, as a panel: 4 x 4 numbers are turned at once. Gives how many of k are done.
KERNEL_PART int pack_six(const Real* a, int row, int k, Real* to) {
  int t = 0;
  for (; !kDouble && t + 4 <= k; t += 4) {
    v128_t r[4], s4 = vload(a + (size_t)4 * row + t), s5 = vload(a + (size_t)5 * row + t);
    for (int i = 0; i < 4; i++) r[i] = vload(a + (size_t)i * row + t);
    transpose(r);
    v128_t low = wasm_i32x4_shuffle(s4, s5, 0, 4, 1, 5), high = wasm_i32x4_shuffle(s4, s5, 2, 6, 3, 7);
    Real* at = to + t * kRows;
    for (int i = 0; i < 4; i++) vstore(at + i * kRows, r[i]);
    wasm_v128_store64_lane(at + 4, low, 0), wasm_v128_store64_lane(at + kRows + 4, low, 1);
    wasm_v128_store64_lane(at + 2 * kRows + 4, high, 0), wasm_v128_store64_lane(at + 3 * kRows + 4, high, 1);
  }
  return t;
}

// Rows of A as panels of kRows, numbers of one k side by side. Rows that lie side by side are read together, k by k, so that a line of the
// cache is read once.
KERNEL_PART void pack_rows(const Real* a, int row, int col, int m, int k, Real* to) {
  const int whole = row == 1 ? m / kRows * kRows : 0;
  for (int t = 0; t < k && whole; t++) {
    const Real* from = a + (size_t)t * col;
    for (int r = 0; r < whole; r += kRows) {
      Real* panel = to + r * kDepth + t * kRows;
      for (int i = 0; i + kWide <= kRows; i += kWide) vstore(panel + i, vload(from + r + i));
      if (kRows % kWide) vstore(panel + kRows - kWide, vload(from + r + kRows - kWide));
    }
  }
  for (int r = whole; r < m; r += kRows) {
    const Real* from = a + (size_t)r * row;
    Real* panel = to + r * kDepth;
    for (int t = col == 1 && r + kRows <= m ? pack_six(from, row, k, panel) : 0; t < k; t++)
      for (int i = 0; i < kRows; i++) panel[t * kRows + i] = r + i < m ? from[(size_t)i * row + (size_t)t * col] : 0;
  }
}

void matmul(const Op& op, Lane& lane) {
  const int m = op.n[0], n = op.n[1], k = op.n[2], c_row = op.n[7], d_row = op.n[8];
  const Real *a = op.at<Real>(0), *b = op.at<Real>(1), *d = op.at<Real>(3);
  Real *c = op.at<Real>(2), *packed = op.at<Real>(4), *mine = packed + packed_b() + (size_t)lane.index * kRowsMost * kDepth;
  const v128_t alpha = vsplat((Real)op.f[0]);
  // Blocks of rows: few enough that panels of A stay near, enough that every lane gets some.
  int rows = round_up(m / (4 * pool_lanes()) + 1, kRows);
  if (rows > kRowsMost) rows = kRowsMost;
  const int blocks = (m + rows - 1) / rows;
  for (int j0 = 0; j0 < n; j0 += kColumns) {
    const int columns = n - j0 < kColumns ? n - j0 : kColumns, panels = (columns + kPanel - 1) / kPanel;
    for (int k0 = 0; k0 < k; k0 += kDepth) {
      const int depth = k - k0 < kDepth ? k - k0 : kDepth;
      for (int p, end; pool_claim(lane, panels, pool_grain(panels), &p, &end);)
        for (; p < end; p++) {
          int j = j0 + p * kPanel;
          pack_panel(b + (size_t)k0 * op.n[5] + (size_t)j * op.n[6], op.n[5], op.n[6], depth, n - j < kPanel ? n - j : kPanel,
                     packed + (size_t)p * kPanel * kDepth);
        }
      pool_barrier(lane);
      const Real* before = k0 ? c : d;
      const int before_row = k0 ? c_row : d_row;
      for (int i, end; pool_claim(lane, blocks, 1, &i, &end);) {
        const int first = i * rows, count = m - first < rows ? m - first : rows;
        const Real* left = a + (size_t)first * op.n[3] + (size_t)k0 * op.n[4];
        pack_rows(left, op.n[3], op.n[4], count, depth, mine);
        for (int p = 0; p < panels; p++) {
          const int j = j0 + p * kPanel, width = n - j < kPanel ? n - j : kPanel;
          for (int r = 0; r < count; r += kRows) {
            v128_t acc[kRows][2];
            micro_clear(acc);
            const int height = count - r < kRows ? count - r : kRows;
            const Real* right = packed + (size_t)p * kPanel * kDepth;
            micro_tile(depth, mine + r * kDepth, kRows, right, kPanel, acc);
            Real* to = c + (size_t)(first + r) * c_row + j;
            const Real* from = before ? before + (size_t)(first + r) * before_row + j : nullptr;
            if (height == kRows && width == kPanel) {
              for (int h = 0; h < kRows; h++)
                for (int w = 0; w < 2; w++) {
                  v128_t x = vmul(alpha, acc[h][w]);
                  vstore(to + (size_t)h * c_row + w * kWide,
                         from ? vadd(vload(from + (size_t)h * before_row + w * kWide), x) : x);
                }
              continue;
            }
            Real edge[kRows * kPanel];
            for (int h = 0; h < kRows; h++)
              for (int w = 0; w < 2; w++) vstore(edge + h * kPanel + w * kWide, vmul(alpha, acc[h][w]));
            for (int h = 0; h < height; h++)
              for (int w = 0; w < width; w++)
                to[(size_t)h * c_row + w] = (from ? from[(size_t)h * before_row + w] : 0) + edge[h * kPanel + w];
          }
        }
      }
      pool_barrier(lane);
    }
  }
}

void matmul_ref(const Op& op, Lane& lane) {
  if (lane.index) return;
  const Real *a = op.at<Real>(0), *b = op.at<Real>(1), *d = op.at<Real>(3);
  Real* c = op.at<Real>(2);
  for (int i = 0; i < op.n[0]; i++)
    for (int j = 0; j < op.n[1]; j++) {
      double sum = 0;
      for (int t = 0; t < op.n[2]; t++)
        sum += (double)a[(size_t)i * op.n[3] + (size_t)t * op.n[4]] * b[(size_t)t * op.n[5] + (size_t)j * op.n[6]];
      c[(size_t)i * op.n[7] + j] = (Real)((d ? d[(size_t)i * op.n[8] + j] : 0) + op.f[0] * sum);
    }
}
