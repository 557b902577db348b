// Duplicates: exact ones by a hash of the normalised text, near ones by MinHash and bands (LSH: Broder 1997, Indyk and Motwani 1998). A text
// is a near duplicate where an earlier one has the values of a band in common. That holds of each pair by itself, so that a stream, tables in
// memory and a join in a database find the same texts.
import { type DataInstance, StreamHash } from "./module.ts";

export const FUNCTIONS = 112;
export const BANDS = 14;

const utf8 = new TextEncoder();

/** Signatures of texts. */
export class MinHash {
  readonly #data: DataInstance;
  readonly #signature: number;
  readonly #keys: number;
  readonly #text: number;

  constructor(data: DataInstance) {
    this.#data = data;
    this.#signature = data.allocate(4 * FUNCTIONS);
    this.#keys = data.allocate(8 * BANDS);
    this.#text = data.allocate(0);
  }

  /** 112 values of the text's five-word shingles; undefined for a text without words. */
  signature(text: string): Uint32Array | undefined {
    const bytes = utf8.encode(text);
    this.#data.reserve(this.#text + bytes.length + 8);
    this.#data.u8(this.#text, bytes.length).set(bytes);
    if (this.#data.exports.minhash(this.#text, this.#text + bytes.length, this.#signature) === 0) return undefined;
    return new Uint32Array(this.#data.memory.buffer, this.#signature, FUNCTIONS).slice();
  }

  /** A key for each of 14 bands of 8 values. Texts that share one are candidates: 1 - (1 - s^8)^14 of those of similarity s. */
  bands(signature: Uint32Array): Float64Array {
    new Uint32Array(this.#data.memory.buffer, this.#signature, FUNCTIONS).set(signature);
    this.#data.exports.minhash_bands(this.#signature, this.#keys);
    return this.#data.f64(this.#keys, BANDS).slice();
  }
}

/** Share of equal values: an estimate of the Jaccard similarity of the shingles. */
export function similarity(a: Uint32Array, b: Uint32Array): number {
  let equal = 0;
  for (let i = 0; i < a.length; i++) if (a[i] === b[i]) equal++;
  return equal / a.length;
}

export type DedupKind = "exact" | "near";

/** What tells a text's repetitions. */
export interface Fingerprint {
  /** Two hashes of 64 bits of the text but for case and white space. */
  readonly exact: BigUint64Array;
  /** 112 values; undefined for a text without words. */
  readonly signature: Uint32Array | undefined;
}

/** Fingerprints of texts. Case and white space do not count. */
export class Fingerprints {
  readonly #data: DataInstance;
  readonly minhash: MinHash;

  constructor(data: DataInstance) {
    this.#data = data;
    this.minhash = new MinHash(data);
  }

  of(text: string): Fingerprint {
    const words = plain(text);
    return { exact: this.hash(words), signature: this.minhash.signature(words) };
  }

  /** Two hashes of a text as it is. */
  hash(text: string): BigUint64Array {
    const bytes = utf8.encode(text);
    const mark = this.#data.end;
    const keys = [0n, 0x9e3779b97f4a7c15n].map((seed) => {
      const hash = new StreamHash(this.#data, BigInt.asIntN(64, seed));
      hash.add(bytes);
      return BigInt(`0x${hash.end()}`);
    });
    this.#data.release(mark);
    return BigUint64Array.from(keys);
  }
}

const plain = (text: string): string => text.toLowerCase().replace(/\s+/g, " ").trim();

/** Which texts came before, held in memory: 16 bytes of keys a text for exact, 112 for near duplicates. */
export class Deduplicator {
  readonly #kinds: readonly DedupKind[];
  readonly #prints: Fingerprints;
  readonly #exact = new Set<string>();
  readonly #bands = Array.from({ length: BANDS }, () => new Set<number>());

  constructor(data: DataInstance, kinds: readonly DedupKind[]) {
    this.#kinds = kinds;
    this.#prints = new Fingerprints(data);
  }

  /** How a text repeats an earlier one (whatever became of that), or undefined. Case and white space do not count. */
  seen(text: string): DedupKind | undefined {
    const words = plain(text);
    if (this.#kinds.includes("exact")) {
      const key = this.#prints.hash(words).join("-");
      if (this.#exact.has(key)) return "exact";
      this.#exact.add(key);
    }
    if (!this.#kinds.includes("near")) return undefined;
    const signature = this.#prints.minhash.signature(words);
    if (!signature) return undefined;
    let found = false;
    this.#prints.minhash.bands(signature).forEach((key, band) => {
      found ||= this.#bands[band]!.has(key);
      this.#bands[band]!.add(key);
    });
    return found ? "near" : undefined;
  }
}
