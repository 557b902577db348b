// A checksum against damage, not against forgers: the four accumulators of XXH32 (Collet), each finished by itself. A step is a bijection
// of the accumulator and of the word, so that damage within one 32-bit word is always found.
import { copyOf } from "../brands.ts";

const [P1, P2, P3, P4] = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f];
const round = (sum: number, word: number): number => {
  const x = (sum + Math.imul(word, P2)) | 0;
  return Math.imul((x << 13) | (x >>> 19), P1);
};

/** Bytes of a checksum. */
export const CHECKSUM_BYTES = 16;

export class Checksum {
  #sums: [number, number, number, number] = [(P1 + P2) | 0, P2 | 0, P3 | 0, -P1 | 0];
  readonly #rest = new Uint8Array(16);
  #have = 0;
  #length = 0;

  update(bytes: Uint8Array): this {
    this.#length += bytes.length;
    let at = 0;
    if (this.#have > 0) {
      at = Math.min(16 - this.#have, bytes.length);
      this.#rest.set(bytes.subarray(0, at), this.#have);
      this.#have += at;
      if (this.#have < 16) return this;
      this.#words(this.#rest);
      this.#have = 0;
    }
    const whole = at + ((bytes.length - at) & ~15);
    if (whole > at) this.#words(bytes.subarray(at, whole));
    this.#rest.set(bytes.subarray(whole));
    this.#have = bytes.length - whole;
    return this;
  }

  #words(bytes: Uint8Array): void {
    const own = bytes.byteOffset % 4 === 0 ? bytes : copyOf(bytes);
    const words = new Uint32Array(own.buffer, own.byteOffset, own.length / 4);
    let [a, b, c, d] = this.#sums;
    for (let i = 0; i < words.length; i += 4) {
      a = round(a, words[i]!);
      b = round(b, words[i + 1]!);
      c = round(c, words[i + 2]!);
      d = round(d, words[i + 3]!);
    }
    this.#sums = [a, b, c, d];
  }

  /** The checksum of everything so far; nothing may come after. */
  digest(): Uint8Array<ArrayBuffer> {
    this.#rest.fill(0, this.#have);
    this.#words(this.#rest);
    const out = new Uint32Array(4);
    for (const [i, sum] of this.#sums.entries()) {
      let x = sum ^ Math.imul(this.#length, P4) ^ Math.floor(this.#length / 2 ** 32);
      x = Math.imul(x ^ (x >>> 15), P2);
      x = Math.imul(x ^ (x >>> 13), P3);
      out[i] = x ^ (x >>> 16);
    }
    return new Uint8Array(out.buffer, 0, CHECKSUM_BYTES);
  }
}

export const checksumOf = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Checksum().update(bytes).digest();

export const hex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

/** A 32-bit number spread well (MurmurHash3's finish). */
export function mix(x: number): number {
  let h = Math.imul(x ^ (x >>> 16), P2);
  h = Math.imul(h ^ (h >>> 13), P3);
  return (h ^ (h >>> 16)) >>> 0;
}
