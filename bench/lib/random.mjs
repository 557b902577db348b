// Random blocks of the GGML types that the synthetic models use: codes and scales are drawn, nothing is quantised.
// Draws are uniform bits of xoshiro128++, so that a file is the same on every machine for the same seed.

/** A generator over a seed; `fill(words)` writes 32 random bits into each element. */
export function generator(seed) {
  const state = new Uint32Array(4);
  let x = seed >>> 0;
  for (let i = 0; i < 4; i++) {
    // splitmix32 spreads the seed over the state.
    x = (x + 0x9e3779b9) >>> 0;
    let z = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    state[i] = z ^ (z >>> 15);
  }
  return {
    fill(words) {
      let [a, b, c, d] = state;
      for (let i = 0; i < words.length; i++) {
        const sum = (a + d) | 0;
        words[i] = ((sum << 7) | (sum >>> 25)) + a;
        const t = b << 9;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= t;
        d = (d << 11) | (d >>> 21);
      }
      state.set([a, b, c, d]);
    },
  };
}

const bits = new DataView(new ArrayBuffer(4));

/** float32 -> IEEE half, rounded to nearest even (finite values only). */
export function half(value) {
  bits.setFloat32(0, value);
  const u = bits.getUint32(0);
  const sign = (u >>> 16) & 0x8000;
  const exponent = ((u >>> 23) & 255) - 112;
  if (exponent >= 31) return sign | 0x7bff;
  const mantissa = (u & 0x7fffff) | 0x800000;
  const shift = exponent > 0 ? 13 : 14 - exponent;
  if (shift > 24) return sign;
  const base = exponent > 0 ? exponent << 10 : 0;
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  const up = rest > middle || (rest === middle && kept & 1) ? 1 : 0;
  return sign | (base + (exponent > 0 ? kept - 0x400 : kept) + up);
}

/** 65536 halves at the quantiles of a normal distribution of this standard deviation. */
function normalHalves(std) {
  const table = new Uint16Array(65536);
  for (let i = 0; i < 32768; i++) {
    // Normal quantile by Abramowitz and Stegun 26.2.23 (absolute error below 4.5e-4).
    const t = Math.sqrt(-2 * Math.log((i + 0.5) / 65536));
    const z = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
    table[i] = half(-z * std);
    table[65535 - i] = half(z * std);
  }
  return table;
}

/** Four ternary codes in a byte, by index 0..80. */
const TRITS = Uint8Array.from(
  { length: 81 },
  (_, i) => (i % 3) | ((Math.floor(i / 3) % 3) << 2) | ((Math.floor(i / 9) % 3) << 4) | (Math.floor(i / 27) << 6),
);

/** The byte at `at` of a block is a half scale: std over the codes' own deviation, +-30 %, either sign where codes lean. */
function putScales(bytes, words, count, stride, at, std, signed) {
  for (let i = 0; i < count; i++) {
    const r = words[i & (words.length - 1)] ^ Math.imul(i, 0x9e3779b1);
    const d = half(std * (0.7 + (0.6 * ((r >>> 8) & 0xffff)) / 65536)) | (signed && r & 1 ? 0x8000 : 0);
    const o = i * stride + at;
    bytes[o] = d & 255;
    bytes[o + 1] = d >>> 8;
  }
}

// [GGML type id, elements and bytes of a block, offset of the scale, standard deviation of the codes]
const BLOCKS = {
  q4_0: { id: 2, elements: 32, bytes: 18, scale: 0, deviation: 4.637 },
  q8_0: { id: 8, elements: 32, bytes: 34, scale: 0, deviation: 73.9 },
  q6_k: { id: 14, elements: 256, bytes: 210, scale: 208, deviation: 18.48 * 73.9 },
  tq2_0: { id: 35, elements: 256, bytes: 66, scale: 64, deviation: 0.8165 },
};

/** A type's id, and bytes of `elements` elements. */
export function typeOf(name) {
  if (name === "f32") return { id: 0, bytes: (n) => n * 4, block: 1 };
  if (name === "f16") return { id: 1, bytes: (n) => n * 2, block: 1 };
  const block = BLOCKS[name];
  if (!block) throw new Error(`unknown type ${name}; expected f32, f16, ${Object.keys(BLOCKS).join(", ")}`);
  return { id: block.id, bytes: (n) => (n / block.elements) * block.bytes, block: block.elements };
}

/** Returns fill(elements) -> Uint8Array of that many random weights of standard deviation `std`, reusing one buffer. */
export function randomWeights(name, std, random, mostElements) {
  const { bytes: size } = typeOf(name);
  const buffer = new Uint8Array(Math.ceil(size(mostElements) / 4) * 4);
  if (name === "f16") {
    const table = normalHalves(std);
    const words = new Uint32Array(buffer.buffer);
    const halves = new Uint16Array(buffer.buffer);
    return (elements) => {
      random.fill(words.subarray(0, elements / 2));
      for (let i = 0; i < elements; i++) halves[i] = table[halves[i]];
      return buffer.subarray(0, elements * 2);
    };
  }
  const { elements: per, bytes: stride, scale, deviation } = BLOCKS[name];
  const draws = new Uint32Array(8192);
  const trits = name === "tq2_0" ? new Uint32Array(16384) : undefined;
  return (elements) => {
    const bytes = buffer.subarray(0, size(elements));
    if (trits) {
      for (let at = 0; at < bytes.length; at += trits.length) {
        random.fill(trits);
        const end = Math.min(trits.length, bytes.length - at);
        for (let i = 0; i < end; i++) bytes[at + i] = TRITS[Math.floor((trits[i] >>> 0) * (81 / 4294967296))];
      }
    } else {
      random.fill(new Uint32Array(buffer.buffer, 0, Math.ceil(bytes.length / 4)));
    }
    random.fill(draws);
    // Codes of all types but the ternary one lean to the negative side by half a step.
    putScales(bytes, draws, elements / per, stride, scale, std / deviation, name !== "tq2_0");
    return bytes;
  };
}
