// MinHash (Broder 1997) of a text's shingles of five words: for each of 112 functions the least value over all shingles.
// Functions are mixes of the shingle's 32-bit hash with a seed of their own, four at a time.
const FUNCTIONS: i32 = 112;
const ROWS: i32 = 8;
const WORDS: i32 = 5;
const PRIME: u64 = 0x9e3779b97f4a7c15;

const ring = memory.data(WORDS * 8, 16);
const seeds = memory.data(FUNCTIONS * 4, 16);
let ready: bool = false;

function mix(x: u64): u64 {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

function open(): void {
  for (let i = 0; i < FUNCTIONS; i++) store<u32>(seeds + ((<usize>i) << 2), <u32>mix(<u64>(i + 1) * PRIME));
  ready = true;
}

function add(hash: u32, to: usize): void {
  const x = i32x4.splat(hash);
  for (let i: usize = 0; i < <usize>(FUNCTIONS << 2); i += 16) {
    let h = v128.xor(x, v128.load(seeds + i));
    h = i32x4.mul(v128.xor(h, i32x4.shr_u(h, 16)), i32x4.splat(0x21f0aaad));
    h = i32x4.mul(v128.xor(h, i32x4.shr_u(h, 15)), i32x4.splat(0x735a2d97));
    h = v128.xor(h, i32x4.shr_u(h, 15));
    v128.store(to + i, i32x4.min_u(v128.load(to + i), h));
  }
}

function shingle(last: i32, count: i32): u32 {
  let h: u64 = 0;
  for (let i = last - count + 1; i <= last; i++) h = (h + load<u64>(ring + ((<usize>(i % WORDS)) << 3))) * PRIME;
  return <u32>(mix(h) >> 32);
}

/**
 * The signature (112 u32) of the words in [at, end), which spaces, tabs, newlines and returns part; how many shingles there are. A text of
 * fewer than five words is one shingle.
 */
export function minhash(at: usize, end: usize, to: usize): i32 {
  if (!ready) open();
  memory.fill(to, 0xff, <usize>(FUNCTIONS << 2));
  let words = 0;
  let p = at;
  while (p < end) {
    let c: u32 = load<u8>(p);
    if (c == 32 || (c >= 9 && c <= 13)) {
      p++;
      continue;
    }
    let h: u64 = 0xcbf29ce484222325;
    do {
      h = (h ^ c) * 0x100000001b3;
      p++;
      if (p == end) break;
      c = load<u8>(p);
    } while (c != 32 && !(c >= 9 && c <= 13));
    store<u64>(ring + ((<usize>(words % WORDS)) << 3), h);
    words++;
    if (words >= WORDS) add(shingle(words - 1, WORDS), to);
  }
  if (words > 0 && words < WORDS) add(shingle(words - 1, words), to);
  return words >= WORDS ? words - WORDS + 1 : min(words, 1);
}

// A key for each of the 14 bands of 8 values, as f64 below 2^53.
export function minhash_bands(signature: usize, to: usize): void {
  for (let band = 0; band < FUNCTIONS / ROWS; band++) {
    let h: u64 = <u64>band;
    for (let i = 0; i < ROWS; i++) h = mix((h + <u64>load<u32>(signature + ((<usize>(band * ROWS + i)) << 2))) * PRIME + 1);
    store<f64>(to + ((<usize>band) << 3), <f64>(h >> 11));
  }
}
