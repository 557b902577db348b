// Numbers that look random and are the same everywhere: 32-bit arithmetic only.

/** Uniform numbers from 0 up to 1, from a seed. Source: xoshiro128** (Blackman and Vigna), seeded by splitmix32. */
export function uniform(seed: number): () => number {
  let mixed = seed >>> 0;
  const next = () => {
    mixed = (mixed + 0x9e3779b9) >>> 0;
    let z = mixed;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  let [a, b, c, d] = [next(), next(), next(), next()];
  const turned = (x: number, by: number) => ((x << by) | (x >>> (32 - by))) >>> 0;
  return () => {
    const result = Math.imul(turned(Math.imul(b, 5) >>> 0, 7), 9) >>> 0;
    const t = (b << 9) >>> 0;
    c = (c ^ a) >>> 0;
    d = (d ^ b) >>> 0;
    b = (b ^ c) >>> 0;
    a = (a ^ d) >>> 0;
    c = (c ^ t) >>> 0;
    d = turned(d, 11);
    return result / 2 ** 32;
  };
}

/** Standard normal numbers (Box and Muller). */
export function normal(next: () => number): () => number {
  let kept: number | undefined;
  return () => {
    if (kept !== undefined) {
      const value = kept;
      kept = undefined;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - next()));
    const angle = 2 * Math.PI * next();
    kept = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}
