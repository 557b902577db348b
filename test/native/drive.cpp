// Runs the kernels and the exports natively, under a sanitizer, on shapes, weights and batches drawn at random:
//   drive <rounds> <seed> <lanes>
// Kernels are held to their definitions, batches on several lanes to the same on one, bit for bit. Ends with a line of counts.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <thread>
#include <vector>
#include "abi.h"
#include "kernels/attend.h"
#include "kernels/gemm.h"
#include "kernels/pack.h"
#include "model/draft.h"
#include "model/forward.h"
#include "model/kv.h"
#include "model/scratch.h"
#include "native.h"
#include "pool.h"

#include "boundary.h"

static long bounds, packs, products, rows_, gptqs, forwards, heads, slides, moves, drafts, gathers, adapted, traited, claimed;
static void differ(const char* what, int a, int b) {
  fprintf(stderr, "%s differs from its definition (%d, %d)\n", what, a, b);
  _exit(1);
}
// Bit for bit, where they are numbers: what blocks of any bytes overflow to is only that it is none.
static bool same(const float* a, const float* b, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (memcmp(a + i, b + i, 4) && (isfinite(a[i]) || isfinite(b[i]))) {
      if (getenv("CPM_NATIVE_SHOW")) fprintf(stderr, "%zu: %.9g and %.9g\n", i, a[i], b[i]);
      return false;
    }
  return true;
}

static void kernels() {
  int type = kTypes[below(15)], unit = file_block(type), rows = 1 + below(45);
  int cols = unit == 1 ? 4 * (1 + below(40)) : unit * (1 + below(unit == 32 ? 9 : 3));
  bool wild = below(4) == 0;
  Tensor t = weight(type, rows, cols, 0, wild);
  packs++;
  int block = t.kind == kTernary ? 256 : 32, stride = (cols + 31) / 32 * 32, tokens = 1 + below(9);
  if (stride % block == 0) {
    float* x = floats(tokens * stride, 100);
    int8_t* q = memory<int8_t>((size_t)tokens * stride);
    BlockScale* s = (BlockScale*)memory((size_t)tokens * (stride / block) * (sizeof(BlockScale) + sizeof(BlockCentre)));
    float *y = memory<float>(4ull * tokens * rows), *z = memory<float>(4ull * tokens * rows);
    // Which form computes changes no bit.
    constexpr int kForms[] = {0, 3};
    if (choose_form(t.kind, kForms[below(2)]) || choose_form(t.kind, 1) != kBadArgument) differ("choose_form", t.kind, 0);
    gemm_rows(&t, x, q, s, y, tokens, block, 1);
    gemm_rows_ref(&t, x, q, s, z, tokens, block);
    if (!wild && !same(y, z, (size_t)tokens * rows)) differ("gemm", type, t.kind);
    products++;
    int8_t* q2 = memory<int8_t>(stride);
    int blocks = stride / block;
    BlockScale *a = (BlockScale*)memory(blocks * (sizeof(BlockScale) + sizeof(BlockCentre))),
               *b = (BlockScale*)memory(blocks * (sizeof(BlockScale) + sizeof(BlockCentre)));
    quantize_row(x, stride, block, q, a), quantize_row_ref(x, stride, block, q2, b);
    if (memcmp(q, q2, stride) || memcmp(a, b, blocks * (sizeof(BlockScale) + sizeof(BlockCentre))))
      differ("quantize", stride, block);
  }
  int n = 4 * (1 + below(64));
  float *x = floats(n, 8), *w = floats(n, 8), *y = memory<float>(4 * n), *z = memory<float>(4 * n);
  norm_row(x, w, y, n, 1e-5f, 1.f), norm_row_ref(x, w, z, n, 1e-5f, 1.f);
  for (int i = 0; i < n; i++)  // sums in another order
    if (fabsf(y[i] - z[i]) > 1e-6f * fabsf(z[i]) + 1e-30f) differ("norm", n, i);
  memcpy(y, x, 4 * n), memcpy(z, x, 4 * n);
  silu_row(y, w, n), silu_row_ref(z, w, n);
  for (int i = 0; i < n; i++)
    if (fabsf(y[i] - z[i]) > 1e-6f * fabsf(z[i]) + 1e-30f) differ("silu", n, i);
  rows_ += 3;
  int32_t ids[4];
  int count = 1 + below(4);
  Tensor some = t;
  some.rows = count, some.data = W(memory((size_t)tensor_bytes(&some)));
  for (int i = 0; i < count; i++) ids[i] = below(rows);
  if (gather_rows(&t, ids, count, &some)) differ("gather_rows: status", 0, 0);
  float *from = memory<float>(4 * cols), *to = memory<float>(4 * cols);
  for (int i = 0; i < count; i++) {
    tensor_row(&t, ids[i], from), tensor_row(&some, i, to);
    if (!same(from, to, cols)) differ("gather", i, t.kind);
  }
  ids[0] = rows;
  if (gather_rows(&t, ids, count, &some) != kBadArgument) differ("gather_rows: check", 0, 0);
  gathers++;
  drop();
}

