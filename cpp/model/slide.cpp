#include "slide.h"

#include "../kernels/norm.h"
#include "../pool.h"
#include "kv.h"

namespace {

struct Slide {
  const Model& m;
  const Sequence& s;
  int from, to, count;
};

constexpr int kMostDim = 512;

void slide_task(void* arg, Lane& lane) {
  const Slide& job = *(const Slide*)arg;
  const Model& m = job.m;
  float key[kMostDim], value[kMostDim], angles[kMostDim];
  rope_angles((const double*)m.rope, job.to - job.from, 1, angles, m.head_dim);
  for (int i, end; pool_claim(lane, m.layers * m.kv_heads, 1, &i, &end);)
    for (int slot = 0; slot < job.count; slot++) {
      int layer = i / m.kv_heads, head = i % m.kv_heads;
      kv_read(m, job.s, layer, head, job.from + slot, key, value);
      rope_rotate(key, angles, m.head_dim, 1);
      kv_write(m, job.s, layer, head, job.to + slot, key, value);
    }
}

}  // namespace

int kv_slide_slots(const Model& m, const Sequence& s, int from, int to, int count) {
  Slide job = {m, s, from, to, count};
  return pool_run(slide_task, &job);
}
