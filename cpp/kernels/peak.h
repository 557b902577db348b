// What this machine can do at best, for judging kernels: bytes read and dot products from registers.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Reads `bytes` (a multiple of 256) once; the answer only keeps the reads alive.
int read_all(const uint8_t* from, size_t bytes);

// 60 * rounds dots of 16 int8 products (32 operations each) with their additions, in the form that int4 has, registers only.
int dot_all(int rounds);
