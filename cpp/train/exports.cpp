// The training module's boundary: programs of records, sizes that TypeScript plans with, and the machine's peak.
#include "../grad/attention.h"
#include "optimise.h"

ABI(train_abi_version) int train_abi_version() { return kTrainAbiVersion; }
ABI(train_real_bytes) int train_real_bytes() { return sizeof(Real); }
ABI(train_op_bytes) int train_op_bytes() { return sizeof(Op); }
// In numbers: shared scratch of a matrix product, and a lane's own share of it and of attention.
ABI(matmul_scratch) int matmul_scratch(int lanes) { return (int)(packed_b() + (size_t)lanes * kRowsMost * kDepth); }
ABI(attention_scratch) int attention_scratch(int dim, int lanes) { return (int)(attend_scratch(dim) * lanes); }

namespace {

typedef void (*Operation)(const Op&, Lane&);

constexpr Operation operations[kCodes] = {matmul,        norm_forward,   norm_backward,   norm_weight,        column_sums,
                                          rope_turn,     swiglu_forward, swiglu_backward, embed_forward,      embed_backward,
                                          combine,       broadcast,      fill_zero,       attend_forward,     attend_backward,
                                          compress_keys, choose_blocks,  cross_entropy,   soft_cross_entropy, smooth_l1,
                                          ternary,       sum_squares,    adamw,           muon_moment,        muon_unit,
                                          muon_apply,    policy,         drafted_forward, drafted_backward};

Operation definition(int code) {
  switch (code) {
    case kMatmul: return matmul_ref;
    case kSwigluBackward: return swiglu_backward_ref;
    case kAttendForward: return attend_forward_ref;
    case kAttendBackward: return attend_backward_ref;
    case kCrossEntropy: return cross_entropy_ref;
    case kPolicy: return policy_ref;
    default: return nullptr;
  }
}

struct Program {
  const Op* ops;
  int count;
};

void run_all(void* arg, Lane& lane) {
  const Program& p = *(const Program*)arg;
  for (int i = 0; i < p.count; i++) {
    const Op& op = p.ops[i];
    (op.code < kReference ? operations[op.code] : definition(op.code - kReference))(op, lane);
    pool_barrier(lane);
  }
}

struct Peak {
  int rounds;
  double sink;
};

// 12 chains of multiply-adds in registers.
void peak(void* arg, Lane& lane) {
  Peak& p = *(Peak*)arg;
  v128_t acc[12], x = vsplat((Real)0.999999), y = vsplat((Real)1e-7);
  for (int i = 0; i < 12; i++) acc[i] = vsplat((Real)(i + 1 + lane.index));
  for (int r = 0; r < p.rounds; r++)
    for (int i = 0; i < 12; i++) acc[i] = vmadd(acc[i], x, y);
  for (int i = 1; i < 12; i++) acc[0] = vadd(acc[0], acc[i]);
  Real out[kWide];
  vstore(out, acc[0]);
  if (out[0] == (Real)12345.678) p.sink = out[0];
}

}  // namespace

// Runs `count` records. kBadArgument: an unknown code.
ABI(train_run) int train_run(Ref<const Op> ops, int count) {
  for (int i = 0; i < count; i++) {
    int code = ops[i].code;
    if (code < 0 || (code >= kCodes && code < kReference) || (code >= kReference && !definition(code - kReference)))
      return kBadArgument;
  }
  Program p = {ops, count};
  return pool_run(run_all, &p);
}

// rounds * 24 * vector width multiply-adds count as operations on every lane (a multiply and an add each).
ABI(train_peak) int train_peak(int rounds) {
  Peak p = {rounds, 0};
  return pool_run(peak, &p);
}
