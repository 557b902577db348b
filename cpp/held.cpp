// Constants of the inner loops: see held() in simd.h.
#include "simd.h"

static consteval uint32_t bits(float f) { return __builtin_bit_cast(uint32_t, f); }

const uint32_t held_bits[kHeld] = {
    0x000f000f, 0x00ff00ff, 0x0f0f0f0f, 0x03030303, 0x3f3f3f3f, 0x00010001, 0x8fffe000, bits(kTwo112), bits(kRound),
    // Exp: 1 / ln 2; -ln 2 in two parts; the polynomial; 1; what rounds to a whole number; the least argument.
    bits(1.44269504f), bits(-0.693359375f), bits(2.12194440e-4f), bits(1.3814602280e-3f), bits(8.3687156439e-3f),
    bits(4.1668388993e-2f), bits(1.6666521132e-1f), bits(4.9999994040e-1f), bits(1.0f), bits(kRound), bits(-87.3f), 0x0c0c0c0c,
    0x30303030, 0x7f7f7f7f, 0xffffffff};
