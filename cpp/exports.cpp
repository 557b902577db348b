// Every function of the boundary: check what a caller can get wrong, slice, call.
#include "abi.h"
#include "kernels/activate.h"
#include "kernels/attend.h"
#include "kernels/gather.h"
#include "kernels/gemm.h"
#include "kernels/norm.h"
#include "kernels/pack.h"
#include "kernels/peak.h"
#include "kernels/scalar.h"
#include "model/draft.h"
#include "model/forward.h"
#include "model/kv.h"
#include "model/slide.h"
#include "pool.h"

ABI(abi_version) int abi_version() { return kAbiVersion; }

// Sizes of the shared structs, so that the loader can refuse a module whose layout is not its own.
ABI(abi_bytes) int abi_bytes(int which) {
  const int sizes[] = {sizeof(Tensor),    sizeof(Layer),      sizeof(Model),     sizeof(Row),     sizeof(Sequence), sizeof(Batch),
                       sizeof(DraftHead), sizeof(DraftBatch), sizeof(LoraLayer), sizeof(LoraUse), sizeof(LoraSet)};
  return which >= 0 && which < 11 ? sizes[which] : 0;
}

ABI(packed_kind) int packed_kind_of(int type) { return file_block_bytes(type) ? packed_kind(type) : -1; }

ABI(tensor_bytes) double tensor_bytes(Ref<const Tensor> w) { return (double)panels(*w) * (double)panel_bytes(*w); }

// As doubles: what a long context needs may be more than 32 bits count.
ABI(kv_bytes) double kv_bytes(Ref<const Model> m, int capacity) { return (double)kv_bytes_of(*m, capacity); }

ABI(scratch_bytes) double scratch_bytes(Ref<const Model> m, int rows, int lanes, int context) {
  return (double)scratch_bytes_of(*m, rows, lanes, context);
}

// Radians per position for each pair of dimensions: theta^(-2i/dim) / factors[i] (factors may be null).
ABI(rope_frequencies) void rope_frequencies(Ref<double> out, int dim, double theta, Ref<const float> factors) {
  double log_theta = log_f64(theta);
  for (int i = 0; i < dim / 2; i++) out[i] = exp_f64(-2.0 * i / dim * log_theta) / (factors ? factors[i] : 1.0f);
}

namespace {

struct PackJob {
  Tensor w;
  int type, row, count, heads;
  const uint8_t* from;
  size_t row_bytes;
};

// GGUF stores the rows of a rotated head interleaved: file row 2i is i, 2i + 1 is i + dim / 2.
int unrotated(int row, int rows, int heads) {
  if (!heads) return row;
  int dim = rows / heads, r = row % dim;
  return row - r + (r & 1) * (dim / 2) + r / 2;
}

void pack_task(void* arg, Lane& lane) {
  const PackJob& job = *(const PackJob*)arg;
  for (int r, end; pool_claim(lane, job.count, pool_grain(job.count), &r, &end);)
    for (; r < end; r++) pack_row(job.w, unrotated(job.row + r, job.w.rows, job.heads), job.type, job.from + r * job.row_bytes);
}

struct GptqJob {
  Tensor w;
  const uint32_t* qweight;
  int first, count, group;
  const uint16_t* scales;
  const uint32_t* zeros;
  bool plus_one;
};

void gptq_task(void* arg, Lane& lane) {
  const GptqJob& j = *(const GptqJob*)arg;
  for (int begin, end; pool_claim(lane, j.w.rows, 64, &begin, &end);)
    pack_gptq(j.w, j.qweight, j.first, j.count, j.scales, j.zeros, j.group, j.plus_one, begin, end);
}

struct GemmJob {
  Tensor w;
  Inputs in;
  Output out;
};

void gemm_task(void* arg, Lane& lane) {
  const GemmJob& j = *(const GemmJob*)arg;
  for (int begin, end; pool_claim(lane, panels(j.w), pool_grain(panels(j.w)), &begin, &end);) gemm(j.w, j.in, j.out, begin, end);
}

}  // namespace

namespace {

struct PeakJob {
  const uint8_t* from;
  int pieces, rounds, sink;
};
constexpr size_t kPiece = 64 * 1024;

void peak_task(void* arg, Lane& lane) {
  PeakJob& j = *(PeakJob*)arg;
  unsigned sink = 0;
  for (int i, end; pool_claim(lane, j.pieces, j.from ? pool_grain(j.pieces) : 1, &i, &end);)
    sink += (unsigned)(j.from ? read_all(j.from + i * kPiece, (end - i) * kPiece) : dot_all(j.rounds));
  if (sink == 12345) j.sink = (int)sink;
}

}  // namespace

