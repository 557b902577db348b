// libFuzzer: what the exports check of rows, batches and counts. Numbers come from the fuzzer, addresses are real ones with memory of exact
// size behind them: whatever the checks let through must compute without touching a byte beyond.
#include <stdint.h>
#include <stdlib.h>
#include "kernels/attend.h"
#include "model/forward.h"
#include "model/kv.h"
#include "native.h"

struct Input {
  const uint8_t* at;
  size_t left;
  int word() {
    if (left < 4) return 0;
    int value;
    memcpy(&value, at, 4), at += 4, left -= 4;
    return value;
  }
  // Mostly near what is allowed, now and then anything.
  int near(int limit) {
    int value = word();
    return value & 0x40000000 ? value : limit > 0 ? (value & 0x3fffffff) % (limit + 4) - 2 : value;
  }
};

static Model m;
static DraftHead h;

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  seed(7);
  do drop(), m = model(true).m;
  while (!m.sparse.block || m.heads > 8);
  h.m = m, h.m.layers = 1, h.m.sparse = {}, h.version = 2, h.fc_inputs = 2 * m.hidden,
  h.fc = weight(0, m.hidden, h.fc_inputs, 0, false), h.m.norm = {0};
  held_memory.clear();  // stays
  pool_start(1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input in{data, size};
  int what = in.word() & 3, capacity = 64, most = 8, context = 64;
  Sequence* s = memory<Sequence>(2 * sizeof(Sequence));
  for (int i = 0; i < 2; i++) s[i].data = W(memory((size_t)kv_bytes(&m, capacity))), s[i].capacity = capacity;
  if (what == 0) {
    kv_move(&m, s, in.near(capacity), s + (in.word() & 1), in.near(capacity), in.near(capacity));
    kv_slide(&m, s, in.near(capacity), in.near(capacity), in.near(capacity));
  } else if (what == 1) {
    Tensor t{kInt4Min, 16, 128, 32, {}};
    t.data = W(memory((size_t)tensor_bytes(&t)));
    int first = in.near(16), count = in.near(16), group = 32 << (in.word() & 1);
    uint32_t* q = memory<uint32_t>(4ull * 16 * 16);
    pack_words(&t, q, first, count, memory<uint16_t>(2ull * 4 * 16), memory<uint32_t>(4ull * 4 * 2), group, in.word() & 1);
    Tensor f{kF32, 8, 16, 32, {}};
    f.data = W(memory((size_t)tensor_bytes(&f)));
    pack_rows(&f, 0, memory(4 * 16 * 8), in.near(8), in.near(8), 0);
    int32_t ids[4];
    for (int& id : ids) id = in.near(8);
    int n = in.near(4);
    Tensor some = f;
    some.rows = 4, some.data = W(memory((size_t)tensor_bytes(&some)));
    if (n <= 4) gather_rows(&f, ids, n, &some);
  } else {
    bool draft = what == 3;
    Row* rows = memory<Row>(most * sizeof(Row));
    int32_t *first = memory<int32_t>(4 * most), pick[8];
    for (int i = 0; i < most; i++) {
      rows[i] = {W(s + (in.word() & 1)), in.near(m.vocab),  in.near(context),
                 in.near(capacity),      in.near(capacity), (uint32_t)in.word(),
                 (uint32_t)in.word(),    in.near(capacity), 0};
      first[i] = in.near(capacity), pick[i] = in.near(most);
    }
    int count = in.near(most), picks = in.near(4);
    if (picks > 8) picks = 8;
    if (!draft) {
      Batch b{};
      b.rows = W(rows), b.scratch = W(memory((size_t)scratch_bytes(&m, most, 1, context))),
      b.logits = W(memory(4ull * 4 * m.vocab));
      b.count = count, b.capacity = most, b.lanes = 1, b.logit_capacity = 4;
      if (forward(&m, &b, context, in.near(m.layers), in.near(m.layers)) == kOk) head(&m, &b, context, pick, picks);
    } else {
      DraftBatch b{};
      b.rows = W(rows), b.first = W(first), b.hidden = W(memory(4ull * most * m.hidden)),
      b.out = W(memory(4ull * most * m.hidden));
      b.scratch = W(memory((size_t)draft_scratch_bytes(&h, most, 1))), b.logits = W(memory(4ull * 4 * h.m.head.rows));
      b.count = count, b.capacity = most, b.lanes = 1, b.logit_capacity = 4;
      if (draft_forward(&h, &b) == kOk) draft_logits(&h, &b, pick, picks);
    }
  }
  drop();
  return 0;
}
