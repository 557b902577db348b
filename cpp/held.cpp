// Constants of the inner loops: see held() in simd.h.
#include "simd.h"

const uint32_t held_bits[kHeld] = {0x0f0f0f0f, 0x03030303, 0x00010001, 0x8fffe000, 0x77800000};
