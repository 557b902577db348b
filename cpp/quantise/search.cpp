// Scales of GGUF blocks: see encode_block. One block at a time, everything in float64.
#include "blocks.h"

namespace {

const double kTiny = 1e-300;

void put_half(double x, uint8_t* at) {
  uint16_t h = double_to_half(x);
  __builtin_memcpy(at, &h, 2);
}

// Index of the first element of largest magnitude.
int largest(const double* x, int n) {
  int at = 0;
  for (int i = 1; i < n; i++)
    if (__builtin_fabs(x[i]) > __builtin_fabs(x[at])) at = i;
  return at;
}

double weight(const double* w, int i) { return w ? w[i] : 1.0; }

// ---- Q8_0 and the simple forms of Q4_0 and Q4_1: ggml's, in float32

void q8_0(const double* x, uint8_t* out) {
  float most = 0;
  for (int i = 0; i < 32; i++) {
    float a = __builtin_fabsf((float)x[i]);
    if (a > most) most = a;
  }
  float d = most / 127, inverse = d != 0 ? 1 / d : 0;
  uint16_t h = float_to_half(d);
  __builtin_memcpy(out, &h, 2);
  for (int i = 0; i < 32; i++) {
    float v = (float)x[i] * inverse, a = __builtin_floorf(__builtin_fabsf(v) + 0.5f);
    out[2 + i] = (uint8_t)(int8_t)(v < 0 ? -a : a);
  }
}

void q4_0_simple(const double* x, uint8_t* out) {
  float d = (float)x[largest(x, 32)] / -8, inverse = d != 0 ? 1 / d : 0;
  uint16_t h = float_to_half(d);
  __builtin_memcpy(out, &h, 2);
  uint8_t q[32];
  for (int i = 0; i < 32; i++) {
    float v = __builtin_truncf((float)x[i] * inverse + 8.5f);
    q[i] = (uint8_t)(v > 15 ? 15 : v);
  }
  put_codes(kQ4_0, q, out);
}

void q4_1_simple(const double* x, uint8_t* out) {
  float low = (float)x[0], high = low;
  for (int i = 1; i < 32; i++) {
    float v = (float)x[i];
    if (v < low) low = v;
    if (v > high) high = v;
  }
  float d = (high - low) / 15, inverse = d != 0 ? 1 / d : 0;
  uint16_t h[] = {float_to_half(d), float_to_half(low)};
  __builtin_memcpy(out, h, 4);
  uint8_t q[32];
  for (int i = 0; i < 32; i++) {
    float v = __builtin_truncf(((float)x[i] - low) * inverse + 0.5f);
    q[i] = (uint8_t)(v > 15 ? 15 : v);
  }
  put_codes(kQ4_1, q, out);
}

// ---- Q4_0: the signed scale of least error out of 122 starts, each refitted twice

// sum_of(32, f), two terms at a time: f(i) gives those of i and i + 1.
template <typename F>
double sum_pairs(F f) {
  double r[8];
  for (int c = 0; c < 8; c += 2) {
    v128_t sum = f(c);
    for (int i = 8; i < 32; i += 8) sum = wasm_f64x2_add(sum, f(c + i));
    wasm_v128_store(r + c, sum);
  }
  return ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
}

// 32 columns with their weights, and the codes that a scale gives them.
struct SignedFit {
  double x[32], w[32], wx[32], q[32];

  static v128_t at(const double* p) { return wasm_v128_load(p); }

