import { expect, test } from "vitest";
import { lookupBytes } from "../../src/decode/draft/lookup.ts";
import { builds, generator, rig } from "../decode/rig.ts";

const capacity = 300;

async function index(build: (typeof builds)[number]) {
  const { decide, memory } = await rig(build, 4);
  const bytes = decide.lookup_bytes(capacity);
  for (const n of [1, 63, 64, 65, capacity, 4097, 1 << 20]) expect(lookupBytes(n)).toBe(decide.lookup_bytes(n));
  const state = memory.grow(Math.ceil(bytes / 65536) + 1) * 65536;
  decide.lookup_open(state, capacity);
  const tokens: number[] = [];
  return {
    tokens,
    push(token: number) {
      const before = tokens.length;
      if (decide.lookup_push(state, token) > before) tokens.push(token);
    },
    truncate(count: number) {
      decide.lookup_truncate(state, count);
      tokens.length = Math.min(tokens.length, count);
    },
    find(other = -1): { agreed: number; at: number } {
      const agreed = decide.lookup_find(state, other);
      return { agreed, at: agreed ? decide.lookup_at(state) : -1 };
    },
    words: () => new Int32Array(memory.buffer, state, bytes / 4).slice(),
  };
}

/** By definition: every earlier place, the longest agreement (at most 16), the latest of equals. */
function longest(tokens: readonly number[], other: number): { agreed: number; at: number } {
  let best = { agreed: 0, at: -1 };
  for (let i = tokens.length - 2; i > 0; i--) {
    if (tokens[i + 1] === other) continue;
    let n = 0;
    while (n < 16 && i - n >= 0 && tokens[i - n] === tokens[tokens.length - 1 - n]) n++;
    if (n >= 2 && n > best.agreed) best = { agreed: n, at: i + 1 };
  }
  return best;
}

for (const build of builds) {
  test(`${build}: the index finds what a search of the whole text finds, after any pushes and drops`, async () => {
    const random = generator(7);
    const lookup = await index(build);
    for (let round = 0; round < 3000; round++) {
      if (random() < 0.04) lookup.truncate(Math.floor(random() * (lookup.tokens.length + 1)));
      // Copies of earlier stretches make long agreements; pairs stay rarer than the walk is long.
      const { tokens } = lookup;
      const from = Math.floor(random() * tokens.length);
      if (random() < 0.1) for (const token of tokens.slice(from, from + 12)) lookup.push(token);
      else lookup.push(Math.floor(random() * 30));
      const other = random() < 0.3 ? (tokens[Math.floor(random() * tokens.length)] ?? -1) : -1;
      expect(lookup.find(other)).toEqual(longest(tokens, other));
    }
  });

  test(`${build}: dropping tokens leaves the index as if they had never come`, async () => {
    const [a, b] = [await index(build), await index(build)];
    for (let i = 0; i < 100; i++) for (const one of [a, b]) one.push(i % 7);
    for (let i = 0; i < 150; i++) a.push((i * 5) % 11);
    a.truncate(100);
    const live = (words: Int32Array) => [
      ...words.subarray(2, 3),
      ...words.subarray(4, 104),
      ...words.subarray(4 + capacity, 104 + capacity),
      ...words.subarray(4 + 2 * capacity),
    ];
    expect(live(a.words())).toEqual(live(b.words()));
  });

  test(`${build}: a full index takes no more tokens and still finds`, async () => {
    const lookup = await index(build);
    for (let i = 0; i < capacity + 50; i++) lookup.push(i % 10);
    expect(lookup.tokens.length).toBe(capacity);
    expect(lookup.find()).toEqual({ agreed: 16, at: capacity - 10 });
  });
}
