// MinHash: the estimate of Jaccard similarity and the recall of bands are what theory says; exact duplicates; XXH64.
import { expect, test } from "vitest";
import { BANDS, FUNCTIONS, similarity } from "../../src/data/dedup.ts";
import { FirstRecords } from "../../src/data/firsts.ts";
import { StreamHash } from "../../src/data/module.ts";
import { door, instance, pair, random } from "./rig.ts";

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
  // What was a repetition itself is repeated, too: whether two texts are alike does not hang on what came between.
  const further = near.replace(/ w\d+ /, " else ").replace(/^w\d+/, "first");
  expect(both.seen(further)).toBe("near");
  const exact = await door.createDeduplicator(["exact"]);
  expect(exact.seen(a)).toBeUndefined();
  expect(exact.seen(near)).toBeUndefined();
});

test("the first record of each key, in any order of adding", () => {
  const next = random(9);
  for (const words of [1, 2]) {
    const rows = Array.from({ length: 5000 }, (_, record) => ({
      record,
      // Few values, with equal low bits among them.
      key: Array.from({ length: words }, () => BigInt(Math.floor(next() * 60)) << (next() < 0.5 ? 0n : 40n)),
    }));
    const mixed = rows.map((row) => [next(), row] as const).sort((a, b) => a[0] - b[0]);
    const table = new FirstRecords(rows.length, words);
    const right = new Map<string, number>();
    for (const [, { record, key }] of mixed) {
      table.add(BigInt64Array.from([7n, ...key]), 1, record);
      right.set(key.join(), Math.min(record, right.get(key.join()) ?? record));
    }
    for (const { key } of rows) expect(table.first(BigInt64Array.from(key), 0)).toBe(right.get(key.join()));
    expect(table.first(BigInt64Array.from([-5n, 3n]), 0)).toBe(-1);
  }
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