// The GPTQ packer beside what it is defined to give: d * code + half(-d * zero).
static void gptq() {
  int rows = 8 * (1 + below(6)), group = 32 << below(3), groups = 1 + below(3), cols = group * groups, words = cols / 8;
  Tensor t{kInt4Min, rows, cols, 32, {}};
  t.data = W(memory((size_t)tensor_bytes(&t)));
  uint32_t* q = memory<uint32_t>(4ull * words * rows, true);
  uint16_t* scales = memory<uint16_t>(2ull * groups * rows);
  for (int i = 0; i < groups * rows; i++) scales[i] = 0x2000 | below(0x400) | below(2) << 15;
  uint32_t* zeros = below(3) ? memory<uint32_t>(4ull * groups * (rows / 8), true) : nullptr;
  int plus = below(2);
  for (int at = 0; at < words;) {
    int count = 4 * (1 + below((words - at) / 4));
    uint32_t* part = memory<uint32_t>(4ull * count * rows);  // exactly what is read
    memcpy(part, q + (size_t)at * rows, 4ull * count * rows);
    if (pack_words(&t, part, at, count, scales, zeros, group, plus)) differ("pack_words: status", at, count);
    at += count;
  }
  float* row = memory<float>(4 * cols);
  for (int r = 0; r < rows; r++) {
    tensor_row(&t, r, row);
    for (int k = 0; k < cols; k++) {
      int g = k / group, code = q[(size_t)(k / 8) * rows + r] >> 4 * (k % 8) & 15;
      int zero = zeros ? ((zeros[(size_t)g * (rows / 8) + r / 8] >> 4 * (r % 8) & 15) + plus) & 15 : 8;
      float d = half_to_float(scales[g * rows + r]), want = d * (float)code + half_to_float(float_to_half(-d * (float)zero));
      if (fabsf(row[k] - want) > 1e-6f * (fabsf(want) + 16 * fabsf(d))) differ("gptq", r, k);
    }
  }
  if (pack_words(&t, q, words, 4, scales, zeros, group, plus) != kBadArgument) differ("pack_words: check", 0, 0);
  gptqs++;
  drop();
}

// Adapters of drawn ranks for some linears of a model, two of them in a set; memory of exact size, as everything here.
static LoraSet* adapters(const Model& m) {
  const int types[] = {0, 1, 30}, q = m.heads * m.head_dim, k = m.kv_heads * m.head_dim, h = m.hidden, inner = m.intermediate;
  const int outs[] = {q, k, k, h, inner, inner, h}, ins[] = {h, h, h, q, h, h, inner};
  LoraSet* set = memory<LoraSet>(sizeof(LoraSet));
  LoraUse* uses = memory<LoraUse>(2 * sizeof(LoraUse));
  set->count = 2, set->uses = W(uses);
  for (int i = 0; i < 2; i++) {
    LoraLayer* layers = memory<LoraLayer>(sizeof(LoraLayer) * m.layers);
    uses[i].layers = W(layers), uses[i].scale = (float)(below(9) - 4) / 4.f;
    int width = 0;
    for (int l = 0; l < m.layers; l++) {
      int own[7] = {};
      for (int w = 0; w < 7; w++) {
        if (below(4) == 0) continue;
        int rank = 1 + below(20), padded = (rank + 3) / 4 * 4;
        own[w] = padded;
        auto part = [&](int rows, int filled, int cols) {
          int type = types[below(3)], bytes = file_block_bytes(type);
          Tensor t{packed_kind(type), rows, cols, 4, {}};
          t.data = W(memory((size_t)tensor_bytes(&t)));
          uint8_t* raw = memory((size_t)bytes * filled * cols);
          for (int n = 0; n < filled * cols; n++) {
            float v = (float)(below(201) - 100) / 1000.f;
            uint32_t bits;
            memcpy(&bits, &v, 4);
            uint16_t half = type == 30 ? (uint16_t)(bits >> 16) : float_to_half(v);
            memcpy(raw + (size_t)n * bytes, type == 0 ? (void*)&v : (void*)&half, bytes);
          }
          if (pack_rows(&t, type, raw, 0, filled, 0)) abort();
          return t;
        };
        layers[l].of[w] = {part(padded, rank, ins[w]), part(outs[w], outs[w], rank), (float)(1 + below(4)) / 2.f, 0};
      }
      const int groups[] = {own[0] + own[1] + own[2], own[3], own[4] + own[5], own[6]};
      for (int g : groups) width = g > width ? g : width;
    }
    set->width += width;
  }
  return set;
}

