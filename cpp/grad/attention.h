#pragma once
#include "matmul.h"

// Numbers of scratch that a lane needs.
size_t attend_scratch(int dim);
