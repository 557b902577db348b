#pragma once
#include "../grad/grad.h"

constexpr int kSquaresOf = 4096;  // numbers whose squares one partial sum holds

void sum_squares(const Op& op, Lane& lane);
void adamw(const Op& op, Lane& lane);
void muon_moment(const Op& op, Lane& lane);
void muon_unit(const Op& op, Lane& lane);
void muon_apply(const Op& op, Lane& lane);
