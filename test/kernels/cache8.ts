// What attention over a cache of 8 bits is defined to give, number by number: cpp/kernels/attend8.h and attend.h. Math.fround is the rounding
// of float32, so that the bits are those of every build.
const f = Math.fround;

/** A key or value as it is stored: codes, and the scale of all of them. */
export interface Coded {
  readonly codes: ArrayLike<number>;
  readonly scale: number;
}

export interface Slot {
  readonly key: Coded;
  readonly value: Coded;
  /** Whether the query sees it. */
  readonly seen: boolean;
}

const TILE = 32;
const SPAN_TILES = 32;
const NOTHING = f(-1e30);
const ROUND = f(1.5 * 2 ** 23);
const words = new Int32Array(1);
const floats = new Float32Array(words.buffer);
const bitsOf = (x: number): number => {
  floats[0] = x;
  return words[0]!;
};
const floatOf = (bits: number): number => {
  words[0] = bits;
  return floats[0]!;
};

/** a b + c in two roundings. */
const madd = (a: number, b: number, c: number): number => f(f(a * b) + c);

/** e^x as cpp/simd.h computes it. */
export function exp32(x: number): number {
  if (!(x > f(-87.3))) return 0;
  const whole = f(f(x * f(Math.LOG2E)) + ROUND);
  const n = f(whole - ROUND);
  const r = madd(n, f(2.1219444e-4), madd(n, f(-0.693359375), x));
  let p = madd(f(1.381460228e-3), r, f(8.3687156439e-3));
  for (const c of [4.1668388993e-2, 1.6666521132e-1, 4.999999404e-1]) p = madd(p, r, f(c));
  p = f(f(p * f(r * r)) + f(r + 1));
  return f(p * floatOf((bitsOf(whole) << 23) + bitsOf(1)));
}

/** Whole numbers up to `most`, and what one of them is worth. */
function coded(x: readonly number[], most: number): { codes: number[]; unit: number } {
  const top = x.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const inverse = top > f(1e-34) && top < f(1e38) ? f(most / top) : 0;
  // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number, ties to even.
  return { codes: x.map((v) => (inverse === 0 ? 0 : f(f(f(v * inverse) + ROUND) - ROUND))), unit: f(top / most) };
}

interface State {
  most: number;
  sum: number;
  out: number[];
}

function takeTile(state: State, query: { codes: readonly number[]; unit: number }, tile: readonly Slot[]): void {
  const scores = Array.from({ length: TILE }, (_, j) => {
    const slot = tile[j];
    if (!slot?.seen) return NOTHING;
    const sum = query.codes.reduce((s, n, d) => s + n * slot.key.codes[d]!, 0);
    return f(f(sum) * f(slot.key.scale * query.unit));
  });
  const most = scores.reduce((a, b) => Math.max(a, b), state.most);
  const shrink = exp32(f(state.most - most));
  const base = most > NOTHING ? most : 0;
  const p = scores.map((s) => exp32(f(s - base)));
  // Four lanes, each of every fourth weight.
  const lane = [0, 1, 2, 3].map((i) => p.reduce((s, w, j) => (j % 4 === i ? f(s + w) : s), 0));
  state.sum = f(f(state.sum * shrink) + f(f(lane[0]! + lane[2]!) + f(lane[1]! + lane[3]!)));
  state.most = most;
  const weights = coded(
    p.map((w, j) => (w === 0 ? 0 : f(w * tile[j]!.value.scale))),
    127,
  );
  state.out = state.out.map((o, d) => {
    const sum = weights.codes.reduce((s, m, j) => (m === 0 ? s : s + m * tile[j]!.value.codes[d]!), 0);
    return f(f(o * shrink) + f(f(sum) * weights.unit));
  });
}

/** Attention of one query (already scaled) over slots, the first of which begins a tile. */
export function attention8(q: readonly number[], slots: readonly Slot[]): number[] {
  const query = coded(q, 8191);
  let total: State | undefined;
  for (let begin = 0; begin < slots.length; begin += SPAN_TILES * TILE) {
    const part: State = { most: NOTHING, sum: 0, out: q.map(() => 0) };
    for (let at = begin; at < Math.min(slots.length, begin + SPAN_TILES * TILE); at += TILE)
      takeTile(part, query, slots.slice(at, at + TILE));
    if (!total) {
      total = part;
      continue;
    }
    const most = Math.max(total.most, part.most);
    const [a, b] = [exp32(f(total.most - most)), exp32(f(part.most - most))];
    const { out } = total;
    total = { most, sum: f(f(total.sum * a) + f(part.sum * b)), out: out.map((o, d) => f(f(o * a) + f(part.out[d]! * b))) };
  }
  const inverse = total && total.sum > 0 ? f(1 / total.sum) : 0;
  return (total?.out ?? []).map((o) => f(o * inverse));
}
