// The operations of a training step, each with its backward beside it. An operation takes a record (train/program.h) and a lane; all
// lanes call it together, and which lane computes what changes no bit: sums over rows are never split among lanes.
#pragma once
#include "../pool.h"
#include "../train/program.h"
#include "real.h"

void matmul(const Op& op, Lane& lane);  // grad/matmul.cpp
void matmul_ref(const Op& op, Lane& lane);

void norm_forward(const Op& op, Lane& lane);  // grad/norm.cpp
void norm_backward(const Op& op, Lane& lane);
void norm_weight(const Op& op, Lane& lane);
void column_sums(const Op& op, Lane& lane);

void rope_turn(const Op& op, Lane& lane);  // grad/rows.cpp
void swiglu_forward(const Op& op, Lane& lane);
void swiglu_backward(const Op& op, Lane& lane);
void swiglu_backward_ref(const Op& op, Lane& lane);
void embed_forward(const Op& op, Lane& lane);
void embed_backward(const Op& op, Lane& lane);
void combine(const Op& op, Lane& lane);
void broadcast(const Op& op, Lane& lane);
void fill_zero(const Op& op, Lane& lane);

void attend_forward(const Op& op, Lane& lane);  // grad/attention.cpp
void attend_forward_ref(const Op& op, Lane& lane);
void attend_backward(const Op& op, Lane& lane);
void attend_backward_ref(const Op& op, Lane& lane);

void drafted_forward(const Op& op, Lane& lane);  // grad/drafted.cpp
void drafted_backward(const Op& op, Lane& lane);

void compress_keys(const Op& op, Lane& lane);  // grad/select.cpp
void choose_blocks(const Op& op, Lane& lane);

void cross_entropy(const Op& op, Lane& lane);  // grad/loss.cpp
void cross_entropy_ref(const Op& op, Lane& lane);
void soft_cross_entropy(const Op& op, Lane& lane);
void smooth_l1(const Op& op, Lane& lane);

// log sum e^x; x becomes e^(x - max), and `sum` the sum of those.
double log_sum_exp(Real* x, int count, double* sum, const Exp& e);
double log_sum_exp_ref(const Real* x, int count);

void policy(const Op& op, Lane& lane);  // grad/policy.cpp
void policy_ref(const Op& op, Lane& lane);

void ternary(const Op& op, Lane& lane);  // grad/ternary.cpp