// Packs `count` file rows from `row` on; heads > 0: rows are rotated heads in GGUF order.
ABI(pack_rows) int pack_rows(Ref<const Tensor> w, int type, Ref<const uint8_t> from, int row, int count, int heads) {
  if (row < 0 || count < 0 || count > w->rows || row > w->rows - count) return kBadArgument;
  if (w->kind == kInt8 && is_float(packed_kind(type)) && w->cols % kBlock) return kBadArgument;
  PackJob job = {*w, type, row, count, heads, from, (size_t)w->cols / file_block(type) * file_block_bytes(type)};
  return pool_run(pack_task, &job);
}

ABI(pack_words)
int pack_words(Ref<const Tensor> w, Ref<const uint32_t> qweight, int first, int count, Ref<const uint16_t> scales,
               Ref<const uint32_t> zeros, int group, int plus_one) {
  if (first < 0 || count < 0 || first % 4 || count % 4 || ((int64_t)first + count) * 8 > w->cols) return kBadArgument;
  GptqJob job = {*w, qweight, first, count, group, scales, zeros, plus_one != 0};
  return pool_run(gptq_task, &job);
}

ABI(forward) int forward(Ref<const Model> m, Ref<const Batch> b, int context, int begin, int end) {
  if (b->count < 1 || b->count > b->capacity || begin < 0 || end > m->layers) return kBadArgument;
  const Row* rows = (const Row*)b->rows;
  for (int i = 0; i < b->count; i++) {
    const Sequence& s = *(const Sequence*)rows[i].sequence;
    if (rows[i].token < 0 || rows[i].token >= m->vocab || rows[i].slot < 0 || rows[i].slot >= s.capacity) return kBadArgument;
    if (rows[i].base < 0 || rows[i].base > s.capacity ||
        reach(rows[i].base, (uint64_t)rows[i].mask_high << 32 | rows[i].mask_low) > s.capacity)
      return kBadArgument;
    if (m->sparse.block && (rows[i].position < 0 || rows[i].position >= context || s.capacity > context)) return kBadArgument;
    if (s.lora && (!b->lora || ((const LoraSet*)s.lora)->width > b->lora_width)) return kBadArgument;
  }
  return forward_layers(*m, *b, context, begin, end);
}

// Blocks that the last layer's sparse rows attended to: (rows, kv heads, words), a count and then the blocks.
ABI(choices) double choices(Ref<const Model> m, Ref<const Batch> b, int context) {
  int words;
  return address(forward_choices(*m, *b, context, &words));
}
ABI(choice_words) int choice_words(Ref<const Model> m, Ref<const Batch> b, int context) {
  int words;
  return forward_choices(*m, *b, context, &words), words;
}

ABI(head) int head(Ref<const Model> m, Ref<const Batch> b, int context, Ref<const int32_t> picked, int count) {
  if (count < 1 || count > b->logit_capacity || count > b->capacity) return kBadArgument;
  for (int i = 0; i < count; i++)
    if (picked[i] < 0 || picked[i] >= b->count) return kBadArgument;
  return forward_head(*m, *b, context, picked, count);
}

// Copies slots [from, from + count) of a to [to, to + count) of b, in rising order.
ABI(kv_move) int kv_move(Ref<const Model> m, Ref<const Sequence> a, int from, Ref<Sequence> b, int to, int count) {
  if (from < 0 || to < 0 || count < 0 || from > a->capacity - count || to > b->capacity - count) return kBadArgument;
  for (int i = 0; i < count; i++) kv_copy_slot(*m, *a, from + i, *b, to + i);
  if (count && to < b->windowed) b->windowed = to;
  return kOk;
}

// Forgets slots [to, from): the `count` slots from `from` on move down to `to`, turned to their new positions.
ABI(kv_slide) int kv_slide(Ref<const Model> m, Ref<Sequence> s, int from, int to, int count) {
  if (to < 0 || from <= to || count < 0 || from > s->capacity - count || m->rings || m->rope_original) return kBadArgument;
  if (to < s->windowed) s->windowed = to;
  return kv_slide_slots(*m, *s, from, to, count);
}

// Copies rows ids[0 ... count) of a packed weight to rows 0 ... count of another of the same kind and columns, memory zero.
ABI(gather_rows) int gather_rows(Ref<const Tensor> from, Ref<const int32_t> ids, int count, Ref<const Tensor> to) {
  if (from->kind != to->kind || from->cols != to->cols || from->group != to->group || count < 0 || count > to->rows)
    return kBadArgument;
  for (int i = 0; i < count; i++)
    if (ids[i] < 0 || ids[i] >= from->rows) return kBadArgument;
  for (int i = 0; i < count; i++) gather_row(*from, ids[i], *to, i);
  return kOk;
}