static void forwards_() {
  Drawn d = model();
  Model& m = d.m;
  LoraSet* set = below(2) ? adapters(m) : nullptr;
  int capacity = 64 * (1 + below(5)), most = 1 + below(40), logitRows = 1 + below(5);
  // The same text in two caches: one computed on all lanes, one on a lane alone.
  Sequence* s[2];
  Batch b[2];
  Row* rows[2];
  for (int i = 0; i < 2; i++) {
    s[i] = memory<Sequence>(sizeof(Sequence));
    s[i]->data = W(memory((size_t)kv_bytes(&m, capacity))), s[i]->capacity = capacity, s[i]->lora = W(set);
    b[i] = {}, b[i].capacity = most, b[i].lanes = i ? 1 : lanes, b[i].logit_capacity = logitRows;
    if (set) b[i].lora_width = set->width, b[i].lora = W(memory(4ull * most * set->width));
    b[i].scratch = W(memory((size_t)scratch_bytes(&m, most, b[i].lanes, capacity)));
    b[i].logits = W(memory(4ull * logitRows * m.vocab));
    rows[i] = memory<Row>(sizeof(Row) * most), b[i].rows = W(rows[i]);
  }
  for (int at = 0, slid = 0; at < capacity;) {
    int n = 1 + below(most);
    if (n > capacity - at) n = capacity - at;
    bool tree = n > 1 && n <= 60 && below(4) == 0;
    int total = below(2) ? at + n : capacity;
    for (int i = 0; i < n; i++) {
      uint64_t mask = 1ull << (i & 63);
      for (int parent = i; tree && parent > 0;) parent = below(parent), mask |= 1ull << parent;
      Row r = {W(s[0]),
               below(m.vocab),
               at + i,
               at + i,
               tree ? at : at + i + 1,
               tree ? (uint32_t)mask : 0,
               tree ? (uint32_t)(mask >> 32) : 0,
               tree ? total : at + n,
               0};
      rows[0][i] = r, r.sequence = W(s[1]), rows[1][i] = r;
    }
    int32_t* pick = memory<int32_t>(4 * logitRows);
    int count = 1 + below(logitRows);
    if (count > n) count = n;
    for (int i = 0; i < count; i++) pick[i] = below(n);
    int status[2][2];
    for (int i = 0; i < 2; i++) {
      pool_start(i ? 1 : lanes);
      b[i].count = n;
      // What a step before left to a lane is nobody's business: not numbers for the one, zeros for the other.
      Scratch own = plan_scratch(m, b[i].scratch.at, most, b[i].lanes, capacity);
      memset(own.lane, i ? 0 : 0xff, own.lane_floats * 4 * b[i].lanes);
      status[i][0] = forward(&m, &b[i], capacity, 0, m.layers);
      status[i][1] = status[i][0] ? 0 : head(&m, &b[i], capacity, pick, count);
    }
    pool_start(lanes);
    forwards++, heads++, adapted += set != nullptr, traited += d.traits;
    if (memcmp(status[0], status[1], sizeof status[0])) differ("status on lanes", status[0][0], status[1][0]);
    if (status[0][0] || status[0][1]) break;  // weights drawn wild are refused
    // A value that is no number spoils the rows that are taken together with its own, and lanes take others together.
    if (!d.wild && !same((float*)b[0].logits, (float*)b[1].logits, (size_t)count * m.vocab)) differ("logits on lanes", n, count);
    // Arguments that a caller can get wrong.
    Row kept = rows[0][0];
    const int bad[] = {-1, 1 << 30};
    for (int v : bad) {
      rows[0][0].token = v;
      if (forward(&m, &b[0], capacity, 0, 0) != kBadArgument) differ("forward: token", v, 0);
      rows[0][0] = kept, rows[0][0].slot = v;
      if (forward(&m, &b[0], capacity, 0, 0) != kBadArgument) differ("forward: slot", v, 0);
      rows[0][0] = kept, rows[0][0].base = v;
      if (forward(&m, &b[0], capacity, 0, 0) != kBadArgument) differ("forward: base", v, 0);
      rows[0][0] = kept;
    }
    if (set && set->width > 0) {
      b[0].lora_width--;
      if (forward(&m, &b[0], capacity, 0, 0) != kBadArgument) differ("forward: adapters' width", b[0].lora_width, 0);
      b[0].lora_width++;
    }
    at += n;
    // Texts whose layers keep a ring of slots, or turn by their length, are computed anew instead.
    if (m.rings || m.rope_original) continue;
    if (at > 70 && slid < 20 && below(10) == 0) {
      int from = 1 + below(at - 1), to = below(from);
      for (int i = 0; i < 2; i++) kv_slide(&m, s[i], from, to, at - from);
      at = to + (at - from), slides++, slid++;
    }
    if (below(9) == 0) {
      int a = below(at), c = below(at), n2 = at - (a > c ? a : c);
      for (int i = 0; i < 2; i++) kv_move(&m, s[i], a, s[i], c, n2);
      moves++;
    }
  }
  drop();
}

