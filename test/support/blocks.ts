// GGUF's block types by their written definitions, independent of the kernels: values of a block, and random blocks.
import { halfBits, halfValue } from "./tiny.ts";

/** Little-endian access to one block. */
class Block {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  u8(at: number): number {
    return this.bytes[at]!;
  }

  i8(at: number): number {
    return (this.bytes[at]! << 24) >> 24;
  }

  half(at: number): number {
    return halfValue(this.bytes[at]! | (this.bytes[at + 1]! << 8));
  }

  /** Bit `i` of a bit string from byte `at` on. */
  bit(at: number, i: number): number {
    return (this.bytes[at + (i >> 3)]! >> (i & 7)) & 1;
  }

  /** The low nibbles of 16 bytes, then the high ones. */
  nibble(at: number, i: number): number {
    return i < 16 ? this.u8(at + i) & 15 : this.u8(at + i - 16) >> 4;
  }
}

interface Definition {
  readonly id: number;
  readonly block: number;
  readonly bytes: number;
  /** Where the scale lies, and the minimum's, with the factor that centres random codes. */
  readonly scale: number;
  readonly minimum?: readonly [at: number, factor: number];
  value(b: Block, i: number): number;
}

/** (scale, minimum) of sub-block j of Q4_K and Q5_K: 12 bytes of 6-bit numbers. */
function kScale(b: Block, j: number): readonly [number, number] {
  const s = (i: number) => b.u8(4 + i);
  return j < 4 ? [s(j) & 63, s(j + 4) & 63] : [(s(j + 4) & 15) | ((s(j - 4) >> 6) << 4), (s(j + 4) >> 4) | ((s(j) >> 6) << 4)];
}

/** Q2_K and Q3_K: half n of 128, shift j, part h of 16, element l; the sub-block is 8n + 2j + h. */
const place = (i: number) => ({ n: i >> 7, j: (i >> 5) & 3, h: (i >> 4) & 1, l: i & 15, sub: i >> 4 });

/** Digit `n`, most significant first, of a byte that holds five base-3 digits. */
const trit = (byte: number, n: number): number => (((byte * 3 ** n) & 255) * 3) >> 8;