ABI(draft_scratch_bytes) double draft_scratch_bytes(Ref<const DraftHead> head, int rows, int lanes) {
  return (double)draft_scratch_bytes_of(*head, rows, lanes);
}

ABI(draft_forward) int draft_forward(Ref<const DraftHead> head, Ref<const DraftBatch> b) {
  if (b->count < 1 || b->count > b->capacity) return kBadArgument;
  const Row* rows = (const Row*)b->rows;
  for (int i = 0; i < b->count; i++) {
    const Sequence& s = *(const Sequence*)rows[i].sequence;
    int first = ((const int32_t*)b->first)[i];
    if (rows[i].token < 0 || rows[i].token >= head->m.vocab || rows[i].slot < 0 || rows[i].slot >= s.capacity || first < 0 ||
        first > rows[i].slot)
      return kBadArgument;
    if (rows[i].base < 0 || rows[i].base > s.capacity ||
        reach(rows[i].base, (uint64_t)rows[i].mask_high << 32 | rows[i].mask_low) > s.capacity)
      return kBadArgument;
  }
  return draft_rows(*head, *b);
}

ABI(draft_logits) int draft_logits(Ref<const DraftHead> head, Ref<const DraftBatch> b, Ref<const int32_t> picked, int count) {
  if (count < 1 || count > b->logit_capacity || count > b->capacity) return kBadArgument;
  for (int i = 0; i < count; i++)
    if (picked[i] < 0 || picked[i] >= b->count) return kBadArgument;
  return draft_logits_of(*head, *b, picked, count);
}

ABI(draft_taps)
int draft_taps(Ref<const Model> m, Ref<const Batch> b, int context, Ref<const int32_t> picked, int count, Ref<float> out,
               int stride, int normed, float scale) {
  for (int i = 0; i < count; i++)
    if (picked[i] < 0 || picked[i] >= b->count) return kBadArgument;
  draft_taps_of(*m, *b, context, picked, count, out, stride, normed != 0, scale);
  return kOk;
}

// For profiles: one kind of operation (enum Phase) of layers [begin, end), or of the head where begin is the number of layers.
// Rows and numbers are as forward() and head() last checked them.
ABI(forward_phase) int forward_phase(Ref<const Model> m, Ref<const Batch> b, int context, int begin, int end, int phase) {
  if (b->count < 1 || b->count > b->capacity || begin < 0 || end > m->layers) return kBadArgument;
  int32_t first = 0;
  return begin < m->layers ? forward_layers(*m, *b, context, begin, end, phase) : forward_head(*m, *b, context, &first, 1, phase);
}

// How products with weights of a kind are computed from now on (enum Form): the bits stay.
ABI(choose_form) int choose_form(int kind, int form) { return use_form(kind, form) ? kOk : kBadArgument; }

// What is known of the machine: enum ByteDot, and 4 where plain_nan().
ABI(machine_traits) int machine_traits() { return byte_dot() + (plain_nan() ? 4 : 0); }

// What follows is for tests, benchmarks and probes: each kernel beside its definition.

static BlockCentre* centres_behind(BlockScale* scales, size_t blocks) { return (BlockCentre*)(scales + blocks); }

ABI(quantize_row) void quantize_row(Ref<const float> x, int cols, int block, Ref<int8_t> q, Ref<BlockScale> scales) {
  quantize(x, cols, block, q, scales, centres_behind(scales, cols / block));
}
ABI(quantize_row_ref) void quantize_row_ref(Ref<const float> x, int cols, int block, Ref<int8_t> q, Ref<BlockScale> scales) {
  quantize_ref(x, cols, block, q, scales, centres_behind(scales, cols / block));
}