static void draft() {
  Drawn d = model(true);
  DraftHead h{};
  h.m = d.m, h.m.layers = 1, h.m.sparse = {}, h.version = 2 + below(2);
  int hidden = h.m.hidden, eagle3 = h.version == 3;
  h.fc_inputs = (eagle3 ? 3 : 2) * hidden;
  auto floatType = [] {
    const int types[] = {0, 1, 30};
    return types[below(3)];
  };
  h.fc = weight(floatType(), hidden, h.fc_inputs, 0, false);
  if (!eagle3 && below(2)) h.bias = W(floats(hidden, 8));
  if (eagle3 || below(2)) h.embed_norm = W(ones(hidden)), h.hidden_norm = W(ones(hidden));
  if (!eagle3) h.m.norm = {0};
  if (eagle3) {
    Layer& l = *(Layer*)h.m.layer;
    int qd = h.m.heads * h.m.head_dim, kd = h.m.kv_heads * h.m.head_dim;
    l.q = weight(floatType(), qd, 2 * hidden, 0, false), l.k = weight(floatType(), kd, 2 * hidden, 0, false),
    l.v = weight(floatType(), kd, 2 * hidden, 0, false);
  }
  int capacity = 64, most = 1 + below(12), logitRows = 1 + below(3);
  Sequence* s[2];
  DraftBatch b[2];
  int width = eagle3 ? h.fc_inputs : hidden;
  for (int i = 0; i < 2; i++) {
    s[i] = memory<Sequence>(sizeof(Sequence));
    s[i]->data = W(memory((size_t)kv_bytes(&h.m, capacity))), s[i]->capacity = capacity;
    b[i] = {}, b[i].capacity = most, b[i].lanes = i ? 1 : lanes, b[i].logit_capacity = logitRows;
    b[i].rows = W(memory(sizeof(Row) * most)), b[i].first = W(memory(4 * most)), b[i].out = W(memory(4ull * most * hidden));
    b[i].scratch = W(memory((size_t)draft_scratch_bytes(&h, most, b[i].lanes))),
    b[i].logits = W(memory(4ull * logitRows * h.m.head.rows));
  }
  for (int at = 0; at < 40;) {
    int n = 1 + below(most);
    bool target = !eagle3 || below(2);
    float* in = floats((size_t)n * (target ? width : hidden), 100);
    int32_t* pick = memory<int32_t>(4 * logitRows);
    int count = 1 + below(logitRows);
    if (count > n) count = n;
    for (int i = 0; i < count; i++) pick[i] = below(n);
    std::vector<int> tokens;
    for (int i = 0; i < n; i++) tokens.push_back(below(h.m.vocab));
    for (int i = 0; i < 2; i++) {
      Row* rows = (Row*)b[i].rows;
      for (int r = 0; r < n; r++)
        rows[r] = {W(s[i]), tokens[r], at + r, at + r, at + r + 1, 0, 0, at + n, 0}, ((int32_t*)b[i].first)[r] = 0;
      b[i].count = n, b[i].hidden = W(in), b[i].from_target = target;
      pool_start(i ? 1 : lanes);
      if (draft_forward(&h, &b[i])) differ("draft_forward: status", h.version, n);
      if (draft_logits(&h, &b[i], pick, count)) differ("draft_logits: status", h.version, n);
    }
    pool_start(lanes);
    if (!same((float*)b[0].out, (float*)b[1].out, (size_t)n * hidden)) differ("draft states on lanes", h.version, n);
    if (!same((float*)b[0].logits, (float*)b[1].logits, (size_t)count * h.m.head.rows))
      differ("draft logits on lanes", h.version, n);
    ((int32_t*)b[0].first)[0] = at + 1;
    if (draft_forward(&h, &b[0]) != kBadArgument) differ("draft_forward: first", 0, 0);
    at += n, drafts++;
  }
  drop();
}

