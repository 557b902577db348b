// Random numbers that are the same on every runtime: 32-bit integers alone, from a seed and a name.

/** sfc32, seeded by FNV-1a of a text. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #count = 1;

  /** Streams of other names are independent of each other. */
  constructor(seed: number, name: string) {
    let hash = 0x811c9dc5;
    const text = `${seed}/${name}`;
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    [this.#a, this.#b, this.#c] = [hash, hash ^ 0x9e3779b9, Math.imul(hash, 0x85ebca6b)];
    for (let i = 0; i < 16; i++) this.bits();
  }

  /** 32 bits, as a number from 0 on. */
  bits(): number {
    const sum = (this.#a + this.#b + this.#count) | 0;
    this.#count = (this.#count + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return sum >>> 0;
  }

  /** 0 … n − 1, each as likely. */
  below(n: number): number {
    const most = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const bits = this.bits();
      if (bits < most) return bits % n;
    }
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** In place; returns the list. */
  shuffle<T>(list: T[]): T[] {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [list[i], list[j]] = [list[j]!, list[i]!];
    }
    return list;
  }

  /** `count` different values of `draw`, in the order in which they came. */
  distinct(count: number, draw: () => string): string[] {
    const found = new Set<string>();
    while (found.size < count) found.add(draw());
    return [...found];
  }
}
