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
  float key[kMostDim], value[kMostDim], angles[2][kMostDim];
  rope_angles((const double*)m.rope, job.to - job.from, 1, angles[0], turned(m));
  if (m.tables > 1) rope_angles((const double*)m.rope2, job.to - job.from, 1, angles[1], turned(m));
  for (int i, end; pool_claim(lane, m.layers * m.kv_heads, 1, &i, &end);)
    for (int slot = 0; slot < job.count; slot++) {
      int layer = i / m.kv_heads, head = i % m.kv_heads;
      kv_read(m, job.s, layer, head, job.from + slot, key, value);
      int table = ((const Layer*)m.layer)[layer].rope;
      rope_turn(key, table < 0 ? nullptr : angles[table], turned(m), m.head_dim, 1);
      kv_write(m, job.s, layer, head, job.to + slot, key, value);
    }
}

}  // namespace

int kv_slide_slots(const Model& m, const Sequence& s, int from, int to, int count) {
  Slide job = {m, s, from, to, count};
  return pool_run(slide_task, &job);
}