export const BLOCK_TYPES: Readonly<Record<string, Definition>> = {
  Q4_0: { id: 2, block: 32, bytes: 18, scale: 0, value: (b, i) => b.half(0) * (b.nibble(2, i) - 8) },
  Q4_1: { id: 3, block: 32, bytes: 20, scale: 0, minimum: [2, -7.5], value: (b, i) => b.half(0) * b.nibble(4, i) + b.half(2) },
  Q5_0: { id: 6, block: 32, bytes: 22, scale: 0, value: (b, i) => b.half(0) * ((b.nibble(6, i) | (b.bit(2, i) << 4)) - 16) },
  Q5_1: {
    id: 7,
    block: 32,
    bytes: 24,
    scale: 0,
    minimum: [2, -15.5],
    value: (b, i) => b.half(0) * (b.nibble(8, i) | (b.bit(4, i) << 4)) + b.half(2),
  },
  Q8_0: { id: 8, block: 32, bytes: 34, scale: 0, value: (b, i) => b.half(0) * b.i8(2 + i) },
  Q2_K: {
    id: 10,
    block: 256,
    bytes: 84,
    scale: 80,
    minimum: [82, 1.5],
    value(b, i) {
      const { n, j, h, l, sub } = place(i);
      const code = (b.u8(16 + 32 * n + 16 * h + l) >> (2 * j)) & 3;
      return b.half(80) * (b.u8(sub) & 15) * code - b.half(82) * (b.u8(sub) >> 4);
    },
  },
  Q3_K: {
    id: 11,
    block: 256,
    bytes: 110,
    scale: 108,
    value(b, i) {
      const { n, j, h, l, sub } = place(i);
      const low = sub < 8 ? b.u8(96 + sub) & 15 : b.u8(96 + sub - 8) >> 4;
      const high = (b.u8(96 + 8 + (sub % 4)) >> (2 * (sub >> 2))) & 3;
      const code = (b.u8(32 + 32 * n + 16 * h + l) >> (2 * j)) & 3;
      const set = (b.u8(16 * h + l) >> (4 * n + j)) & 1;
      return b.half(108) * ((low | (high << 4)) - 32) * (code - (set ? 0 : 4));
    },
  },
  Q4_K: {
    id: 12,
    block: 256,
    bytes: 144,
    scale: 0,
    minimum: [2, 7.5],
    value(b, i) {
      const [sub, byte] = [i >> 5, b.u8(16 + 32 * (i >> 6) + (i & 31))];
      const [scale, minimum] = kScale(b, sub);
      return b.half(0) * scale * (sub & 1 ? byte >> 4 : byte & 15) - b.half(2) * minimum;
    },
  },
  Q5_K: {
    id: 13,
    block: 256,
    bytes: 176,
    scale: 0,
    minimum: [2, 15.5],
    value(b, i) {
      const [sub, byte] = [i >> 5, b.u8(48 + 32 * (i >> 6) + (i & 31))];
      const [scale, minimum] = kScale(b, sub);
      return (
        b.half(0) * scale * ((sub & 1 ? byte >> 4 : byte & 15) + 16 * ((b.u8(16 + (i & 31)) >> sub) & 1)) - b.half(2) * minimum
      );
    },
  },
  Q6_K: {
    id: 14,
    block: 256,
    bytes: 210,
    scale: 208,
    value(b, i) {
      const [n, part, l] = [i >> 7, (i >> 5) & 3, i & 31];
      const low = b.u8(64 * n + (part & 1) * 32 + l);
      const code = (part < 2 ? low & 15 : low >> 4) | (((b.u8(128 + 32 * n + l) >> (2 * part)) & 3) << 4);
      return b.half(208) * b.i8(192 + 8 * n + 2 * part + (l >> 4)) * (code - 32);
    },
  },
  TQ1_0: {
    id: 34,
    block: 256,
    bytes: 54,
    scale: 52,
    value(b, i) {
      if (i < 160) return b.half(52) * (trit(b.u8(i & 31), i >> 5) - 1);
      if (i < 240) return b.half(52) * (trit(b.u8(32 + ((i - 160) & 15)), (i - 160) >> 4) - 1);
      return b.half(52) * (trit(b.u8(48 + ((i - 240) & 3)), (i - 240) >> 2) - 1);
    },
  },
  // Code 3 does not occur.
  TQ2_0: {
    id: 35,
    block: 256,
    bytes: 66,
    scale: 64,
    value: (b, i) => b.half(64) * (((b.u8(32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3) - 1),
  },
};

/** Random blocks whose values have about the deviation asked for, and those values. */
export function randomBlocks(
  type: string,
  count: number,
  deviation: number,
  random: () => number,
): { bytes: Uint8Array; values: Float32Array } {
  const d = BLOCK_TYPES[type]!;
  const bytes = Uint8Array.from({ length: count * (d.bytes / d.block) }, () => 256 * random());
  if (type === "TQ2_0")
    for (let i = 0; i < bytes.length; i++) for (let f = 0; f < 8; f += 2) if (((bytes[i]! >> f) & 3) === 3) bytes[i]! -= 1 << f;
  if (type === "TQ1_0")
    for (let i = 0; i < bytes.length; i++)
      bytes[i] = Math.ceil(((i % 54 < 48 ? Math.floor(243 * random()) : 3 * Math.floor(81 * random())) * 256) / 243);
  const blocks = Array.from({ length: count / d.block }, (_, i) => new Block(bytes.subarray(i * d.bytes, (i + 1) * d.bytes)));
  const write = (scale: number) => {
    for (const { bytes } of blocks) {
      const own = scale * (0.75 + 0.5 * random());
      const put = (at: number, value: number) => {
        const bits = halfBits(value);
        bytes[at] = bits & 255;
        bytes[at + 1] = bits >> 8;
      };
      put(d.scale, own);
      if (d.minimum) put(d.minimum[0], own * d.minimum[1]);
    }
  };
  const read = () => Float32Array.from({ length: count }, (_, i) => d.value(blocks[Math.floor(i / d.block)]!, i % d.block));
  write(1);
  const size = Math.sqrt(read().reduce((sum, v) => sum + v * v, 0) / count);
  write(deviation / size);
  return { bytes, values: read() };
}

/** The values of blocks as a file has them. */
export function blockValues(type: string, bytes: Uint8Array): Float32Array {
  const d = BLOCK_TYPES[type]!;
  const values = new Float32Array((bytes.length / d.bytes) * d.block);
  for (let i = 0; i < values.length; i++)
    values[i] = d.value(new Block(bytes.subarray(Math.floor(i / d.block) * d.bytes)), i % d.block);
  return values;
}
