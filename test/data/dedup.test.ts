// MinHash: the estimate of Jaccard similarity and the recall of bands are what theory says; exact duplicates; XXH64.
import { expect, test } from "vitest";
import { BANDS, FUNCTIONS, similarity } from "../../src/data/dedup.ts";
import { StreamHash } from "../../src/data/module.ts";
import { door, instance, random } from "./rig.ts";

/** Two texts whose sets of five-word shingles have nearly the wanted similarity, and what it is. */
function pair(next: () => number, wanted: number): { a: string; b: string; jaccard: number } {
  const words = Array.from({ length: 300 }, () => `w${Math.floor(next() * 1e6)}`);
  const changed = words.slice();
  // Each changed word changes five shingles.
  const changes = Math.round(((1 - wanted) / (1 + wanted)) * (296 / 5));
  for (let i = 0; i < changes; i++)
    changed[Math.floor(((i + 0.5) * 300) / Math.max(1, changes))] = `x${Math.floor(next() * 1e6)}`;
  const shingles = (all: string[]) => new Set(all.slice(4).map((_, i) => all.slice(i, i + 5).join(" ")));
  const [x, y] = [shingles(words), shingles(changed)];
  const both = [...x].filter((s) => y.has(s)).length;
  return { a: words.join(" "), b: changed.join(" \n\t"), jaccard: both / (x.size + y.size - both) };
}

test("2,000 pairs: the estimates err within 3 sigma, and recall follows 1 - (1 - s^8)^14", { timeout: 60_000 }, async () => {
  const minhash = await door.createMinHash();
  const next = random(11);
  let [sum, variance, found, expected, spread] = [0, 0, 0, 0, 0];
  let far = 0;
  for (let i = 0; i < 2000; i++) {
    const { a, b, jaccard } = pair(next, 0.3 + 0.69 * next());
    const [x, y] = [minhash.signature(a)!, minhash.signature(b)!];
    const error = similarity(x, y) - jaccard;
    const v = (jaccard * (1 - jaccard)) / FUNCTIONS;
    sum += error;
    variance += v;
    if (Math.abs(error) > 3 * Math.sqrt(v) + 1e-9) far++;
    const [p, q] = [minhash.bands(x), minhash.bands(y)];
    if (p.some((key, band) => key === q[band])) found++;
    const law = 1 - (1 - jaccard ** 8) ** BANDS;
    expected += law;
    spread += law * (1 - law);
  }
  expect(Math.abs(sum)).toBeLessThan(3 * Math.sqrt(variance));
  // Of single estimates 0.27 % lie beyond 3 sigma, were they normal; near 1 they are skewed.
  expect(far).toBeLessThan(30);
  expect(Math.abs(found - expected)).toBeLessThan(3 * Math.sqrt(spread));
});

test("short texts, empty texts, and texts of any white space", async () => {
  const minhash = await door.createMinHash();
  expect(minhash.signature(" \n")).toBeUndefined();
  expect(minhash.signature("one two")).toEqual(minhash.signature("one\ttwo\n"));
  expect(minhash.signature("one two")).not.toEqual(minhash.signature("two one"));
});

test("a deduplicator tells exact and near repetitions, but not what only shares words", async () => {
  const next = random(5);
  const { a } = pair(next, 0.5);
  const near = a.replace(/ w\d+$/, " other");
  const both = await door.createDeduplicator(["exact", "near"]);
  expect(both.seen(a)).toBeUndefined();
  expect(both.seen(a.toUpperCase().replaceAll(" ", "  "))).toBe("exact");
  expect(both.seen(near)).toBe("near");
  expect(both.seen(a.split(" ").reverse().join(" "))).toBeUndefined();
  const exact = await door.createDeduplicator(["exact"]);
  expect(exact.seen(a)).toBeUndefined();
  expect(exact.seen(near)).toBeUndefined();
});

test("XXH64 of known inputs", async () => {
  const data = await instance();
  const hashed = (text: string, seed = 0n) => {
    const hash = new StreamHash(data, seed);
    hash.add(new TextEncoder().encode(text));
    return hash.end();
  };
  // Sums of the reference implementation, as its own tests and manual have them.
  expect(hashed("")).toBe("ef46db3751d8e999");
  expect(hashed("abc")).toBe("44bc2cf5ad770999");
  const long = new StreamHash(data);
  for (let i = 0; i < 3; i++) long.add(new Uint8Array(50_000).fill(i));
  const whole = new StreamHash(data);
  whole.add(Uint8Array.from({ length: 150_000 }, (_, i) => Math.floor(i / 50_000)));
  expect(long.end()).toBe(whole.end());
});