// Claims that halve: every item once; of a part first the half, never more, and no less than the least but at its end; a lane alone takes all.
struct Claimed {
  int count, most, least, *taken;
  int claims = 0, wrong = 0;
  int half(int left) const {
    int some = 1;
    while (4 * some <= left) some *= 2;
    return some > most ? most : some > least ? some : least;
  }
  bool fits(int begin, int end) const {
    if (lanes == 1) return begin == 0 && end == count;
    int owner = 0;
    while ((int64_t)count * (owner + 1) / lanes <= begin) owner++;
    int first = (int64_t)count * owner / lanes, last = (int64_t)count * (owner + 1) / lanes, all = last - first;
    if (begin == first) return end - begin == (half(all) < all ? half(all) : all);
    return end <= last && end - begin <= half(all) && (end == last || end - begin >= least);
  }
};
static void claim_all(void* arg, Lane& lane) {
  Claimed& c = *(Claimed*)arg;
  for (int i, end; pool_claim_halves(lane, c.count, c.most, c.least, &i, &end);) {
    __atomic_fetch_add(&c.claims, 1, __ATOMIC_RELAXED);
    if (!c.fits(i, end)) __atomic_fetch_add(&c.wrong, 1, __ATOMIC_RELAXED);
    for (; i < end; i++) __atomic_fetch_add(c.taken + i, 1, __ATOMIC_RELAXED);
  }
  pool_barrier(lane);
}
static void claims() {
  int count = 1 + below(900), least = 1 + below(8), most = least * (1 + below(64));
  Claimed c = {count, most, least, memory<int>(4ull * count)};
  memset(c.taken, 0, count * sizeof(int));
  if (pool_run(claim_all, &c)) differ("pool_run: status", count, most);
  for (int i = 0; i < count; i++)
    if (c.taken[i] != 1) differ("items claimed once", i, c.taken[i]);
  if (c.wrong) differ("claims that halve", c.claims, c.wrong);
  claimed++;
  drop();
}

// Streams of panels: all that are taken are there, and those that can lie whole pages apart do.
static void streams() {
  const Tensor cases[] = {{kTernary, 1024, 1024, 256, 0}, {kTernary, 256, 4096, 256, 0}, {kInt4, 1024, 1024, 32, 0}};
  const int want[][2] = {{4, 31}, {2, 16}, {4, 32}};
  int each;
  for (int i = 0; i < 3; i++)
    if (streams_of(cases[i], cases[i].rows / 8, &each) != want[i][0] || each != want[i][1]) differ("streams", i, each);
  const int kinds[] = {kInt4, kInt4Min, kInt6, kInt8, kInt8Min, kTernary};
  for (int count = 1; count < 700; count++) {
    Tensor w = {kinds[below(6)], 8 * count, 256 * (1 + below(20)), 256, 0};
    int some = streams_of(w, count, &each);
    if ((some != 1 && some != 2 && some != 4) || each < 1 || some * each > count) differ("streams of panels", count, each);
    if (count > 1 && some == 1) differ("one stream of several panels", count, w.cols);
  }
}

int main(int, char** argv) {
  int rounds = atoi(argv[1]);
  seed(strtoull(argv[2], nullptr, 10));
  lanes = atoi(argv[3]);
  std::vector<std::thread> others;
  pool_start(lanes);
  for (int i = 1; i < lanes; i++) others.emplace_back([i] { pool_worker(i); });
  for (int i = 0; i < rounds; i++) {
    for (int j = 0; j < 6; j++) kernels();
    claims(), streams(), gptq(), forwards_(), draft(), boundary(), bounds++;
  }
  printf(
      "lanes %d: boundaries %ld packs %ld products %ld rows %ld gathers %ld gptq %ld forwards %ld adapted %ld traits %ld heads "
      "%ld slides %ld "
      "moves %ld drafts %ld claims %ld\n",
      lanes, bounds, packs, products, rows_, gathers, gptqs, forwards, adapted, traited, heads, slides, moves, drafts, claimed);
  pool_fail();  // ends the other lanes
  for (std::thread& t : others) t.join();
}
