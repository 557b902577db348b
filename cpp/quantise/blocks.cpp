#include "blocks.h"

int block_cols(int type) {
  switch (type) {
    case kF32Type:
    case kF16Type:
    case kBF16Type: return 1;
    case kQ4_0:
    case kQ4_1:
    case kQ8_0: return 32;
    case kQ4_K:
    case kQ5_K:
    case kQ6_K:
    case kTQ1_0:
    case kTQ2_0: return 256;
    default: return 0;
  }
}

int block_bytes_of(int type) {
  switch (type) {
    case kF32Type: return 4;
    case kF16Type:
    case kBF16Type: return 2;
    case kQ4_0: return 18;
    case kQ4_1: return 20;
    case kQ8_0: return 34;
    case kQ4_K: return 144;
    case kQ5_K: return 176;
    case kQ6_K: return 210;
    case kTQ1_0: return 54;
    case kTQ2_0: return 66;
    default: return 0;
  }
}

int grid_group(int type) {
  switch (type) {
    case kQ4_0:
    case kQ4_1:
    case kQ4_K:
    case kQ5_K: return 32;
    case kQ6_K: return 16;
    case kTQ1_0:
    case kTQ2_0: return 256;
    default: return 0;
  }
}

int grid_top(int type) {
  switch (type) {
    case kQ4_0:
    case kQ4_1:
    case kQ4_K: return 15;
    case kQ5_K: return 31;
    case kQ6_K: return 63;
    default: return 2;
  }
}

static double half_of(const uint8_t* p) {
  uint16_t h;
  __builtin_memcpy(&h, p, 2);
  return half_value(h);
}

void block_grid(int type, const uint8_t* b, double* scales, double* zeros) {
  switch (type) {
    case kQ4_0: scales[0] = half_of(b), zeros[0] = 8; return;
    case kQ4_1: scales[0] = half_of(b), zeros[0] = scales[0] != 0 ? -half_of(b + 2) / scales[0] : 0; return;
    case kQ4_K:
    case kQ5_K: {
      const uint8_t* s = b + 4;
      for (int j = 0; j < 8; j++) {
        int sc = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4,
            m = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
        scales[j] = half_of(b) * sc, zeros[j] = scales[j] > 0 ? half_of(b + 2) * m / scales[j] : 0;
      }
      return;
    }
    case kQ6_K:
      for (int j = 0; j < 16; j++) scales[j] = half_of(b + 208) * (int8_t)b[192 + j], zeros[j] = 32;
      return;
    default: scales[0] = half_of(b + (type == kTQ1_0 ? 52 : 64)), zeros[0] = 1;
  }
}

static void put_trits(const uint8_t* t, uint8_t* b) {
  static const int power[] = {81, 27, 9, 3, 1};
  auto pack = [&](int from, int step, int count, int m) {
    int v = 0;
    for (int n = 0; n < count; n++) v += t[from + n * step + m] * power[n];
    return (uint8_t)((v * 256 + 242) / 243);
  };
  for (int m = 0; m < 32; m++) b[m] = pack(0, 32, 5, m);
  for (int m = 0; m < 16; m++) b[32 + m] = pack(160, 16, 5, m);
  for (int m = 0; m < 4; m++) b[48 + m] = pack(240, 4, 4, m);
}

void put_codes(int type, const uint8_t* q, uint8_t* b) {
  switch (type) {
    case kQ4_0:
    case kQ4_1: {
      uint8_t* to = b + (type == kQ4_0 ? 2 : 4);
      for (int i = 0; i < 16; i++) to[i] = (uint8_t)(q[i] | q[i + 16] << 4);
      return;
    }
    case kQ4_K:
    case kQ5_K: {
      bool five = type == kQ5_K;
      uint8_t *high = b + 16, *low = b + (five ? 48 : 16);
      if (five)
        for (int l = 0; l < 32; l++) high[l] = 0;
      for (int c = 0; c < 4; c++)
        for (int l = 0; l < 32; l++) {
          int a = q[64 * c + l], z = q[64 * c + 32 + l];
          low[32 * c + l] = (uint8_t)((a & 15) | (z & 15) << 4);
          if (five) high[l] |= (uint8_t)((a >> 4) << (2 * c) | (z >> 4) << (2 * c + 1));
        }
      return;
    }
    case kQ6_K:
      for (int n = 0; n < 2; n++)
        for (int l = 0; l < 32; l++) {
          const uint8_t* p = q + 128 * n + l;
          b[64 * n + l] = (uint8_t)((p[0] & 15) | (p[64] & 15) << 4);
          b[64 * n + 32 + l] = (uint8_t)((p[32] & 15) | (p[96] & 15) << 4);
          b[128 + 32 * n + l] = (uint8_t)(p[0] >> 4 | p[32] >> 4 << 2 | p[64] >> 4 << 4 | p[96] >> 4 << 6);
        }
      return;
    case kTQ1_0: put_trits(q, b); return;
    case kTQ2_0:
      for (int n = 0; n < 2; n++)
        for (int m = 0; m < 32; m++) {
          const uint8_t* p = q + 128 * n + m;
          b[32 * n + m] = (uint8_t)(p[0] | p[32] << 2 | p[64] << 4 | p[96] << 6);
        }
      return;
    default: return;
  }
}

void put_ternary(int type, const uint8_t* codes, double scale, uint8_t* b) {
  put_codes(type, codes, b);
  uint16_t h = double_to_half(scale);
  __builtin_memcpy(b + (type == kTQ1_0 ? 52 : 64), &h, 2);
}