// y (tokens, rows) for x (tokens, cols padded to 32); q and scales (centres behind them) are filled when the kind is an integer one.
ABI(gemm_rows)
int gemm_rows(Ref<const Tensor> w, Ref<const float> x, Ref<int8_t> q, Ref<BlockScale> scales, Ref<float> y, int tokens, int block,
              int repeat) {
  int stride = padded_cols(*w);
  size_t blocks = stride / block;
  BlockCentre* centres = centres_behind(scales, tokens * blocks);
  for (int t = 0; t < tokens && !is_float(w->kind); t++)
    quantize(x + (size_t)t * stride, stride, block, q + (size_t)t * stride, scales + t * blocks, centres + t * blocks);
  GemmJob job = {*w, {x, q, scales, centres, q, scales, tokens, stride, block}, {y, w->rows, 1, false}};
  for (; repeat > 0; repeat--)
    if (int status = pool_run(gemm_task, &job)) return status;
  return kOk;
}
ABI(gemm_rows_ref)
void gemm_rows_ref(Ref<const Tensor> w, Ref<const float> x, Ref<int8_t> q, Ref<BlockScale> scales, Ref<float> y, int tokens,
                   int block) {
  int stride = padded_cols(*w);
  size_t blocks = stride / block;
  BlockCentre* centres = centres_behind(scales, tokens * blocks);
  for (int t = 0; t < tokens && !is_float(w->kind); t++)
    quantize_ref(x + (size_t)t * stride, stride, block, q + (size_t)t * stride, scales + t * blocks, centres + t * blocks);
  Inputs in = {x, q, scales, centres, q, scales, tokens, stride, block};
  for (int t = 0; t < tokens; t++)
    for (int r = 0; r < w->rows; r++) y[(size_t)t * w->rows + r] = gemm_ref(*w, in, t, r);
}
ABI(tensor_row) void tensor_row(Ref<const Tensor> w, int row, Ref<float> out) { weight_row(*w, row, out); }
ABI(dequantize) void dequantize(int type, Ref<const uint8_t> from, int blocks, Ref<float> out) {
  for (int b = 0; b < blocks; b++)
    dequantize_block(type, from + (size_t)b * file_block_bytes(type), out + (size_t)b * file_block(type));
}
ABI(norm_row) void norm_row(Ref<const float> x, Ref<const float> w, Ref<float> y, int cols, float eps, float scale) {
  rms_norm(x, w, y, cols, eps, scale);
}
ABI(norm_row_ref) void norm_row_ref(Ref<const float> x, Ref<const float> w, Ref<float> y, int cols, float eps, float scale) {
  rms_norm_ref(x, w, y, cols, eps, scale);
}
ABI(silu_row) void silu_row(Ref<float> gate, Ref<const float> up, int cols) { silu_multiply(gate, up, cols); }
ABI(silu_row_ref) void silu_row_ref(Ref<float> gate, Ref<const float> up, int cols) { silu_multiply_ref(gate, up, cols); }
ABI(gelu_row) void gelu_row(Ref<float> gate, Ref<const float> up, int cols) { gelu_multiply(gate, up, cols); }
ABI(gelu_row_ref) void gelu_row_ref(Ref<float> gate, Ref<const float> up, int cols) { gelu_multiply_ref(gate, up, cols); }
ABI(cap_row) void cap_row(Ref<float> x, int count, float cap) { soft_cap(x, count, cap); }
ABI(cap_row_ref) void cap_row_ref(Ref<float> x, int count, float cap) { soft_cap_ref(x, count, cap); }
ABI(rope_row) void rope_row(Ref<const double> frequency, int position, float scale, Ref<float> table, int dim) {
  rope_angles(frequency, position, scale, table, dim);
}
ABI(kv_store)
void kv_store(Ref<const Model> m, Ref<const Sequence> s, int layer, int head, int slot, Ref<const float> key,
              Ref<const float> value) {
  kv_write(*m, *s, layer, head, slot, key, value);
}
ABI(attention)
int attention(Ref<const Model> m, Ref<const Batch> b, int context, int layer, Ref<const float> q, Ref<float> o, int parts) {
  return forward_attention(*m, *b, context, layer, q, o, parts);
}
// One compressed key as it is stored (window of `level` from slot `begin` on), or as defined; scratch: 32 * dim floats.
ABI(compress_row)
void compress_row(Ref<const Model> m, Ref<const Sequence> s, int layer, int head, int level, int begin, Ref<float> out,
                  Ref<float> scratch) {
  compress_window(m->kv_type, kv_tile(*m, *s, layer, head, 0, 0), m->head_dim, begin, window_size(m->sparse, level), out,
                  scratch);
}
ABI(compress_row_ref)
void compress_row_ref(Ref<const Model> m, Ref<const Sequence> s, int layer, int head, int level, int begin, Ref<float> out,
                      Ref<float> scratch) {
  compress_window_ref(m->kv_type, kv_tile(*m, *s, layer, head, 0, 0), m->head_dim, begin, window_size(m->sparse, level), out,
                      scratch);
}

// Peaks of this machine, on all lanes: reads pieces of 64 KiB; 60 * rounds dots in each of `pieces`.
ABI(peak_read) int peak_read(Ref<const uint8_t> from, int pieces, int repeat) {
  PeakJob job = {from, pieces, 0, 0};
  for (; repeat > 0; repeat--)
    if (int status = pool_run(peak_task, &job)) return status;
  return kOk;
}
ABI(peak_dot) int peak_dot(int pieces, int rounds) {
  PeakJob job = {nullptr, pieces, rounds, 0};
  return pool_run(peak_task, &job);
}