  void choose(double d) {
    const v128_t step = wasm_f64x2_splat(d), half = wasm_f64x2_const_splat(0.5), low = wasm_f64x2_const_splat(-8),
                 high = wasm_f64x2_const_splat(7);
    for (int i = 0; i < 32; i += 2) {
      v128_t v = d != 0 ? wasm_f64x2_div(at(x + i), step) : wasm_f64x2_const_splat(0);
      wasm_v128_store(q + i, wasm_f64x2_pmin(wasm_f64x2_pmax(wasm_f64x2_floor(wasm_f64x2_add(v, half)), low), high));
    }
  }
  // The scale of least squares for the codes as they are.
  double refit() const {
    double den = sum_pairs([&](int i) { return wasm_f64x2_mul(wasm_f64x2_mul(at(w + i), at(q + i)), at(q + i)); });
    return to_half(den > 0 ? sum_pairs([&](int i) { return wasm_f64x2_mul(at(wx + i), at(q + i)); }) / den : 0);
  }
  double error(double d) const {
    const v128_t step = wasm_f64x2_splat(d);
    return sum_pairs([&](int i) {
      v128_t v = wasm_f64x2_sub(at(x + i), wasm_f64x2_mul(step, at(q + i)));
      return wasm_f64x2_mul(at(w + i), wasm_f64x2_mul(v, v));
    });
  }
};

void q4_0_search(const double* x, const double* w, uint8_t* out) {
  constexpr int kStarts = 122;
  SignedFit fit;
  for (int i = 0; i < 32; i++) fit.x[i] = x[i], fit.w[i] = weight(w, i), fit.wx[i] = fit.w[i] * x[i];
  double m = x[largest(x, 32)], scale = 0, tried[kStarts];
  double best = sum_pairs([&](int i) { return wasm_f64x2_mul(wasm_v128_load(fit.wx + i), wasm_v128_load(fit.x + i)); });
  int distinct = 0;
  uint8_t codes[32];
  for (int i = 0; i < 32; i++) codes[i] = 8;
  for (int start = 0; start < kStarts; start++) {
    double n = (start < 61 ? -1 : 1) * (6 + 0.05 * (start % 61));
    fit.choose(m / n);
    double d = fit.refit();
    // Many starts meet after their first refit, and go on as one.
    int known = 0;
    while (known < distinct && tried[known] != d) known++;
    if (known < distinct) continue;
    tried[distinct++] = d;
    fit.choose(d);
    double again = fit.refit();
    if (again != d) fit.choose(d = again);
    double e = fit.error(d);
    if (!(e < best)) continue;
    best = e, scale = d;
    for (int i = 0; i < 32; i++) codes[i] = (uint8_t)(fit.q[i] + 8);
  }
  put_half(scale, out);
  put_codes(kQ4_0, codes, out);
}

// ---- x = a q - b: the least-squares (a, b) of 32 columns out of 61 starts, each refitted twice

struct Line {
  double a, b, error;
};

// `positive`: b must not be negative (dmin of the K types is added with a sign of its own).
Line fit_line(const double* x, const double* w, int top, bool positive, bool search) {
  double low = positive ? 0 : x[0], high = x[0], q[32];
  for (int i = 0; i < 32; i++) {
    if (x[i] < low) low = x[i];
    if (x[i] > high) high = x[i];
  }
  double sw = sum_of(32, [&](int i) { return weight(w, i); }), sx = sum_of(32, [&](int i) { return weight(w, i) * x[i]; });
  Line best = {0, -low, sum_of(32, [&](int i) { return weight(w, i) * (x[i] - low) * (x[i] - low); })};
  if (!search) return {high > low ? (high - low) / top : 0, -low, 0};
  for (int start = 0; start < 61; start++) {
    double n = (14 + 0.05 * start) * top / 15, step = high > low ? n / (high - low) : 0, a = 0, b = 0;
    for (int i = 0; i < 32; i++) q[i] = clamped(rounded(step * (x[i] - low)), 0, top);
    for (int round = 0; round < 2; round++) {
      double sq = sum_of(32, [&](int i) { return weight(w, i) * q[i]; }),
             sqq = sum_of(32, [&](int i) { return weight(w, i) * q[i] * q[i]; });
      double sxq = sum_of(32, [&](int i) { return weight(w, i) * x[i] * q[i]; }), det = sw * sqq - sq * sq;
      bool ok = det > 1e-12 * sw * (sqq > kTiny ? sqq : kTiny);
      a = ok ? (sw * sxq - sx * sq) / det : 0;
      b = ok ? -((sqq * sx - sq * sxq) / det) : 0;
      if (positive && b < 0) a = sqq > 0 ? sxq / sqq : 0, b = 0;
      if (a < 0) a = 0;
      for (int i = 0; i < 32; i++) q[i] = clamped(rounded(a > 0 ? (x[i] + b) / a : 0), 0, top);
    }
    double e = sum_of(32, [&](int i) {
      double v = x[i] - a * q[i] + b;
      return weight(w, i) * (v * v);
    });
    if (e < best.error) best = {a, b, e};
  }
  return best;
}

void q4_1_search(const double* x, const double* w, uint8_t* out) {
  Line line = fit_line(x, w, 15, false, true);
  double d = to_half(line.a), m = to_half(-line.b);
  uint8_t codes[32];
  for (int i = 0; i < 32; i++) codes[i] = (uint8_t)clamped(rounded(d > 0 ? (x[i] - m) / d : 0), 0, 15);
  put_half(d, out), put_half(m, out + 2);
  put_codes(kQ4_1, codes, out);
}

// ---- Q4_K, Q5_K: eight lines whose a and b are 6-bit multiples of d and dmin

struct Affine {
  double q[256], d, dm, sc[8], m[8];
};

// Codes and error of one line with these scales.
double choose_line(const double* x, const double* w, int top, double a, double b, double* q) {
  for (int i = 0; i < 32; i++) q[i] = clamped(rounded(a > 0 ? (x[i] + b) / a : 0), 0, top);
  return sum_of(32, [&](int i) {
    double v = x[i] - a * q[i] + b;
    return weight(w, i) * (v * v);
  });
}

void refine_affine(const double* x, const double* w, Affine& f) {
  double uu = 0, vv = 0, uv = 0, xu = 0, xv = 0;
  for (int j = 0; j < 8; j++) {
    double v = f.m[j];
    for (int i = 32 * j; i < 32 * j + 32; i++) {
      double u = f.sc[j] * f.q[i], k = weight(w, i);
      uu += k * u * u, vv += k * v * v, uv += k * u * v, xu += k * x[i] * u, xv += k * x[i] * v;
    }
  }
  double det = uu * vv - uv * uv;
  bool ok = det > 1e-12 * (uu * vv > kTiny ? uu * vv : kTiny);
  double d = ok ? (xu * vv - xv * uv) / det : uu > 0 ? xu / uu : 0, dm = ok ? (xu * uv - xv * uu) / det : 0;
  f.d = to_half(d > 0 ? d : 0), f.dm = to_half(dm > 0 ? dm : 0);
}

void k_affine(int type, const double* x, const double* w, bool search, uint8_t* out) {
  int top = grid_top(type);
  Line line[8];
  Affine f, keep;
  double a = 0, b = 0, score = 0;
  for (int j = 0; j < 8; j++) {
    line[j] = fit_line(x + 32 * j, w ? w + 32 * j : nullptr, top, true, search);
    if (line[j].a > a) a = line[j].a;
    if (line[j].b > b) b = line[j].b;
  }
  f.d = to_half(a / 63), f.dm = to_half(b / 63);
  for (int j = 0; j < 8; j++) {
    f.sc[j] = clamped(rounded(f.d > 0 ? line[j].a / f.d : 0), 0, 63),
    f.m[j] = clamped(rounded(f.dm > 0 ? line[j].b / f.dm : 0), 0, 63);
    score += choose_line(x + 32 * j, w ? w + 32 * j : nullptr, top, f.d * f.sc[j], f.dm * f.m[j], f.q + 32 * j);
  }
  keep = f;
  for (int round = 0; round < (search ? 6 : 0); round++) {
    refine_affine(x, w, f);
    double total = 0;
    for (int j = 0; j < 8; j++) {
      double least = __builtin_inf(), sc = f.sc[j], m = f.m[j], q[32];
      for (int c = -1; c <= 1; c++)
        for (int n = -1; n <= 1; n++) {
          double s = clamped(sc + c, 0, 63), t = clamped(m + n, 0, 63);
          double e = choose_line(x + 32 * j, w ? w + 32 * j : nullptr, top, f.d * s, f.dm * t, q);
          if (!(e < least)) continue;
          least = e, f.sc[j] = s, f.m[j] = t;
          __builtin_memcpy(f.q + 32 * j, q, sizeof q);
        }
      total += least;
    }
    if (total < score) score = total, keep = f;
  }
  put_half(keep.d, out), put_half(keep.dm, out + 2);
  uint8_t codes[256], *s = out + 4;
  for (int i = 0; i < 256; i++) codes[i] = (uint8_t)keep.q[i];
  for (int j = 0; j < 4; j++) {
    int s0 = (int)keep.sc[j], s4 = (int)keep.sc[j + 4], m0 = (int)keep.m[j], m4 = (int)keep.m[j + 4];
    s[j] = (uint8_t)(s0 | s4 >> 4 << 6), s[j + 4] = (uint8_t)(m0 | m4 >> 4 << 6),
    s[j + 8] = (uint8_t)((s4 & 15) | (m4 & 15) << 4);
  }
  put_codes(type, codes, out);
}

// ---- Q6_K: sixteen scales that are int8 multiples of d

double choose_scale(const double* x, const double* w, double a, double* q) {
  for (int i = 0; i < 16; i++) q[i] = clamped(rounded(a != 0 ? x[i] / a : 0), -32, 31);
  return sum_of(16, [&](int i) {
    double v = x[i] - a * q[i];
    return weight(w, i) * (v * v);
  });
}

double fit_scale(const double* x, const double* w, bool search) {
  double m = x[largest(x, 16)], a = 0, q[16], best = sum_of(16, [&](int i) { return weight(w, i) * x[i] * x[i]; });
  if (!search) return m / -32;
  for (int start = 0; start < 34; start++) {
    choose_scale(x, w, m / ((start < 17 ? -1 : 1) * (30 + 0.25 * (start % 17))), q);
    double den = sum_of(16, [&](int i) { return weight(w, i) * q[i] * q[i]; });
    double fit = den > 0 ? sum_of(16, [&](int i) { return weight(w, i) * x[i] * q[i]; }) / den : 0;
    double e = sum_of(16, [&](int i) {
      double v = x[i] - fit * q[i];
      return weight(w, i) * (v * v);
    });
    if (e < best) best = e, a = fit;
  }
  return a;
}

void q6_k(const double* x, const double* w, bool search, uint8_t* out) {
  double a[16], sc[16], q[256], kept[256], kept_sc[16], kept_d, score = 0;
  for (int j = 0; j < 16; j++) a[j] = fit_scale(x + 16 * j, w ? w + 16 * j : nullptr, search);
  double d = to_half(a[largest(a, 16)] / -128);
  for (int j = 0; j < 16; j++) {
    sc[j] = clamped(rounded(d != 0 ? a[j] / d : 0), -128, 127);
    score += choose_scale(x + 16 * j, w ? w + 16 * j : nullptr, d * sc[j], q + 16 * j);
  }
  __builtin_memcpy(kept, q, sizeof q), __builtin_memcpy(kept_sc, sc, sizeof sc), kept_d = d;
  for (int round = 0; round < (search ? 4 : 0); round++) {
    double uu = 0, xu = 0, total = 0;
    for (int i = 0; i < 256; i++) {
      double u = sc[i / 16] * q[i], k = weight(w, i);
      uu += k * u * u, xu += k * x[i] * u;
    }
    d = to_half(uu > 0 ? xu / uu : 0);
    for (int j = 0; j < 16; j++) {
      double least = __builtin_inf(), from = sc[j], trial[16];
      for (int c = -1; c <= 1; c++) {
        double s = clamped(from + c, -128, 127), e = choose_scale(x + 16 * j, w ? w + 16 * j : nullptr, d * s, trial);
        if (!(e < least)) continue;
        least = e, sc[j] = s;
        __builtin_memcpy(q + 16 * j, trial, sizeof trial);
      }
      total += least;
    }
    if (!(total < score)) continue;
    score = total, kept_d = d;
    __builtin_memcpy(kept, q, sizeof q), __builtin_memcpy(kept_sc, sc, sizeof sc);
  }
  uint8_t codes[256];
  for (int i = 0; i < 256; i++) codes[i] = (uint8_t)(kept[i] + 32);
  for (int j = 0; j < 16; j++) out[192 + j] = (uint8_t)(int8_t)kept_sc[j];
  put_half(kept_d, out + 208);
  put_codes(kQ6_K, codes, out);
}

}  // namespace

void encode_block(int type, const double* x, const double* w, Search search, uint8_t* out) {
  bool searched = search == kSearched;
  switch (type) {
    case kF32Type: {
      float f = (float)x[0];
      __builtin_memcpy(out, &f, 4);
      return;
    }
    case kF16Type: {
      uint16_t h = float_to_half((float)x[0]);
      __builtin_memcpy(out, &h, 2);
      return;
    }
    case kBF16Type: {
      uint32_t u = __builtin_bit_cast(uint32_t, (float)x[0]);
      uint16_t h = (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? u >> 16 | 64 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
      __builtin_memcpy(out, &h, 2);
      return;
    }
    case kQ8_0: return q8_0(x, out);
    case kQ4_0: return searched ? q4_0_search(x, w, out) : q4_0_simple(x, out);
    case kQ4_1: return searched ? q4_1_search(x, w, out) : q4_1_simple(x, out);
    case kQ4_K:
    case kQ5_K: return k_affine(type, x, w, searched, out);
    case kQ6_K: return q6_k(x, w, searched, out);
    default: return;
  }
}
