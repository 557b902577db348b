// Chances that depend on names alone: the same seed, family and number give the same draws, whatever ran before.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { viewOf } from "../brands.ts";

/** 12 hex digits that stand for a text. */
export const hashOf = (text: string): string => bytesToHex(sha256(utf8ToBytes(text))).slice(0, 12);

/** A whole number below 2^31 for names: what a request is seeded with. */
export const seedOf = (...names: readonly (string | number)[]): number =>
  viewOf(sha256(utf8ToBytes(JSON.stringify(names)))).getUint32(0) >>> 1;

/** A stream of chances (xoshiro128**, Blackman and Vigna 2018), begun by names. */
export class Random {
  readonly #state = new Uint32Array(4);

  constructor(...names: readonly (string | number)[]) {
    const view = viewOf(sha256(utf8ToBytes(JSON.stringify(names))));
    for (let i = 0; i < 4; i++) this.#state[i] = view.getUint32(4 * i);
  }

  /** 32 bits. */
  #bits(): number {
    const s = this.#state;
    const turned = (x: number, by: number) => ((x << by) | (x >>> (32 - by))) >>> 0;
    const result = Math.imul(turned(Math.imul(s[1]!, 5), 7), 9) >>> 0;
    const shifted = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= shifted;
    s[3] = turned(s[3]!, 11);
    return result;
  }

  /** From 0, below 1. */
  next(): number {
    return this.#bits() / 2 ** 32;
  }

  /** A whole number from 0, below `n`. */
  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  /** A whole number from `low` to `high`, both among them. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** A copy in an order of its own. */
  shuffled<T>(list: readonly T[]): T[] {
    const out = [...list];
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [out[i], out[j]] = [out[j]!, out[i]!];
    }
    return out;
  }
}
