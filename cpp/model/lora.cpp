#include "lora.h"

namespace {

// Rows that a lane takes at a time.
constexpr int kSome = 32;

// Calls f(linear, its additions, scale, column of its u, rows [t, stop)) for every linear of [first, last) that a set adds to.
template <typename F>
void each_addition(const LoraRows& st, int first, int last, F&& f) {
  for (int t = 0, stop; t < st.b.count; t = stop) {
    word at = lora_of(st.rows[t]);
    for (stop = t + 1; stop < st.b.count && lora_of(st.rows[stop]) == at;) stop++;
    if (!at) continue;
    const LoraSet& set = *(const LoraSet*)at;
    const LoraUse* uses = (const LoraUse*)set.uses;
    for (int i = 0, column = 0; i < set.count; i++)
      for (int linear = first; linear < last; linear++) {
        const LoraLinear& l = ((const LoraLayer*)uses[i].layers)[st.layer].of[linear];
        if (l.a.rows) f(linear, l, uses[i].scale * l.scale, column, t, stop), column += l.a.rows;
      }
  }
}

Inputs rows_of(const float* x, int tokens, int stride) {
  return {x, nullptr, nullptr, nullptr, nullptr, nullptr, tokens, stride, 0};
}

}  // namespace

void lora_down(Lane& lane, const LoraRows& st, const Inputs& in, int first, int count) {
  auto items = [](const Tensor& a, int rows) { return panels(a) * ((rows + kSome - 1) / kSome); };
  int total = 0;
  each_addition(st, first, first + count,
                [&](int, const LoraLinear& l, float, int, int t, int stop) { total += items(l.a, stop - t); });
  for (int begin, end; pool_claim(lane, total, 1, &begin, &end);) {
    int before = 0;
    each_addition(st, first, first + count, [&](int, const LoraLinear& l, float, int column, int t, int stop) {
      int own = items(l.a, stop - t), item = begin - before;
      before += own;
      if (item < 0 || item >= own) return;
      int panel = item % panels(l.a), from = t + item / panels(l.a) * kSome, rows = stop - from < kSome ? stop - from : kSome;
      float* u = (float*)st.b.lora + (size_t)from * st.b.lora_width + column;
      gemm(l.a, rows_of(in.x + (size_t)from * in.stride, rows, in.stride), {u, st.b.lora_width, 1, false}, panel, panel + 1);
    });
  }
  pool_barrier(lane);
}

void lora_up(const LoraRows& st, const Output& out, int first, int linear, int begin, int end) {
  // Columns of u are counted over all linears that share it.
  int last = first == kLoraQ ? kLoraO : first == kLoraGate ? kLoraDown : first + 1;
  each_addition(st, first, last, [&](int which, const LoraLinear& l, float scale, int column, int t, int stop) {
    if (which != linear) return;
    const float* u = (const float*)st.b.lora + (size_t)t * st.b.lora_width + column;
    gemm(l.b, rows_of(u, stop - t, st.b.lora_width), {out.y + (size_t)t * out.stride, out.stride, out.scale * scale, true}, begin,
         end);
  });
}
